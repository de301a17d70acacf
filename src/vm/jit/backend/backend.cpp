// Which CPU's emitter; see backend.hpp.
#include "vm/jit/backend/backend.hpp"

#include "vm/jit/backend/passes.hpp"
#include "vm/jit/x86_64.hpp"

namespace skep::vm::backend {

Target Target::host() {
  const auto& cpu = x86::cpu_features();
  return {.bmi2 = cpu.bmi2, .movbe = cpu.movbe, .popcnt = cpu.popcnt, .lzcnt = cpu.lzcnt};
}

Result<Compiled> emit(const ir::Module& module, const Target& target) {
  if (target.machine == Machine::x86_64) return emit_x86_64(module, target);
  return fail(skep::Code::unsupported, "the optimising tier has an emitter for x86-64 only; use the interpreter");
}

}  // namespace skep::vm::backend
