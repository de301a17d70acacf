// The kernel's string functions: bpf_strcmp and its relatives.
//
// They read what a program may take for kernel memory, byte by byte up to the end of the string, at most XATTR_SIZE_MAX
// bytes. Memory is asked for in pieces that do not cross a page, so that a string just before memory that does not
// exist is read to its end.
//   -ERANGE  an address is the null pointer's page or user memory's (the kernel: outside of kernel memory)
//   -EFAULT  memory that cannot be read          -E2BIG  no end within the limit          -ENOENT  not found
// Source: Linux 6.18, kernel/bpf/helpers.c (bpf_strcmp to bpf_strnstr): order of checks and numbers.
#include <algorithm>
#include <cerrno>

#include "helper/call.hpp"
#include "helper/kfuncs.hpp"
#include "helper/memory.hpp"
#include "map/memory.hpp"

namespace skep::helper {

namespace {

constexpr u64 longest_string = 65536;  // Linux XATTR_SIZE_MAX

Call& call_of(void* run) noexcept { return *static_cast<Call*>(static_cast<base::Run*>(run)); }
/// An int as a C function returns it: the upper half of r0 is 0.
constexpr u64 error(int number) noexcept { return static_cast<u32>(-number); }

/// Bytes at one address, one after the other.
class Text {
 public:
  Text(Call& call, u64 address) noexcept : call_(call), address_(address) {}

  /// The null pointer, and what lies at it, is nobody's memory.
  bool is_possible() const noexcept { return address_ >= map::page_bytes; }

  /// The byte at `index`; false: it cannot be read.
  bool at(u64 index, u8& byte) noexcept {
    if (index - first_ >= count_ && !fetch(index)) return false;
    byte = bytes_[index - first_];
    return true;
  }

 private:
  bool fetch(u64 index) noexcept {
    const u64 from = address_ + index;
    if (from < address_) return false;
    u64 size = std::min<u64>(sizeof bytes_, map::page_bytes - from % map::page_bytes);
    for (; size > 0; size /= 2) {  // a program's own memory ends anywhere
      if (read_memory(call_, Space::kernel, bytes_, from, size) != 0) continue;
      first_ = index;
      count_ = size;
      return true;
    }
    return false;
  }

