// Machine code for any CPU that there is an emitter for.
//
// A file of its own, so that a program which compiles for the machine it runs on (emit_host(), backend.cpp) is linked
// with one emitter and not with all.
#include "vm/jit/backend/passes.hpp"

namespace skep::vm::backend {

Result<Compiled> emit(const ir::Module& module, const Target& target) {
  return target.machine == Machine::x86_64 ? emit_x86_64(module, target) : emit_arm64(module, target);
}

}  // namespace skep::vm::backend
