// Runs machine code that comes over standard input. A static AArch64 program for qemu-user; see protocol.hpp.
//
// Every call goes through a trampoline that marks the callee-saved registers, and the helper destroys every register
// that a call may destroy, so that code which keeps a value in the wrong place shows it.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <initializer_list>

#include "base/run.hpp"
#include "protocol.hpp"

namespace skep::tests::arm64 {
namespace {

extern "C" u64 skep_guarded_call(const void* code, void* run, const u64* parameters, u64* broken);
asm(R"(
.text
skep_guarded_call:
  stp x29, x30, [sp, #-112]!
  stp x19, x20, [sp, #16]
  stp x21, x22, [sp, #32]
  stp x23, x24, [sp, #48]
  stp x25, x26, [sp, #64]
  stp x27, x28, [sp, #80]
  str x3, [sp, #96]
  mov x29, sp
  mov x16, x0
  mov x0, x1
  mov x17, x2
  ldp x1, x2, [x17]
  ldp x3, x4, [x17, #16]
  ldr x5, [x17, #32]
  mov x19, #1119
  mov x20, #1120
  mov x21, #1121
  mov x22, #1122
  mov x23, #1123
  mov x24, #1124
  mov x25, #1125
  mov x26, #1126
  mov x27, #1127
  mov x28, #1128
  blr x16
  mov x1, sp
  sub x1, x1, x29
  sub x19, x19, #1119
  sub x20, x20, #1120
  sub x21, x21, #1121
  sub x22, x22, #1122
  sub x23, x23, #1123
  sub x24, x24, #1124
  sub x25, x25, #1125
  sub x26, x26, #1126
  sub x27, x27, #1127
  sub x28, x28, #1128
  orr x1, x1, x19
  orr x1, x1, x20
  orr x1, x1, x21
  orr x1, x1, x22
  orr x1, x1, x23
  orr x1, x1, x24
  orr x1, x1, x25
  orr x1, x1, x26
  orr x1, x1, x27
  orr x1, x1, x28
  mov sp, x29
  ldr x3, [sp, #96]
  str x1, [x3]
  ldp x19, x20, [sp, #16]
  ldp x21, x22, [sp, #32]
  ldp x23, x24, [sp, #48]
  ldp x25, x26, [sp, #64]
  ldp x27, x28, [sp, #80]
  ldp x29, x30, [sp], #112
  ret
)");

u64 helper(void* run, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) noexcept {
  const u64 hash = mixed(static_cast<base::Run*>(run)->thrown_value++, a1, a2, a3, a4, a5);
  asm volatile(
      "mov x1, #-1\n mov x2, #-1\n mov x3, #-1\n mov x4, #-1\n mov x5, #-1\n mov x6, #-1\n mov x7, #-1\n"
      "mov x8, #-1\n mov x9, #-1\n mov x10, #-1\n mov x11, #-1\n mov x12, #-1\n mov x13, #-1\n mov x14, #-1\n"
      "mov x15, #-1\n mov x16, #-1\n mov x17, #-1\n" ::
          : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
            "x17", "cc");
  return hash;
}

bool read_all(void* to, std::size_t size) {
  for (auto* at = static_cast<u8*>(to); size > 0;) {
    const ssize_t got = ::read(0, at, size);
    if (got <= 0) return false;
    at += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

int serve() {
  void* const code =
      ::mmap(nullptr, most_code_bytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (code == MAP_FAILED) return 2;
  const u64 address = reinterpret_cast<u64>(&helper);
  if (::write(1, &address, sizeof address) != sizeof address) return 3;
  alignas(16) static u8 memory[memory_bytes];
  for (Request request; read_all(&request, sizeof request);) {
    if (request.code_bytes > most_code_bytes || !read_all(code, request.code_bytes)) return 4;
    __builtin___clear_cache(static_cast<char*>(code), static_cast<char*>(code) + request.code_bytes);
    for (u32 i = 0; i < memory_bytes; i++) memory[i] = initial_byte(i);
    base::Run run;
    u64 parameters[5] = {reinterpret_cast<u64>(memory)};
    std::memcpy(parameters + 1, request.parameters, sizeof request.parameters);
    Response response;
    response.result = skep_guarded_call(static_cast<u8*>(code) + request.entry, &run, parameters, &response.broken);
    response.calls = run.thrown_value;
    std::memcpy(response.memory, memory, memory_bytes);
    if (::write(1, &response, sizeof response) != sizeof response) return 5;
  }
  return 0;
}

}  // namespace
}  // namespace skep::tests::arm64

int main() { return skep::tests::arm64::serve(); }
