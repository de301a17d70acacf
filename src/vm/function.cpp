// Function: a translated program with its proof, and the ways to run it. What tier it is in: vm/jit/tiering.cpp.
#include "vm/function.hpp"

#include <fmt/format.h>

#include "vm/bytecode.hpp"
#include "vm/jit/entry.hpp"
#include "vm/jit/tiering.hpp"

namespace skep::vm {

std::string_view name_of(Tier tier) noexcept {
  switch (tier) {
    case Tier::interpreter:
      return "interpreter";
    case Tier::baseline:
      return "baseline";
    case Tier::optimised:
      return "optimised";
    case Tier::automatic:
      return "automatic";
  }
  return "";
}

Function::Function(std::unique_ptr<const Bytecode> bytecode, std::unique_ptr<Data> data)
    : entry_(interpret_entry), bytecode_(std::move(bytecode)), data_(std::move(data)) {
  static_assert(offsetof(Function, entry_) == function_entry_at && sizeof entry_ == sizeof(HelperFn));
}

Function::~Function() { Tiering::end(*this); }

Result<std::shared_ptr<const Function>> Function::link(const verify::VerifiedProgram& program, const Bindings& bindings,
                                                       const LinkOptions& options) {
  const Source source{.insns = program.insns(),
                      .references = program.references(),
                      .context_loads = program.context_loads(),
                      .clear_frames = program.reads_untouched_stack(),
                      .exception_callback = program.exception_callback(),
                      .arena_map = program.arena_map(),
                      .arena_accesses = program.arena_accesses(),
                      .window_accesses = program.window_accesses(),
                      .local_types = program.local_types(),
                      .proofs = program.proofs(),
                      .stack_touches = program.stack_touches()};
  const auto place = [&] { return fmt::format("program {}", program.name()); };
  auto code = SKEP_TRY_AT(place(), translate(source, bindings));
  auto data = std::make_unique<Data>();
  data->program = program;
  auto function = std::make_shared<const Function>(std::move(code), std::move(data));
  SKEP_TRY_AT(place(), Tiering::begin(*function, options));
  return function;
}

std::span<const Insn> Function::insns() const { return bytecode_->insns; }
const verify::VerifiedProgram& Function::program() const { return *data_->program; }

std::shared_ptr<const Function> trusted_function(std::unique_ptr<const Bytecode> code) {
  return std::make_shared<const Function>(std::move(code), std::make_unique<Function::Data>());
}

Result<std::shared_ptr<const Function>> trusted_function(std::unique_ptr<const Bytecode> code,
                                                         const LinkOptions& options) {
  auto function = trusted_function(std::move(code));
  SKEP_TRY(Tiering::begin(*function, options));
  return function;
}

}  // namespace skep::vm
