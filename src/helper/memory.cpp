// Helpers that read and write memory by address. See memory.hpp.
//
// A read that fails leaves zeros behind, as in the kernel: programs use the buffer anyway.
// Source: kernel/trace/bpf_trace.c (bpf_probe_*), mm/maccess.c (lengths and truncation), kernel/bpf/helpers.c
// (bpf_copy_from_user).
#include "helper/memory.hpp"

#include <cerrno>
#include <cstring>

#include "helper/bind.hpp"
#include "map/memory.hpp"

namespace skep::helper {

namespace {

constexpr u64 page = map::page_bytes;
/// First step of a string read: most strings end within it, and a task that keeps a window of what it read serves the
/// next steps from there.
constexpr u64 first_step = 256;
constexpr u64 longest_read = u64{1} << 29;  // the verifier's bound of any size

/// How many bytes at `address` are the running program's own.
u64 own_bytes(u64 address) noexcept {
  // Our caller's frames lie between this one and the program's stack, which costs nothing but a few bytes more.
  if (const u64 stack = map::RunSection::stack_bytes_from(address, __builtin_frame_address(0)); stack > 0) return stack;
  return map::map_bytes_from(address);
}

const char* pointer(u64 address) noexcept { return reinterpret_cast<const char*>(address); }  // NOLINT

s64 own_string(char* to, u64 address, u64 size, u64 available) noexcept {
  const u64 most = size < available ? size : available;
  const u64 length = ::strnlen(pointer(address), most);
  std::memcpy(to, pointer(address), length);
  if (length < most) {
    to[length] = 0;
    return static_cast<s64>(length + 1);
  }
  if (most < size) return -EFAULT;  // ran out of the program's memory without a terminator
  to[size - 1] = 0;
  return static_cast<s64>(size);
}

/// Reads pieces until the terminator. `read` never gets a piece that crosses a page.
template <class Read>
s64 string_by_pieces(char* to, u64 address, u64 size, Read read) noexcept {
  for (u64 done = 0; done < size;) {
    const u64 rest_of_page = page - (address + done) % page;
    u64 piece = size - done < rest_of_page ? size - done : rest_of_page;
    if (done < first_step && piece > first_step - done) piece = first_step - done;
    const s64 got = read(to + done, address + done, static_cast<u32>(piece));
    if (got < 0) return got;
    const auto* end = static_cast<const char*>(std::memchr(to + done, 0, static_cast<u64>(got)));
    if (end != nullptr) return end - to + 1;
    done += static_cast<u64>(got);
  }
  to[size - 1] = 0;
  return static_cast<s64>(size);
}

s64 user_string(Task& task, char* to, u64 address, u64 size) noexcept {
  const s64 length = string_by_pieces(to, address, size, [&](char* at, u64 from, u32 piece) noexcept -> s64 {
    const s64 error = task.read_user(at, from, piece);
    return error != 0 ? error : piece;
  });
  // The kernel copies words: what follows the terminator inside its last word is zero.
  for (s64 i = length; i > 0 && i % 8 != 0 && static_cast<u64>(i) < size; ++i) to[i] = 0;
  return length;
}

/// Contexts have no page structure: a piece that does not fit is tried by halves.
s64 event_string(Task& task, char* to, u64 address, u64 size) noexcept {
  return string_by_pieces(to, address, size, [&](char* at, u64 from, u32 piece) noexcept -> s64 {
    for (; piece > 0; piece /= 2)
      if (task.read_kernel(at, from, piece) == 0) return piece;
    return -EFAULT;
  });
}

s64 read_or_zero(Call& call, Space space, WriteMem to, u64 address) noexcept {
  const s64 error = read_memory(call, space, to.data, address, to.size);
  if (error != 0) std::memset(to.data, 0, to.size);
  return error;
}

s64 string_or_zero(Call& call, Space space, WriteMem to, u64 address) noexcept {
  const s64 length = read_string(call, space, reinterpret_cast<char*>(to.data), address, to.size);
  if (length < 0) std::memset(to.data, 0, to.size);
  return length;
}

u64 number(const void* address) noexcept { return reinterpret_cast<u64>(address); }

}  // namespace

s64 read_memory(Call& call, Space space, void* to, u64 address, u64 size) noexcept {
  if (size == 0) return 0;
  if (size > longest_read || address + size < address) return -EFAULT;
  if (space != Space::user) {
    if (own_bytes(address) >= size) {
      std::memcpy(to, pointer(address), size);
      return 0;
    }
    if (call.task != nullptr && call.task->read_kernel(to, address, static_cast<u32>(size)) == 0) return 0;
    if (space == Space::kernel) return -EFAULT;
  }
  return call.task != nullptr ? call.task->read_user(to, address, static_cast<u32>(size)) : -EFAULT;
}

s64 read_string(Call& call, Space space, char* to, u64 address, u64 size) noexcept {
  if (size == 0) return 0;
  if (size > longest_read) return -EFAULT;
  if (space != Space::user) {
    if (const u64 own = own_bytes(address); own > 0) return own_string(to, address, size, own);
    if (call.task == nullptr) return -EFAULT;
    char first = 0;
    if (call.task->read_kernel(&first, address, 1) == 0) return event_string(*call.task, to, address, size);
    if (space == Space::kernel) return -EFAULT;
  }
  return call.task != nullptr ? user_string(*call.task, to, address, size) : -EFAULT;
}

static s64 probe_read(Call& call, WriteMem to, const void* from) noexcept {
  return read_or_zero(call, Space::either, to, number(from));
}
SKEP_BIND(probe_read)

static s64 probe_read_user(Call& call, WriteMem to, const void* from) noexcept {
  return read_or_zero(call, Space::user, to, number(from));
}
SKEP_BIND(probe_read_user)

static s64 probe_read_kernel(Call& call, WriteMem to, const void* from) noexcept {
  return read_or_zero(call, Space::kernel, to, number(from));
}
SKEP_BIND(probe_read_kernel)

static s64 copy_from_user(Call& call, WriteMem to, const void* from) noexcept {
  return read_or_zero(call, Space::user, to, number(from));
}
SKEP_BIND(copy_from_user)

static s64 probe_read_str(Call& call, WriteMem to, const void* from) noexcept {
  return string_or_zero(call, Space::either, to, number(from));
}
SKEP_BIND(probe_read_str)

static s64 probe_read_user_str(Call& call, WriteMem to, const void* from) noexcept {
  return string_or_zero(call, Space::user, to, number(from));
}
SKEP_BIND(probe_read_user_str)

static s64 probe_read_kernel_str(Call& call, WriteMem to, const void* from) noexcept {
  return string_or_zero(call, Space::kernel, to, number(from));
}
SKEP_BIND(probe_read_kernel_str)

static s64 probe_write_user(Call& call, void* to, ReadMem from) noexcept {
  if (call.task == nullptr || from.size > longest_read) return -EPERM;
  return call.task->write_user(number(to), from.data, static_cast<u32>(from.size));
}
SKEP_BIND(probe_write_user)

}  // namespace skep::helper
