// Picks the emitter of this machine.
#include "vm/jit/baseline.hpp"

#if defined(__x86_64__)
#include "vm/jit/baseline_x86_64.hpp"
#elif defined(__aarch64__)
#include "vm/jit/baseline_arm64.hpp"
#endif

namespace skep::vm::jit {

Result<Placed> compile_baseline([[maybe_unused]] const Bytecode& code, [[maybe_unused]] const BaselineOptions& options,
                                [[maybe_unused]] CodeMemory& memory) {
#if defined(__x86_64__) || defined(__aarch64__)
#if defined(__x86_64__)
  BaselineX86 emitter(code, options);
#else
  BaselineArm64 emitter(code, options);
#endif
  SKEP_TRY(emitter.run());
  Placed placed{SKEP_TRY(memory.add(emitter.code())), {}};
  placed.callbacks.reserve(code.callbacks.size());
  for (const auto& callback : code.callbacks) placed.callbacks.push_back(emitter.offset_of(callback.insn));
  return placed;
#else
  return fail(Code::unsupported, "the baseline JIT has no emitter for this machine; use the interpreter tier");
#endif
}

}  // namespace skep::vm::jit
