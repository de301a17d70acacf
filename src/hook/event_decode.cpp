// See event_decode.hpp. Register use by ABI: System V ABI AMD64 appendix A; arch/x86/entry (i386: bx cx dx si di bp).
#include "hook/event_decode.hpp"

#include <linux/audit.h>
#include <time.h>

#include <cerrno>

namespace skep::hook {

u64 monotonic_ns() noexcept {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

void decode_call(const RawCall& call, SyscallEvent& event) noexcept {
  event.own_nr = call.number;
  event.abi = call.architecture == AUDIT_ARCH_I386    ? catalog::Abi::i386
              : (call.number & catalog::x32_bit) != 0 ? catalog::Abi::x32
                                                      : catalog::Abi::x86_64;
  event.args = event.abi == catalog::Abi::i386 ? catalog::x86_64_arguments(call.number, call.args) : call.args;
  event.nr = catalog::x86_64_number(event.abi, call.number);
  if (event.abi == catalog::Abi::i386 && call.number == catalog::i386_socketcall)
    event.nr = catalog::x86_64_of_socketcall(static_cast<u32>(call.args[0])).number;
  event.ret = 0;
  event.ip = call.ip;
  event.is_exit = false;
}

void registers_from_call(const RawCall& call, SyscallEvent& event) noexcept {
  PtRegs& regs = event.regs;
  regs = PtRegs{};
  regs.orig_ax = call.number;
  regs.ax = static_cast<u64>(-ENOSYS);  // as the kernel's entry code leaves it
  regs.ip = call.ip;
  regs.ss = 0x2b;
  if (event.abi == catalog::Abi::i386) {
    regs.bx = call.args[0];
    regs.cx = call.args[1];
    regs.dx = call.args[2];
    regs.si = call.args[3];
    regs.di = call.args[4];
    regs.bp = call.args[5];
    regs.cs = 0x23;
    return;
  }
  regs.di = call.args[0];
  regs.si = call.args[1];
  regs.dx = call.args[2];
  regs.r10 = call.args[3];
  regs.r8 = call.args[4];
  regs.r9 = call.args[5];
  regs.cx = call.ip;  // the syscall instruction leaves the return address there
  regs.cs = 0x33;
}

void decode_socketcall(SyscallEvent& event, helper::Task& task) noexcept {
  if (event.abi != catalog::Abi::i386 || event.own_nr != catalog::i386_socketcall) return;
  const catalog::Socketcall call = catalog::x86_64_of_socketcall(static_cast<u32>(event.args[0]));
  if (call.number < 0) return;
  u32 words[6] = {};
  // An unreadable list leaves zeros, as the call itself will fail with EFAULT.
  task.read_user(words, event.args[1], call.arguments * 4);
  for (std::size_t i = 0; i < event.args.size(); ++i) event.args[i] = words[i];
}

}  // namespace skep::hook
