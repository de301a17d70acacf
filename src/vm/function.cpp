// Function: a translated program with its proof, and the two ways to run it.
#include "vm/function.hpp"

#include <fmt/format.h>

#include "vm/bytecode.hpp"

namespace skep::vm {

Function::Function(std::unique_ptr<Data> data) : data_(std::move(data)) {}
Function::~Function() = default;

Result<std::shared_ptr<const Function>> Function::link(const verify::VerifiedProgram& program,
                                                       const Bindings& bindings) {
  const Source source{.insns = program.insns(),
                      .references = program.references(),
                      .context_loads = program.context_loads(),
                      .clear_frames = program.reads_untouched_stack(),
                      .exception_callback = program.exception_callback(),
                      .arena_map = program.arena_map(),
                      .arena_accesses = program.arena_accesses(),
                      .proofs = program.proofs(),
                      .stack_touches = program.stack_touches()};
  auto code = SKEP_TRY_AT(fmt::format("program {}", program.name()), translate(source, bindings));
  return std::make_shared<const Function>(std::make_unique<Data>(Data{program, std::move(code)}));
}

u64 Function::run(Run& run, void* context) const noexcept {
  run.tail_calls = 0;
  run.thrown = false;
  return interpret(*data_->code, run, reinterpret_cast<u64>(context), 0);
}

Result<u64> Function::run_checked(Run& run, void* context, MemoryGuard& guard, u64 max_insns) const {
  run.tail_calls = 0;
  run.thrown = false;
  CheckedRun checked{&run, &guard, max_insns};
  return interpret_checked(*data_->code, reinterpret_cast<u64>(context), 0, checked);
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
  Run own;
  CheckedRun run{raw.run != nullptr ? raw.run : &own, raw.guard, raw.max_insns};
  return interpret_checked(*code, raw.r1, raw.r2, run);
}

}  // namespace skep::vm
