// Each engine's way of preparing and running a program. See engines.hpp.
#include "engine/engines.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstring>

#include "catalog/contexts.hpp"
#include "helper/call.hpp"
#include "helper/helpers.hpp"
#include "helper/local_task.hpp"
#include "map/map.hpp"
#include "user/prepare.hpp"
#include "verify/verify.hpp"
#include "vm/checked_program.hpp"
#include "vm/function.hpp"
#include "vm/jit/tiering.hpp"

namespace skep::bench {
namespace {

using Clock = std::chrono::steady_clock;
double ns_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

class NativeSubject final : public Subject {
 public:
  explicit NativeSubject(const Sources& sources)
      : function_(sources.native->function()), packet_(sources.input->packet) {}
  Result<u32> run(u32 times) override {
    NativeContext context{packet_.data(), packet_.data() + packet_.size()};
    u32 result = 0;
    for (u32 i = 0; i < times; ++i) result = static_cast<u32>(function_(&context));
    return result;
  }

 private:
  NativeFn function_;
  std::vector<std::byte> packet_;
};

/// A tier of skep::vm, with maps, context and packet of its own.
class VmSubject final : public Subject {
 public:
  /// `checked`: as if nobody had verified it, every access asked for (vm/checked_program.hpp).
  static Result<std::unique_ptr<Subject>> make(const Sources& sources, vm::Tier tier, bool checked = false) {
    auto subject = std::make_unique<VmSubject>();
    subject->checked_ = checked;
    subject->tier_ = tier;
    SKEP_TRY(subject->prepare(sources));
    return subject;
  }

  Result<u32> run(u32 times) override {
    const map::RunSection section(0);
    u64 result = 0;
    if (checked_) return run_checked(times);
    for (u32 i = 0; i < times; ++i) result = function_->run(call_, context_.data());
    return static_cast<u32>(result);
  }

 private:
  Result<u32> run_checked(u32 times) {
    u64 result = 0;
    vm::CheckedInput input;
    input.r1 = reinterpret_cast<u64>(context_.data());
    input.regions = regions_;
    input.run = &call_;
    input.max_insns = 1'000'000'000;
    for (u32 i = 0; i < times; ++i) result = SKEP_TRY(program_->run(input));
    return static_cast<u32>(result);
  }

  /// What a checked run may touch: packet, context, global data.
  void name_regions() {
    const auto add = [&](const void* begin, std::size_t size) {
      regions_.push_back({reinterpret_cast<u64>(begin), size});
    };
    add(packet_.data(), packet_.size());
    add(context_.data(), context_.size() * sizeof(u64));
    for (const auto& map : maps_)
      if (map->direct_value() != nullptr) add(map->direct_value(), map->spec().value_size);
  }

  Result<void> prepare(const Sources& sources) {
    const ObjectSpec spec = SKEP_TRY(user::prepare(*sources.object));
    const auto outcome = SKEP_TRY(verify::verify(spec.programs.at(0), spec, user::engine_rules()));
    verify_us = static_cast<double>(outcome.report.time_ns) / 1000;
    if (!outcome.program) return fail(Code::rejected, verify::explain(outcome.report, spec.programs.at(0)));
    vm::Bindings bindings;
    SKEP_TRY(make_maps(spec, *sources.input, bindings));
    constexpr int links = 20;
    compile_us = 1e9;
    for (int i = 0; i < links; ++i) {
      const auto begin = Clock::now();
      if (checked_) {
        program_ = SKEP_TRY(vm::CheckedProgram::compile(*outcome.program, bindings, jit_));
        compile_us = std::min(compile_us, ns_since(begin) / 1000);
        continue;
      }
      auto linked = SKEP_TRY(vm::Function::link(*outcome.program, bindings, {.tier = tier_, .jit = jit_}));
      compile_us = std::min(compile_us, ns_since(begin) / 1000);
      function_ = std::move(linked);
    }
    const auto made = std::as_bytes(checked_ ? program_->machine_code() : function_->machine_code());
    code_bytes = static_cast<u32>(made.size());
    code.assign(made.begin(), made.end());
    make_context(*sources.input);
    name_regions();
    return {};
  }

  Result<void> make_maps(const ObjectSpec& spec, const Input& input, vm::Bindings& bindings) {
    bindings.helpers = helper::table();
    for (const MapSpec& map_spec : spec.maps) {
      maps_.push_back(SKEP_TRY_AT("map " + map_spec.name, map::Map::create(map_spec)));
      void* const value = maps_.back()->direct_value();
      if (is_input(map_spec)) std::memcpy(value, input.words.data(), sizeof input.words);
      bindings.maps.push_back(reinterpret_cast<u64>(maps_.back().get()));
      bindings.map_values.push_back(reinterpret_cast<u64>(value));
      bindings.map_views.push_back(maps_.back()->inline_view());
    }
    return {};
  }

  void make_context(const Input& input) {
    const catalog::Context& layout = *catalog::context_of(ProgramType::sched_cls);
    packet_ = input.packet;
    context_.assign(layout.engine_size / sizeof(u64) + 1, 0);
    for (const auto& field : layout.fields) {
      if (field.native < 0) continue;
      const bool at_end = field.kind == catalog::Field::packet_end;
      context_[static_cast<u32>(field.native) / sizeof(u64)] =
          reinterpret_cast<u64>(packet_.data() + (at_end ? packet_.size() : 0));
    }
    call_.task = &task_;
    call_.context = context_.data();
  }

  std::vector<std::shared_ptr<map::Map>> maps_;
  vm::Tier tier_ = vm::Tier::interpreter;
  std::shared_ptr<vm::Jit> jit_ = vm::Jit::create();
  std::shared_ptr<const vm::Function> function_;
  bool checked_ = false;
  std::shared_ptr<const vm::CheckedProgram> program_;
  std::vector<vm::MemoryRegion> regions_;
  std::vector<std::byte> packet_;
  std::vector<u64> context_;
  helper::LocalTask task_;
  helper::Call call_;
};

}  // namespace

bool is_input(const MapSpec& map) { return map.is_global_data && map.value_size == sizeof(Input::words); }

Result<double> Subject::batch_ns(u32 times) {
  const auto begin = Clock::now();
  SKEP_TRY(run(times));
  return ns_since(begin);
}

std::vector<Engine> engines(std::vector<std::string>& why_not) {
  std::vector<Engine> all;
  all.push_back({"native", [](const Sources& sources) -> Result<std::unique_ptr<Subject>> {
                   return std::make_unique<NativeSubject>(sources);
                 }});
  constexpr std::pair<const char*, vm::Tier> tiers[] = {
      {"interp", vm::Tier::interpreter}, {"baseline", vm::Tier::baseline}, {"opt", vm::Tier::optimised}};
  for (const auto& [name, tier] : tiers)
    all.push_back({name, [tier = tier](const Sources& sources) { return VmSubject::make(sources, tier); }});
  all.push_back({"checked", [](const Sources& sources) { return VmSubject::make(sources, vm::Tier::baseline, true); }});
  if (auto kernel = kernel_engine())
    all.push_back(*std::move(kernel));
  else
    why_not.push_back(kernel.error().message);
  return all;
}

}  // namespace skep::bench
