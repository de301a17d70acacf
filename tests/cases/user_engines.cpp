// Our two loops as engines: assemble, verify, link, run.
//
// Maps are real ones (map room); memory the checked loop may touch is the context, the data of the maps and, for
// raw cases, the memory argument.
#include <fmt/format.h>

#include <algorithm>

#include "engines.hpp"
#include "isa/semantics.hpp"
#include "isa/text.hpp"
#include "map/map.hpp"
#include "verify/verify.hpp"
#include "vm/function.hpp"

namespace skep::cases {
namespace {

constexpr u64 insn_budget = 100'000'000;

MapSpec map_of(const Data& data) {
  MapSpec spec;
  spec.name = data.name;
  spec.type = MapType::array;
  spec.key_size = 4;
  spec.value_size = static_cast<u32>(data.bytes.size());
  spec.max_entries = 1;
  spec.initial_value = data.bytes;
  spec.is_global_data = true;
  return spec;
}

/// The case as an object file would say it.
Result<ObjectSpec> object_of(const Case& c) {
  auto assembly = SKEP_TRY(isa::parse(c.assembly));
  ObjectSpec object;
  object.name = "case";
  object.license = "GPL";
  ProgramSpec program;
  program.name = "case";
  program.type = c.type;
  program.functions.push_back({0, 0, "entry", false});
  for (const Data& data : c.data) object.maps.push_back(map_of(data));
  for (const auto& map : assembly.maps) {
    const auto found = std::find_if(c.data.begin(), c.data.end(), [&](const Data& d) { return d.name == map.name; });
    if (found == c.data.end()) return fail(Code::malformed, fmt::format("no ';! data {}'", map.name));
    Reference reference;
    reference.insn = map.insn;
    reference.kind =
        assembly.insns[map.insn].src == isa::imm64_src_map_value ? Reference::Kind::map_value : Reference::Kind::map;
    reference.map = static_cast<u32>(found - c.data.begin());
    reference.addend = static_cast<u32>(assembly.insns[map.insn + 1].imm);
    assembly.insns[map.insn + 1].imm = 0;
    program.references.push_back(std::move(reference));
  }
  for (u32 i = 0; i < assembly.insns.size(); i += isa::slots(assembly.insns[i])) {
    const Insn& insn = assembly.insns[i];
    if (isa::decode(insn) != isa::Op::call_local) continue;
    const u32 target = i + 1 + static_cast<u32>(insn.imm);
    const auto at = std::lower_bound(program.functions.begin(), program.functions.end(), target,
                                     [](const FunctionInfo& f, u32 at_insn) { return f.insn < at_insn; });
    if (at == program.functions.end() || at->insn != target)
      program.functions.insert(at, {target, 0, fmt::format("function_{}", target), false});
  }
  program.insns = std::move(assembly.insns);
  object.programs.push_back(std::move(program));
  return object;
}

struct Regions final : vm::MemoryGuard {
  std::vector<std::span<std::byte>> regions;
  bool allows(u64 address, u32 size, bool) noexcept override {
    for (const auto region : regions) {
      const u64 offset = address - reinterpret_cast<u64>(region.data());
      if (address >= reinterpret_cast<u64>(region.data()) && offset <= region.size() && size <= region.size() - offset)
        return true;
    }
    return false;
  }
};

class UserEngine final : public Engine {
 public:
  explicit UserEngine(bool checked) : checked_(checked) {}

  std::string_view name() const override { return checked_ ? "checked" : "interpreter"; }
  Result<void> supported() const override { return {}; }
  bool takes_raw() const override { return checked_; }

  Result<Outcome> run(const Case& c) const override {
    if (c.raw) return run_raw(c);
    const auto object = SKEP_TRY(object_of(c));
    const auto outcome = SKEP_TRY(verify::verify(object.programs.front(), object, {}));
    if (!outcome.program) {
      if (!c.expects_rejection) return fail(Code::rejected, verify::explain(outcome.report, object.programs.front()));
      return Outcome{true, outcome.report.rejection ? outcome.report.rejection->id : "", 0};
    }
    return run_verified(*outcome.program, object);
  }

 private:
  Result<Outcome> run_verified(const verify::VerifiedProgram& program, const ObjectSpec& object) const {
    std::vector<std::shared_ptr<map::Map>> maps;
    vm::Bindings bindings;
    Regions regions;
    for (const MapSpec& spec : object.maps) {
      maps.push_back(SKEP_TRY(map::Map::create(spec)));
      auto* value = static_cast<std::byte*>(maps.back()->direct_value());
      bindings.maps.push_back(reinterpret_cast<u64>(maps.back().get()));
      bindings.map_values.push_back(reinterpret_cast<u64>(value));
      regions.regions.emplace_back(value, spec.value_size);
    }
    std::vector<std::byte> context(std::max<std::size_t>(program.context_bytes(), 256));
    regions.regions.emplace_back(context);
    const auto function = SKEP_TRY(vm::Function::link(program, bindings));
    if (checked_)
      return Outcome{false, "", SKEP_TRY(function->run_checked(nullptr, context.data(), regions, insn_budget))};
    return Outcome{false, "", function->run(nullptr, context.data())};
  }

  Result<Outcome> run_raw(const Case& c) const {
    const auto insns = SKEP_TRY(isa::assemble(c.assembly));
    auto memory = c.memory;
    Regions regions;
    regions.regions.emplace_back(memory);
    vm::RawRun raw;
    raw.r1 = reinterpret_cast<u64>(memory.data());
    raw.r2 = memory.size();
    raw.guard = &regions;
    raw.max_insns = insn_budget;
    return Outcome{false, "", SKEP_TRY(vm::run_raw_checked(insns, raw))};
  }

  bool checked_;
};

}  // namespace

std::unique_ptr<Engine> interpreter() { return std::make_unique<UserEngine>(false); }
std::unique_ptr<Engine> checked_interpreter() { return std::make_unique<UserEngine>(true); }

}  // namespace skep::cases
