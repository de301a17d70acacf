// Our two loops as engines: assemble, verify, link, run.
//
// Maps are real ones (map room); memory the checked loop may touch is the context, the data of the maps and, for
// raw cases, the memory argument. The checked engine also says what the kernel's rules make of a refused case, and
// holds every instruction of an accepted one against the verifier's states (tests/embedding).
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "../embedding/oracle.hpp"
#include "catalog/contexts.hpp"
#include "catalog/helpers.hpp"
#include "catalog/kfuncs.hpp"
#include "engines.hpp"
#include "helper/call.hpp"
#include "helper/helpers.hpp"
#include "helper/kfuncs.hpp"
#include "isa/semantics.hpp"
#include "isa/text.hpp"
#include "map/arena.hpp"
#include "map/map.hpp"
#include "verify/verify.hpp"
#include "vm/function.hpp"
#include "vm/jit/baseline.hpp"

namespace skep::cases {
namespace {

constexpr u64 insn_budget = 100'000'000;

/// Numbers of calls from here on stand for kernel functions, in the order of their rows (helper_names).
constexpr s32 first_kfunc = 100'000;

void name_kfuncs(ProgramSpec& program) {
  for (u32 i = 0; i < program.insns.size(); i += isa::slots(program.insns[i])) {
    Insn& insn = program.insns[i];
    if (isa::decode(insn) != isa::Op::call_helper || insn.imm < first_kfunc) continue;
    if (insn.imm - first_kfunc >= static_cast<s32>(catalog::kfuncs().size())) continue;
    Reference reference;
    reference.insn = i;
    reference.kind = Reference::Kind::kfunc;
    reference.name = catalog::kfuncs()[static_cast<u32>(insn.imm - first_kfunc)].name;
    insn.src = isa::call_src_kfunc;
    insn.imm = 0;
    program.references.push_back(std::move(reference));
  }
  std::sort(program.references.begin(), program.references.end(),
            [](const Reference& a, const Reference& b) { return a.insn < b.insn; });
}

/// The case as an object file would say it.
Result<ObjectSpec> object_of(const Case& c) {
  auto assembly = SKEP_TRY(isa::parse(c.assembly, helper_names()));
  ObjectSpec object;
  object.name = "case";
  object.license = "GPL";
  ProgramSpec program;
  program.name = "case";
  program.type = c.type;
  program.functions.push_back({0, 0, "entry", false});
  object.maps = c.maps;
  for (const auto& map : assembly.maps) {
    const auto found = std::find_if(c.maps.begin(), c.maps.end(), [&](const MapSpec& m) { return m.name == map.name; });
    if (found == c.maps.end()) return fail(Code::malformed, fmt::format("no ';! data {0}' or ';! map {0}'", map.name));
    Reference reference;
    reference.insn = map.insn;
    reference.kind =
        assembly.insns[map.insn].src == isa::imm64_src_map_value ? Reference::Kind::map_value : Reference::Kind::map;
    reference.map = static_cast<u32>(found - c.maps.begin());
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
  name_kfuncs(program);
  object.programs.push_back(std::move(program));
  return object;
}

bool inside(u64 address, u32 size, u64 begin, u64 length) {
  const u64 offset = address - begin;
  return address >= begin && offset <= length && size <= length - offset;
}

/// The memory of a run: fixed regions, and the values that maps hold at that moment.
struct Regions final : vm::MemoryGuard {
  std::vector<std::span<std::byte>> regions;
  std::vector<std::shared_ptr<map::Map>> maps;

  bool allows(u64 address, u32 size, bool) noexcept override {
    for (const auto region : regions)
      if (inside(address, size, reinterpret_cast<u64>(region.data()), region.size())) return true;
    return std::any_of(maps.begin(), maps.end(), [&](const auto& map) { return holds(*map, address, size); });
  }

  static bool holds(map::Map& map, u64 address, u32 size) noexcept {
    std::vector<std::byte> key(map.spec().key_size);
    const std::byte* previous = nullptr;
    while (map.next_key(previous, key.data()) == 0) {
      const void* value = map.lookup(key.data());
      if (value != nullptr && inside(address, size, reinterpret_cast<u64>(value), map.spec().value_size)) return true;
      previous = key.data();
    }
    return false;
  }
};

/// The engine's context of a packet program: catalog/contexts.hpp says where the 64-bit pointers lie. A socket
/// filter sees its packet behind the 14 bytes of the Ethernet header, as in the kernel's test run.
std::vector<std::byte> context_of(const Case& c, std::span<std::byte> packet) {
  const auto* row = catalog::context_of(c.type);
  std::vector<std::byte> context(row != nullptr ? std::max<u16>(row->engine_size, 256) : 256);
  if (row == nullptr) return context;
  const bool is_filter = c.type == ProgramType::socket_filter;
  if (is_filter) packet = packet.subspan(std::min<std::size_t>(14, packet.size()));
  const auto put = [&](std::size_t offset, auto value) { std::memcpy(&context[offset], &value, sizeof value); };
  for (const auto& field : row->fields) {
    if (field.name == "len") put(field.offset, static_cast<u32>(packet.size()));
    if (field.native < 0) continue;
    const u64 begin = reinterpret_cast<u64>(packet.data());
    put(static_cast<std::size_t>(field.native),
        field.kind == catalog::Field::packet_end ? begin + packet.size() : begin);
  }
  return context;
}

/// LD_ABS and LD_IND of a socket filter: the packet its context points to.
s64 load_packet(void*, void* context, u32 offset, u32 size, u64* out) noexcept {
  const auto* row = catalog::context_of(ProgramType::socket_filter);
  u64 begin = 0, end = 0;
  for (const auto& field : row->fields) {
    const auto* slot = static_cast<const std::byte*>(context) + field.native;
    if (field.native >= 0 && field.kind == catalog::Field::packet) std::memcpy(&begin, slot, sizeof begin);
    if (field.native >= 0 && field.kind == catalog::Field::packet_end) std::memcpy(&end, slot, sizeof end);
  }
  if (offset > end - begin || size > end - begin - offset) return -1;
  *out = 0;
  for (u32 i = 0; i < size; i++) *out = *out << 8 | *reinterpret_cast<const u8*>(begin + offset + i);
  return 0;
}

class UserEngine final : public Engine {
 public:
  enum class Way : u8 { interpreter, checked, baseline, optimised };
  explicit UserEngine(Way way) : way_(way), checked_(way == Way::checked) {}

  std::string_view name() const override {
    constexpr std::string_view names[] = {"interpreter", "checked", "baseline", "optimised"};
    return names[static_cast<u8>(way_)];
  }
  Result<void> supported() const override {
    if (way_ == Way::baseline && !vm::jit::has_baseline)
      return fail(Code::unsupported, "the baseline JIT has no emitter for this machine");
    return {};
  }
  bool takes_raw() const override { return checked_; }

  Result<Outcome> run(const Case& c) const override {
    if (c.raw) return run_raw(c);
    const auto object = SKEP_TRY(object_of(c));
    embedding::Embedding states;
    verify::Options options;
    if (checked_) options.observer = &states;
    const auto outcome = SKEP_TRY(verify::verify(object.programs.front(), object, options));
    if (!outcome.program) {
      if (!c.expects_rejection) return fail(Code::rejected, verify::explain(outcome.report, object.programs.front()));
      if (checked_) SKEP_TRY(refused_by_kernel_rules(c, object));
      return Outcome{true, outcome.report.rejection ? outcome.report.rejection->id : "", 0};
    }
    return run_verified(c, *outcome.program, states);
  }

 private:
  /// Our verifier by the kernel's rules, where the kernel itself takes part.
  static Result<void> refused_by_kernel_rules(const Case& c, const ObjectSpec& object) {
    if (c.left_out_by("kernel rules") != nullptr) return {};
    verify::Options options;
    options.rules = verify::Rules::kernel;
    const auto outcome = SKEP_TRY(verify::verify(object.programs.front(), object, options));
    if (outcome.program) return fail(Code::malformed, "accepted by the kernel's rules");
    return {};
  }

  Result<Outcome> run_verified(const Case& c, const verify::VerifiedProgram& program,
                               embedding::Embedding& states) const {
    vm::Bindings bindings;
    bindings.helpers = helper::table();
    bindings.kfunc = [type = c.type](std::string_view name) { return helper::kfunc_for(name, type); };
    bindings.load_packet = load_packet;
    Regions regions;
    for (const MapSpec& spec : c.maps) {
      regions.maps.push_back(SKEP_TRY(map::Map::create(spec)));
      bindings.maps.push_back(reinterpret_cast<u64>(regions.maps.back().get()));
      bindings.map_values.push_back(spec.type == MapType::arena
                                        ? map::arena_window(*regions.maps.back()).begin
                                        : reinterpret_cast<u64>(regions.maps.back()->direct_value()));
    }
    auto packet = c.packet;
    auto context = context_of(c, packet);
    regions.regions = {context, packet};
    const auto function = SKEP_TRY(link(program, bindings));
    helper::Call call;
    call.context = context.data();
    if (checked_) {
      states.begin(program, &function->bytecode(), nullptr);
      embedding::WatchingGuard guard(states, &regions);
      return Outcome{false, "", SKEP_TRY(function->run_checked(call, context.data(), guard, insn_budget))};
    }
    return Outcome{false, "", function->run(call, context.data())};
  }

  /// What the optimiser does not compile (it says so) runs in baseline code, as in the engine; where there is none, in
  /// the interpreter.
  Result<std::shared_ptr<const vm::Function>> link(const verify::VerifiedProgram& program,
                                                   const vm::Bindings& bindings) const {
    if (way_ == Way::optimised) {
      auto function = vm::Function::link(program, bindings, {.tier = vm::Tier::optimised});
      if (function || function.error().code != Code::unsupported) return function;
    }
    const bool is_compiled = (way_ == Way::baseline || way_ == Way::optimised) && vm::jit::has_baseline;
    return vm::Function::link(program, bindings, {.tier = is_compiled ? vm::Tier::baseline : vm::Tier::interpreter});
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

  Way way_;
  bool checked_;
};

}  // namespace

isa::ParseOptions helper_names() {
  return {[](std::string_view name) -> std::optional<s32> {
    if (name.starts_with("bpf_")) name.remove_prefix(4);
    const auto id = catalog::helper_by_name(name);
    if (const auto* kfunc = catalog::kfunc_by_name("bpf_" + std::string(name)); !id && kfunc != nullptr)
      return first_kfunc + static_cast<s32>(kfunc->id);
    return id ? std::optional(static_cast<s32>(*id)) : std::nullopt;
  }};
}

std::unique_ptr<Engine> interpreter() { return std::make_unique<UserEngine>(UserEngine::Way::interpreter); }
std::unique_ptr<Engine> checked_interpreter() { return std::make_unique<UserEngine>(UserEngine::Way::checked); }
std::unique_ptr<Engine> baseline() { return std::make_unique<UserEngine>(UserEngine::Way::baseline); }
std::unique_ptr<Engine> optimised() { return std::make_unique<UserEngine>(UserEngine::Way::optimised); }

}  // namespace skep::cases
