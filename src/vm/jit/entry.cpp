// See entry.hpp.
#include "vm/jit/entry.hpp"

#include "vm/bytecode.hpp"

namespace skep::vm {

u64 interpret_entry(void* run, u64 r1, u64 r2, u64, u64, u64 function) noexcept {
  return interpret(reinterpret_cast<const Function*>(function)->bytecode(), *static_cast<Run*>(run), r1, r2);
}

u64 settle_throw(void* opaque, const Bytecode* code) noexcept {
  auto* run = static_cast<Run*>(opaque);
  run->thrown = false;
  if (code->exception_callback == nullptr) return run->thrown_value;
  return (*code->exception_callback)(run, run->thrown_value, 0, 0, 0, 0);
}

}  // namespace skep::vm