  Call& call_;
  const u64 address_;
  u64 first_ = 0, count_ = 0;
  u8 bytes_[64];
};

constexpr u8 lower(u8 c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<u8>(c + 32) : c; }

u64 compare(void* run, u64 first, u64 second, bool ignore_case) noexcept {
  Text a(call_of(run), first), b(call_of(run), second);
  if (!a.is_possible() || !b.is_possible()) return error(ERANGE);
  for (u64 i = 0; i < longest_string; ++i) {
    u8 c = 0, d = 0;
    if (!a.at(i, c) || !b.at(i, d)) return error(EFAULT);
    if (ignore_case) c = lower(c), d = lower(d);
    if (c != d) return c < d ? error(1) : 1;
    if (c == 0) return 0;
  }
  return error(E2BIG);
}

u64 strcmp_(void* run, u64 a, u64 b, u64, u64, u64) noexcept { return compare(run, a, b, false); }
u64 strcasecmp_(void* run, u64 a, u64 b, u64, u64, u64) noexcept { return compare(run, a, b, true); }

/// Where `wanted` stands among the first `most` bytes. The terminator counts as a byte of the string.
u64 find_byte(void* run, u64 text, u64 most, u8 wanted) noexcept {
  Text s(call_of(run), text);
  if (!s.is_possible()) return error(ERANGE);
  const u64 end = std::min(most, longest_string);
  for (u64 i = 0; i < end; ++i) {
    u8 c = 0;
    if (!s.at(i, c)) return error(EFAULT);
    if (c == wanted) return i;
    if (c == 0) return error(ENOENT);
  }
  return end == longest_string ? error(E2BIG) : error(ENOENT);
}

u64 strnchr_(void* run, u64 text, u64 most, u64 wanted, u64, u64) noexcept {
  return find_byte(run, text, most, static_cast<u8>(wanted));
}
u64 strchr_(void* run, u64 text, u64 wanted, u64, u64, u64) noexcept {
  return find_byte(run, text, longest_string, static_cast<u8>(wanted));
}

u64 strchrnul_(void* run, u64 text, u64 wanted, u64, u64, u64) noexcept {
  Text s(call_of(run), text);
  if (!s.is_possible()) return error(ERANGE);
  for (u64 i = 0; i < longest_string; ++i) {
    u8 c = 0;
    if (!s.at(i, c)) return error(EFAULT);
    if (c == 0 || c == static_cast<u8>(wanted)) return i;
  }
  return error(E2BIG);
}

u64 strrchr_(void* run, u64 text, u64 wanted, u64, u64, u64) noexcept {
  Text s(call_of(run), text);
  if (!s.is_possible()) return error(ERANGE);
  u64 last = error(ENOENT);
  for (u64 i = 0; i < longest_string; ++i) {
    u8 c = 0;
    if (!s.at(i, c)) return error(EFAULT);
    if (c == static_cast<u8>(wanted)) last = i;
    if (c == 0) return last;
  }
  return error(E2BIG);
}

u64 strnlen_(void* run, u64 text, u64 most, u64, u64, u64) noexcept {
  Text s(call_of(run), text);
  if (!s.is_possible()) return error(ERANGE);
  const u64 end = std::min(most, longest_string);
  for (u64 i = 0; i < end; ++i) {
    u8 c = 0;
    if (!s.at(i, c)) return error(EFAULT);
    if (c == 0) return i;
  }
  return end == longest_string ? error(E2BIG) : end;
}
u64 strlen_(void* run, u64 text, u64, u64, u64, u64) noexcept { return strnlen_(run, text, longest_string, 0, 0, 0); }

/// How many bytes from the beginning on are (or are not) among those of a second string.
u64 span(void* run, u64 text, u64 set, bool accept) noexcept {
  Text s(call_of(run), text), bytes(call_of(run), set);
  if (!s.is_possible() || !bytes.is_possible()) return error(ERANGE);
  for (u64 i = 0; i < longest_string; ++i) {
    u8 c = 0, d = 0;
    if (!s.at(i, c)) return error(EFAULT);
    if (c == 0) return i;
    bool found = false;
    u64 k = 0;
    for (; k < longest_string && !found; ++k) {
      if (!bytes.at(k, d)) return error(EFAULT);
      if (d == 0) break;
      found = c == d;
    }
    if (k == longest_string) return error(E2BIG);
    if (found != accept) return i;
  }
  return error(E2BIG);
}
u64 strspn_(void* run, u64 text, u64 set, u64, u64, u64) noexcept { return span(run, text, set, true); }
u64 strcspn_(void* run, u64 text, u64 set, u64, u64, u64) noexcept { return span(run, text, set, false); }

/// Where the second string stands in the first `most` bytes of the first.
u64 find_text(void* run, u64 text, u64 wanted, u64 most) noexcept {
  Text s(call_of(run), text), w(call_of(run), wanted);
  if (!s.is_possible() || !w.is_possible()) return error(ERANGE);
  for (u64 i = 0; i < longest_string; ++i) {
    u64 k = 0;
    for (; i + k <= most && k < longest_string; ++k) {
      u8 d = 0, c = 0;
      if (!w.at(k, d)) return error(EFAULT);
      if (d == 0) return i;
      if (i + k == most) break;
      if (!s.at(i + k, c)) return error(EFAULT);
      if (c == 0) return error(ENOENT);
      if (c != d) break;
    }
    if (k == longest_string) return error(E2BIG);
    if (i + k == most) return error(ENOENT);
  }
  return error(E2BIG);
}
u64 strstr_(void* run, u64 text, u64 wanted, u64, u64, u64) noexcept {
  return find_text(run, text, wanted, longest_string);
}
u64 strnstr_(void* run, u64 text, u64 wanted, u64 most, u64, u64) noexcept {
  return find_text(run, text, wanted, most);
}

constexpr KfuncRow rows[] = {
    {"bpf_strcmp", strcmp_},   {"bpf_strcasecmp", strcasecmp_}, {"bpf_strchr", strchr_}, {"bpf_strchrnul", strchrnul_},
    {"bpf_strnchr", strnchr_}, {"bpf_strrchr", strrchr_},       {"bpf_strlen", strlen_}, {"bpf_strnlen", strnlen_},
    {"bpf_strspn", strspn_},   {"bpf_strcspn", strcspn_},       {"bpf_strstr", strstr_}, {"bpf_strnstr", strnstr_},
};

}  // namespace

std::span<const KfuncRow> string_kfuncs() noexcept { return rows; }

}  // namespace skep::helper
