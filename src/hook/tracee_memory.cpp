// See tracee_memory.hpp.
#include "hook/tracee_memory.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "hook/proc_file.hpp"

namespace skep::hook {
namespace {

pid_t id(u32 tid) noexcept { return static_cast<pid_t>(tid); }
void* pointer(u64 address) noexcept { return reinterpret_cast<void*>(address); }  // NOLINT

base::Fd open_memory(u32 tid) noexcept {
  char path[40];
  std::snprintf(path, sizeof path, "/proc/%u/mem", tid);
  return base::Fd(::open(path, O_RDWR | O_CLOEXEC));
}

bool write_through(const base::Fd& memory, u64 address, const void* from, std::size_t size) noexcept {
  return memory && ::pwrite(memory.get(), from, size, static_cast<off_t>(address)) == static_cast<ssize_t>(size);
}

/// Where /proc/PID/mem is denied (proc_mem.restrict_write).
bool write_by_words(u32 tid, u64 address, const void* from, std::size_t size) noexcept {
  const auto* bytes = static_cast<const u8*>(from);
  for (std::size_t done = 0; done < size; ++done) {
    const u64 at = (address + done) & ~u64{7};
    errno = 0;
    const long word = ::ptrace(PTRACE_PEEKTEXT, id(tid), pointer(at), nullptr);
    if (errno != 0) return false;
    u8 parts[8];
    std::memcpy(parts, &word, sizeof parts);
    parts[(address + done) & 7] = bytes[done];
    u64 changed = 0;
    std::memcpy(&changed, parts, sizeof changed);
    if (::ptrace(PTRACE_POKETEXT, id(tid), pointer(at), pointer(changed)) != 0) return false;
  }
  return true;
}

/// The first thread of a process of which `is_it` holds, or 0.
template <class IsIt>
u32 find_thread(u32 tgid, const IsIt& is_it) noexcept {
  const base::Fd threads(open_proc(tgid, "task"));
  alignas(dirent64) char entries[4096];
  for (long size = 0; threads && (size = ::syscall(SYS_getdents64, threads.get(), entries, sizeof entries)) > 0;) {
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const dirent64*>(entries + at);
      at += entry->d_reclen;
      u32 tid = 0;
      const char* const name = entry->d_name;
      if (std::from_chars(name, name + std::strlen(name), tid).ec != std::errc()) continue;
      if (is_it(tid)) return tid;
    }
  }
  return 0;
}

}  // namespace

bool read_memory(u32 tid, u64 address, void* to, std::size_t size) noexcept {
  const iovec local{to, size}, remote{pointer(address), size};
  return ::process_vm_readv(id(tid), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

bool write_data(u32 tid, u64 address, const void* from, std::size_t size) noexcept {
  const iovec local{const_cast<void*>(from), size}, remote{pointer(address), size};  // NOLINT
  return ::process_vm_writev(id(tid), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

bool write_code(u32 tid, u64 address, const void* from, std::size_t size) noexcept {
  return write_through(open_memory(tid), address, from, size) || write_by_words(tid, address, from, size);
}

bool CodeWriter::write(u32 tid, u64 address, const void* from, std::size_t size) noexcept {
  if (!memory_) memory_ = open_memory(tid);
  return write_through(memory_, address, from, size) || write_code(tid, address, from, size);
}

u32 thread_at(u32 tgid, u64 address) noexcept {
  u8 byte = 0;
  if (read_memory(tgid, address, &byte, 1)) return tgid;
  return find_thread(tgid, [&](u32 tid) { return read_memory(tid, address, &byte, 1); });
}

void interrupt_threads(u32 tgid) noexcept {
  find_thread(tgid, [](u32 tid) {
    ::ptrace(PTRACE_INTERRUPT, id(tid), nullptr, nullptr);
    return false;
  });
}

bool get_registers(u32 tid, user_regs_struct& to) noexcept {
  return ::ptrace(PTRACE_GETREGS, id(tid), nullptr, &to) == 0;
}

bool set_registers(u32 tid, const user_regs_struct& from) noexcept {
  user_regs_struct set = from;
  set.orig_rax = ~0ull;  // no system call to restart
  return ::ptrace(PTRACE_SETREGS, id(tid), nullptr, &set) == 0;
}

}  // namespace skep::hook
