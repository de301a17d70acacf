// Compiling and running code with checks. See checked_program.hpp; the code itself: jit/baseline_x86_64_checked.cpp.
#include "vm/checked_program.hpp"

#include <fmt/format.h>

#include <cstring>

#include "vm/bytecode.hpp"
#include "vm/jit/baseline.hpp"
#include "vm/jit/checks.hpp"
#include "vm/jit/tiering.hpp"

namespace skep::vm {

using jit::Checks;
using jit::Violation;

struct CheckedProgram::Data {
  std::optional<verify::VerifiedProgram> program;
  std::unique_ptr<const Bytecode> bytecode;
  std::shared_ptr<Jit> jit;
  jit::Placed placed;
};

namespace {

Result<std::shared_ptr<const CheckedProgram>> compiled(std::unique_ptr<CheckedProgram::Data> data,
                                                       const std::shared_ptr<Jit>& jit) {
  data->jit = jit != nullptr ? jit : Jit::create({.background = false});
  data->placed = SKEP_TRY(jit::compile_baseline(*data->bytecode, {.checked = true}, data->jit->code_memory()));
  for (std::size_t i = 0; i < data->placed.callbacks.size(); i++)
    data->bytecode->callbacks[i].native =
        reinterpret_cast<HelperFn>(reinterpret_cast<u64>(data->placed.code.data()) + data->placed.callbacks[i]);
  return std::make_shared<const CheckedProgram>(std::move(data));
}

Error error_of(const Checks& checks) {
  const auto at = [&](std::string_view what) { return fmt::format("instruction {}: {}", checks.insn, what); };
  switch (checks.violation) {
    case Violation::budget:
      return {Code::limit, at("the budget is used up"), 0};
    case Violation::misaligned:
      return {Code::malformed,
              at(fmt::format("atomic access of {} bytes at {:#x} is not aligned", checks.size, checks.address)), 0};
    case Violation::depth:
      return {Code::malformed, at(fmt::format("calls deeper than {} frames", isa::max_call_frames)), 0};
    case Violation::frame_pointer:
      return {Code::malformed, at("writes the frame pointer r10"), 0};
    case Violation::ran_off:
      return {Code::malformed, fmt::format("ran past the last instruction ({})", checks.insn), 0};
    case Violation::none:
    case Violation::memory:
      break;
  }
  return {Code::malformed,
          at(fmt::format("{} of {} bytes at {:#x} is outside the program's memory", checks.write ? "write" : "read",
                         checks.size, checks.address)),
          0};
}

}  // namespace

CheckedProgram::CheckedProgram(std::unique_ptr<Data> data) : data_(std::move(data)) {}
CheckedProgram::~CheckedProgram() = default;

Result<std::shared_ptr<const CheckedProgram>> CheckedProgram::compile(std::span<const Insn> insns,
                                                                      const Bindings& bindings,
                                                                      const std::shared_ptr<Jit>& jit) {
  auto data = std::make_unique<Data>();
  data->bytecode = SKEP_TRY(translate({insns, {}, {}, true}, bindings));
  return compiled(std::move(data), jit);
}

Result<std::shared_ptr<const CheckedProgram>> CheckedProgram::compile(const verify::VerifiedProgram& program,
                                                                      const Bindings& bindings,
                                                                      const std::shared_ptr<Jit>& jit) {
  auto data = std::make_unique<Data>();
  data->program = program;
  data->bytecode = SKEP_TRY(translate({.insns = program.insns(),
                                       .references = program.references(),
                                       .context_loads = program.context_loads(),
                                       .clear_frames = true,
                                       .exception_callback = program.exception_callback(),
                                       .arena_map = program.arena_map(),
                                       .arena_accesses = program.arena_accesses()},
                                      bindings));
  return compiled(std::move(data), jit);
}

Result<u64> CheckedProgram::run(const CheckedInput& input) const {
  Run own;
  Run& run = input.run != nullptr ? *input.run : own;
  Checks checks;
  checks.insns_left = static_cast<s64>(std::min<u64>(input.max_insns, u64{1} << 62));
  checks.frame_end = reinterpret_cast<u64>(checks.stack.data());
  checks.stack_end = checks.frame_end + checks.stack.size();
  for (jit::Window& window : checks.windows) {
    window.begin = checks.frame_end;
    for (u32 i = 0; i < 4; i++) window.last[i] = isa::stack_size_bytes - (1u << i);
  }
  checks.run = &run;
  checks.regions = input.regions;
  checks.guard = input.guard;
  run.tail_calls = 0;
  run.thrown = false;
  void* const before = run.checks;
  run.checks = &checks;
  const auto entry = reinterpret_cast<HelperFn>(reinterpret_cast<u64>(data_->placed.code.data()));
  const u64 result = entry(&run, input.r1, input.r2, 0, 0, 0);
  run.checks = before;
  if (checks.violation == Violation::none) return result;
  run.thrown = false;
  return tl::unexpected<Error>(error_of(checks));
}

std::span<const u8> CheckedProgram::machine_code() const noexcept { return data_->placed.code.bytes(); }

namespace jit {

void violate(void* opaque, u64 what, u64 access, u64 address) noexcept {
  auto& run = *static_cast<Run*>(opaque);
  auto& checks = *static_cast<Checks*>(run.checks);
  run.thrown = true;
  if (checks.violation != Violation::none) return;
  checks.violation = static_cast<Violation>(what);
  checks.insn = static_cast<u32>(access >> 3);
  checks.size = 1u << (access >> 1 & 3);
  checks.write = (access & 1) != 0;
  checks.address = address;
}

u64 lend(void* opaque, u64 bytecode, u64 map, u64 value) noexcept {
  auto& checks = *static_cast<Checks*>(static_cast<Run*>(opaque)->checks);
  if (value == 0) return 0;
  for (const MemoryRegion& region : checks.lent)
    if (region.begin == value) return value;
  for (const auto& use : reinterpret_cast<const Bytecode*>(bytecode)->map_uses)
    if (use.address == map) checks.lent[checks.lent_next++ % checks.lent.size()] = {value, use.view.value_size};
  return value;
}

u64 find_region(void* opaque, u64 access, u64 address) noexcept {
  auto& checks = *static_cast<Checks*>(static_cast<Run*>(opaque)->checks);
  const u64 size = u64{1} << (access >> 1 & 3);
  const bool write = (access & 1) != 0;
  constexpr u64 largest = 8;
  const auto holds = [&](u64 begin, u64 bytes) {
    const u64 offset = address - begin;
    if (offset > bytes || size > bytes - offset) return false;
    if (bytes < largest) return true;  // too small to remember
    Window& window = checks.windows[write ? 1 : 0];
    window.begin = begin;
    for (u32 i = 0; i < 4; i++) window.last[i] = bytes - (u64{1} << i);
    return true;
  };
  const u64 stack = reinterpret_cast<u64>(checks.stack.data());
  if (holds(stack, checks.frame_end - stack)) return 1;
  for (const MemoryRegion& region : checks.regions)
    if ((region.writable || !write) && holds(region.begin, region.size_bytes)) return 1;
  const Run& run = *checks.run;
  const u64 lent = address - reinterpret_cast<u64>(run.lent);
  if (!write && run.lent != nullptr && lent <= run.lent_bytes && size <= run.lent_bytes - lent) return 1;
  for (const MemoryRegion& region : checks.lent)
    if (holds(region.begin, region.size_bytes)) return 1;
  if (checks.guard != nullptr && checks.guard->allows(address, static_cast<u32>(size), write)) return 1;
  violate(opaque, static_cast<u64>(Violation::memory), access, address);
  return 0;
}

}  // namespace jit
}  // namespace skep::vm
