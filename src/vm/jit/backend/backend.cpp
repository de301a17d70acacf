// This machine's emitter; see backend.hpp. The other one is in no program that does not ask for it (emit.cpp).
#include "vm/jit/backend/backend.hpp"

#include "vm/jit/arm64.hpp"
#include "vm/jit/backend/passes.hpp"
#include "vm/jit/x86_64.hpp"

namespace skep::vm::backend {

Target Target::host() {
#if defined(__aarch64__)
  return {.machine = Machine::arm64, .popcnt = true, .lzcnt = true, .lse = arm64::cpu_features().lse};
#else
  const auto& cpu = x86::cpu_features();
  return {.bmi2 = cpu.bmi2, .movbe = cpu.movbe, .popcnt = cpu.popcnt, .lzcnt = cpu.lzcnt};
#endif
}

Result<Compiled> emit_host(const ir::Module& module, const Target& target) {
#if defined(__aarch64__)
  return emit_arm64(module, target);
#else
  return emit_x86_64(module, target);
#endif
}

}  // namespace skep::vm::backend
