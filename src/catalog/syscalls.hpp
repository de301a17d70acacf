// System calls by number and by name: the rows of syscalls.def as functions.
//
// Everything here speaks x86-64 numbers. i386 callers (int 0x80, 32-bit programs) and x32 callers have numbers
// of their own; the same call is found by its name, and i386 arguments are put in the x86-64 order. Where i386 has a
// call that x86-64 has not (waitpid, sigreturn...), there is no number to give: such a call is seen only by hooks on
// every call.
#pragma once
#include <array>
#include <optional>
#include <skep/types.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skep::catalog {

/// Numbers are below this; bitsets over system calls have this size.
inline constexpr u32 syscall_limit = 512;
/// What x32 adds to its numbers.
inline constexpr u32 x32_bit = 0x40000000;
/// i386 socketcall(2): one number for all socket calls, the call in the first argument.
inline constexpr u32 i386_socketcall = 102;

/// Whose numbering and registers a call uses.
enum class Abi : u8 { x86_64, i386, x32 };
std::string_view name_of(Abi abi) noexcept;

/// One row of syscalls.def.
struct SyscallRow {
  std::string_view name;      ///< as in unistd.h: "fstat"
  u32 number;                 ///< x86-64
  s32 i386;                   ///< or -1
  std::string_view function;  ///< the kernel's name: "newfstat"
  u32 arguments;
};

/// The row of an x86-64 number, or nullptr.
const SyscallRow* syscall_row(u32 number) noexcept;
/// The row whose kernel name is `function` ("newfstat"), or nullptr.
const SyscallRow* syscall_by_function(std::string_view function) noexcept;
/// The row whose unistd name is `name` ("fstat"), or nullptr.
const SyscallRow* syscall_by_name(std::string_view name) noexcept;
/// What the kernel's functions of system calls begin with on this machine (since Linux 4.17): "__x64_sys_".
#if defined(__aarch64__)
inline constexpr std::string_view syscall_prefix = "__arm64_sys_";
#else
inline constexpr std::string_view syscall_prefix = "__x64_sys_";
#endif
/// The kernel's name of the call behind such a function, of whichever machine: "execve" of "__x64_sys_execve"; "" for
/// others.
std::string_view syscall_of_function(std::string_view function) noexcept;
/// Up to three kernel names that read like `name`, nearest first; a unistd name leads to its kernel name.
std::vector<std::string_view> nearest_syscalls(std::string_view name);

/// The x86-64 number of a call made with `number` under `abi`, or -1. i386 socketcall is not decided by its number:
/// see x86_64_of_socketcall.
s32 x86_64_number(Abi abi, u32 number) noexcept;

/// Puts i386 arguments in x86-64 order, joining halves.
std::array<u64, 6> x86_64_arguments(u32 i386_number, const std::array<u64, 6>& arguments) noexcept;

struct Socketcall {
  s32 number;     ///< x86-64, or -1
  u32 arguments;  ///< how many 32-bit words lie at the second argument
};
Socketcall x86_64_of_socketcall(u32 call) noexcept;

/// Every (own number, x86-64 number) pair of i386 except socketcall, every pair of x32, every pair of socketcall.
struct NumberPair {
  u32 own;
  u32 x86_64;
};
std::vector<NumberPair> i386_numbers();
std::vector<NumberPair> x32_numbers();
std::vector<NumberPair> socketcall_numbers();

}  // namespace skep::catalog
