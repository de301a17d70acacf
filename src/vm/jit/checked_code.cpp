// Picks the emitter of this machine for code with checks.
#include "vm/jit/checks.hpp"
#include "vm/jit/tiering.hpp"

#if defined(__x86_64__)
#include "vm/jit/checked_x86_64.hpp"
#elif defined(__aarch64__)
#include "vm/jit/checked_arm64.hpp"
#endif

namespace skep::vm::jit {

Result<std::unique_ptr<const CheckedCode>> compile_checked([[maybe_unused]] const Bytecode& bytecode,
                                                           [[maybe_unused]] CodeMemory& memory) {
#if defined(__x86_64__) || defined(__aarch64__)
  auto made = std::make_unique<CheckedCode>();
  made->bytecode = &bytecode;
  made->plan = std::make_unique<const Plan>(bytecode);
  made->call_table = std::make_unique<u64[]>(bytecode.callbacks.size());
#if defined(__x86_64__)
  CheckedX86 emitter(bytecode, *made);
#else
  CheckedArm64 emitter(bytecode, *made);
#endif
  SKEP_TRY(emitter.run());
  made->code = SKEP_TRY(memory.add(emitter.code()));
  for (std::size_t i = 0; i < bytecode.callbacks.size(); i++)
    made->call_table[i] = made->address(static_cast<u32>(made->call_table[i]));
  return made;
#else
  return fail(Code::unsupported, "code with checks has no emitter for this machine; use the checked interpreter");
#endif
}

}  // namespace skep::vm::jit

namespace skep::vm {

Result<const jit::CheckedCode*> Tiering::checked_code(const Function& function) {
  Function::Data& data = *function.data_;
  const std::lock_guard lock(data.checked_mutex);
  if (data.checked == nullptr) {
    if (data.jit == nullptr && data.checked_jit == nullptr) data.checked_jit = Jit::create({.background = false});
    Jit& jit = data.jit != nullptr ? *data.jit : *data.checked_jit;
    data.checked = SKEP_TRY(jit::compile_checked(function.bytecode(), jit.code_memory()));
  }
  return data.checked.get();
}

}  // namespace skep::vm
