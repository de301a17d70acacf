// Function: a translated program with its proof, and the two ways to run it.
#include "vm/function.hpp"

#include <fmt/format.h>

#include "vm/bytecode.hpp"

namespace skep::vm {

Function::Function(std::unique_ptr<Data> data) : data_(std::move(data)) {}
Function::~Function() = default;

Result<std::shared_ptr<const Function>> Function::link(const verify::VerifiedProgram& program,
                                                       const Bindings& bindings) {
  auto code = SKEP_TRY_AT(
      fmt::format("program {}", program.name()),
      translate({program.insns(), program.references(), program.context_loads(), program.reads_untouched_stack()},
                bindings));
  return std::make_shared<const Function>(std::make_unique<Data>(Data{program, std::move(code)}));
}

u64 Function::run(void* call, void* context) const noexcept {
  u32 tail_calls = 0;
  return interpret(*data_->code, call, reinterpret_cast<u64>(context), 0, tail_calls);
}

Result<u64> Function::run_checked(void* call, void* context, MemoryGuard& guard, u64 max_insns) const {
  CheckedRun run{call, &guard, max_insns};
  return interpret_checked(*data_->code, reinterpret_cast<u64>(context), 0, run);
}

std::span<const Insn> Function::insns() const { return data_->code->insns; }
const verify::VerifiedProgram& Function::program() const { return *data_->program; }
const Bytecode& Function::bytecode() const noexcept { return *data_->code; }

std::shared_ptr<const Function> trusted_function(std::unique_ptr<const Bytecode> code) {
  return std::make_shared<const Function>(std::make_unique<Function::Data>(Function::Data{{}, std::move(code)}));
}

Result<u64> run_raw_checked(std::span<const Insn> insns, const RawRun& raw) {
  Bindings bindings;
  bindings.helpers = raw.helpers;
  bindings.load_packet = raw.load_packet;
  const auto code = SKEP_TRY(translate({insns, {}, {}, true}, bindings));
  CheckedRun run{raw.call, raw.guard, raw.max_insns};
  return interpret_checked(*code, raw.r1, raw.r2, run);
}

}  // namespace skep::vm
