// Compiling and running code with checks. See checked_program.hpp; the run: jit/checks.hpp.
#include "vm/checked_program.hpp"

#include <fmt/format.h>

#include <cstring>

#include "vm/bytecode.hpp"
#include "vm/jit/checks.hpp"
#include "vm/jit/tiering.hpp"

namespace skep::vm {

using jit::Checks;
using jit::Violation;

struct CheckedProgram::Data {
  std::optional<verify::VerifiedProgram> program;
  std::unique_ptr<const Bytecode> bytecode;
  std::shared_ptr<Jit> jit;
  std::unique_ptr<const jit::CheckedCode> code;
};

namespace {

Result<std::shared_ptr<const CheckedProgram>> compiled(std::unique_ptr<CheckedProgram::Data> data,
                                                       const std::shared_ptr<Jit>& jit) {
  data->jit = jit != nullptr ? jit : Jit::create({.background = false});
  data->code = SKEP_TRY(jit::compile_checked(*data->bytecode, data->jit->code_memory()));
  return std::make_shared<const CheckedProgram>(std::move(data));
}

Error error_of(const Checks& checks) {
  const auto at = [&](std::string_view what) { return fmt::format("instruction {}: {}", checks.insn, what); };
  switch (checks.violation) {
    case Violation::budget:
      return {Code::limit, at("the budget is used up"), 0};
    case Violation::misaligned:
      return {Code::malformed,
              at(fmt::format("atomic access of {} bytes at {:#x} is not aligned", checks.culprit.bytes,
                             checks.culprit.address)),
              0};
    case Violation::depth:
      return {Code::malformed, at(fmt::format("calls deeper than {} frames", isa::max_call_frames)), 0};
    case Violation::frame_pointer:
      return {Code::malformed, at("writes the frame pointer r10"), 0};
    case Violation::ran_off:
      return {Code::malformed, fmt::format("ran past the last instruction ({})", checks.insn), 0};
    case Violation::callx:
      return {Code::malformed,
              at(fmt::format("callx: register r{} holds {:#x}, neither a function nor a helper's number",
                             checks.culprit.bytes, checks.culprit.address)),
              0};
    case Violation::no_code:
      return {Code::limit, at("what it enters cannot be made machine code with checks"), 0};
    case Violation::none:
    case Violation::memory:
      break;
  }
  return {Code::malformed,
          at(fmt::format("{} of {} bytes at {:#x} is outside the program's memory",
                         checks.culprit.write ? "write" : "read", checks.culprit.bytes, checks.culprit.address)),
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
                                       .arena_accesses = program.arena_accesses(),
                                       .window_accesses = program.window_accesses(),
                                       .local_types = program.local_types()},
                                      bindings));
  return compiled(std::move(data), jit);
}

namespace {

Result<u64> run_code(const jit::CheckedCode& code, const CheckedInput& input) {
  Run own;
  Run& run = input.run != nullptr ? *input.run : own;
  Checks checks;
  checks.run = checks.shared.run = &run;
  checks.insns_left = std::min<u64>(input.max_insns, u64{1} << 62);
  checks.regions = input.regions;
  checks.guard = input.guard;
  run.tail_calls = 0;
  run.thrown = false;
  // One by one: what the last run stored one by one comes late to a load of two.
  void* const checks_before = __atomic_load_n(&run.checks, __ATOMIC_RELAXED);
  void* const checked_before = __atomic_load_n(&run.checked, __ATOMIC_RELAXED);
  base::Lending* const lending_before = __atomic_load_n(&run.lending, __ATOMIC_RELAXED);
  run.checks = &checks;
  run.checked = &checks.shared;
  run.lending = &checks.lender;
  jit::Activation activation;
  const u64 result = jit::run_activation(checks, activation, code, 0, {input.r1, input.r2, 0, 0, 0});
  run.checks = checks_before;
  run.checked = checked_before;
  run.lending = lending_before;
  if (checks.violation == Violation::none) return result;
  run.thrown = false;
  return tl::unexpected<Error>(error_of(checks));
}

}  // namespace

Result<u64> CheckedProgram::run(const CheckedInput& input) const { return run_code(*data_->code, input); }

Result<u64> run_checked_code(const Function& function, const CheckedInput& input) {
  return run_code(*SKEP_TRY(Tiering::checked_code(function)), input);
}
Result<std::span<const u8>> checked_machine_code(const Function& function) {
  return SKEP_TRY(Tiering::checked_code(function))->code.bytes();
}

std::span<const u8> CheckedProgram::machine_code() const noexcept { return data_->code->code.bytes(); }

}  // namespace skep::vm
