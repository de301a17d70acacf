// See user_probes.hpp.
#include "hook/user_probes.hpp"

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>

#include "base/fd.hpp"
#include "hook/proc_file.hpp"

namespace skep::hook {
namespace {

constexpr u8 int3 = 0xcc;
constexpr u64 user_code_32 = 0x23;
constexpr std::size_t most_frames = 256;
/// Frames further away lie on another stack, whose state nobody here knows.
constexpr u64 same_stack = u64{1} << 20;

pid_t id(u32 tid) noexcept { return static_cast<pid_t>(tid); }

bool read_remote(u32 tid, u64 address, void* to, std::size_t size) noexcept {
  const iovec local{to, size}, remote{reinterpret_cast<void*>(address), size};  // NOLINT
  return ::process_vm_readv(id(tid), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

bool write_data(u32 tid, u64 address, const void* from, std::size_t size) noexcept {
  const iovec local{const_cast<void*>(from), size}, remote{reinterpret_cast<void*>(address), size};  // NOLINT
  return ::process_vm_writev(id(tid), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

/// Writes code, which process_vm_writev does not; the tracer may.
bool write_remote(u32 tid, u64 address, const void* from, std::size_t size) noexcept {
  const base::Fd memory([&] {
    char path[40];
    std::snprintf(path, sizeof path, "/proc/%u/mem", tid);
    return ::open(path, O_RDWR | O_CLOEXEC);
  }());
  if (memory && ::pwrite(memory.get(), from, size, static_cast<off_t>(address)) == static_cast<ssize_t>(size))
    return true;
  // Where /proc/PID/mem is denied (proc_mem.restrict_write): word by word.
  const auto* bytes = static_cast<const u8*>(from);
  for (std::size_t done = 0; done < size; ++done) {
    const u64 at = (address + done) & ~u64{7};
    errno = 0;
    const long word = ::ptrace(PTRACE_PEEKTEXT, id(tid), reinterpret_cast<void*>(at), nullptr);  // NOLINT
    if (errno != 0) return false;
    u8 parts[8];
    std::memcpy(parts, &word, sizeof parts);
    parts[(address + done) & 7] = bytes[done];
    long changed = 0;
    std::memcpy(&changed, parts, sizeof changed);
    if (::ptrace(PTRACE_POKETEXT, id(tid), reinterpret_cast<void*>(at), reinterpret_cast<void*>(changed)) !=
        0)  // NOLINT
      return false;
  }
  return true;
}

/// A thread of a process by which its memory can be reached, or 0: the first may have ended before the others. Nothing
/// here allocates.
u32 thread_at(u32 tgid, u64 address) noexcept {
  u8 byte = 0;
  if (read_remote(tgid, address, &byte, 1)) return tgid;
  const base::Fd threads(open_proc(tgid, "task"));
  alignas(dirent64) char entries[4096];
  for (long size = 0; threads && (size = ::syscall(SYS_getdents64, threads.get(), entries, sizeof entries)) > 0;) {
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const dirent64*>(entries + at);
      at += entry->d_reclen;
      u32 tid = 0;
      const char* const name = entry->d_name;
      if (std::from_chars(name, name + std::strlen(name), tid).ec != std::errc()) continue;
      if (read_remote(tid, address, &byte, 1)) return tid;
    }
  }
  return 0;
}

u32 tgid_of(u32 tid) noexcept {
  char text[4096];
  return static_cast<u32>(status_number(read_proc(tid, "status", text, sizeof text), "\nTgid:").value_or(tid));
}

/// One line of /proc/PID/maps.
struct Mapping {
  u64 start = 0, end = 0, offset = 0, device = 0, inode = 0;
  bool is_private_code = false, is_private_data = false;
  std::string_view path;

  bool is_of(const ProbeSite& site) const noexcept {
    return inode == site.inode && (device == site.device || path == std::string_view(site.path));
  }
  /// Where a place of the file lies in memory, or 0.
  u64 address_of(u64 file_offset) const noexcept {
    return file_offset >= offset && file_offset - offset < end - start ? start + (file_offset - offset) : 0;
  }
};

bool parse_mapping(std::string_view line, Mapping& to) noexcept {
  unsigned long long start = 0, end = 0, offset = 0, inode = 0;
  unsigned major = 0, minor = 0;
  char permissions[5] = {};
  int path_at = 0;
  char text[160];
  const std::size_t head = std::min(line.size(), sizeof text - 1);
  std::memcpy(text, line.data(), head);
  text[head] = 0;
  if (std::sscanf(text, "%llx-%llx %4s %llx %x:%x %llu %n", &start, &end, permissions, &offset, &major, &minor, &inode,
                  &path_at) < 7)
    return false;
  to = {start, end, offset, makedev(major, minor), inode};
  to.is_private_code = permissions[2] == 'x' && permissions[3] == 'p';
  to.is_private_data = permissions[1] == 'w' && permissions[3] == 'p';
  if (path_at > 0 && static_cast<std::size_t>(path_at) < line.size()) to.path = line.substr(static_cast<u32>(path_at));
  return true;
}

std::string read_maps(u32 tid) {
  std::string all;
  const base::Fd file(open_proc(tid, "maps"));
  char piece[16384];
  for (ssize_t n = 0; file && (n = ::read(file.get(), piece, sizeof piece)) > 0;)
    all.append(piece, static_cast<std::size_t>(n));
  return all;
}

bool get_registers(u32 tid, user_regs_struct& to) noexcept {
  return ::ptrace(PTRACE_GETREGS, id(tid), nullptr, &to) == 0;
}
bool set_registers(u32 tid, user_regs_struct& from) noexcept {
  from.orig_rax = ~0ull;  // no system call to restart
  return ::ptrace(PTRACE_SETREGS, id(tid), nullptr, &from) == 0;
}

}  // namespace

// --- where probes stand ---

void UserProbes::begin_program(u32 tid) {
  if (!any()) return;
  make_space(tid);
  look_for_code(tid);
}

UserProbes::Space& UserProbes::make_space(u32 tid) {
  Task& task = tasks_[tid];
  if (task.space) forget_space(task);
  task.frames.clear();
  task.space = std::make_shared<Space>();
  task.space->tgid = tgid_of(tid);
  task.space->scratch = auxiliary_value(tid, AT_ENTRY);
  return *task.space;
}

/// Its maker was killed, or is one of many whose reports are late: which of the places where breakpoints stand are in
/// its memory? What its maker was in the middle of is not known; sites are found by their mappings.
void UserProbes::inherited(u32 tid) {
  if (!any()) return;
  Space& space = make_space(tid);
  const u32 count = inserted_count_;
  for (u32 i = 0; i < count; ++i) {
    const Inserted one = inserted_[i];
    u8 byte = 0;
    if (!read_remote(tid, one.address, &byte, 1)) continue;
    if (one.is_semaphore) {
      if (byte == 0 || !space.semaphores.insert(one.address).second) continue;
    } else {
      if (space.points.contains(one.address) || byte != int3) continue;
      space.points.emplace(one.address, Point{.original = one.original, .returns = true});
    }
    note({one.address, space.tgid, one.original,
          one.is_semaphore});  // without room it can still be found by its maker's
  }
  look_for_code(tid);
}

/// A library that was closed and opened again may lie where it lay, without what was put in.
void UserProbes::forget_what_is_gone(u32 tid, Space& space) {
  const auto forget_at = [&](u64 address) {
    forget([&](const Inserted& one) { return one.tgid == space.tgid && one.address == address; });
    return true;
  };
  std::erase_if(space.points, [&](const auto& point) {
    u8 byte = 0;
    return read_remote(tid, point.first, &byte, 1) && byte != int3 && forget_at(point.first);
  });
  std::erase_if(space.semaphores, [&](u64 address) {
    u16 value = 0;
    return (!read_remote(tid, address, &value, sizeof value) || value == 0) && forget_at(address);
  });
}

void UserProbes::raise_semaphore(u32 tid, Space& space, u64 address) {
  u16 value = 0;
  if (space.semaphores.contains(address)) return;
  if (!read_remote(tid, address, &value, sizeof value) || !note({address, space.tgid, 0, true})) {
    ++refused_;
    return;
  }
  ++value;
  write_data(tid, address, &value, sizeof value);
  space.semaphores.insert(address);
}

void UserProbes::look_for_code(u32 tid) {
  const auto at = tasks_.find(tid);
  if (at == tasks_.end()) return;
  Space& space = *at->second.space;
  forget_what_is_gone(tid, space);
  const std::string maps = read_maps(tid);
  for (std::size_t from = 0; from < maps.size();) {
    const std::size_t end = std::min(maps.find('\n', from), maps.size());
    Mapping mapping;
    const std::string_view line = std::string_view(maps).substr(from, end - from);
    from = end + 1;
    if (!parse_mapping(line, mapping) || mapping.inode == 0) continue;
    for (u32 site = 0; site < sites_.size(); ++site) {
      const ProbeSite& wanted = sites_[site];
      if (!mapping.is_of(wanted)) continue;
      if (const u64 counter =
              mapping.is_private_data && wanted.semaphore_offset != 0 ? mapping.address_of(wanted.semaphore_offset) : 0;
          counter != 0)
        raise_semaphore(tid, space, counter);
      const u64 address = mapping.is_private_code ? mapping.address_of(wanted.file_offset) : 0;
      if (address == 0) continue;
      const auto known = space.points.find(address);
      if (known != space.points.end() && known->second.site >= 0) continue;
      if (!insert(tid, space, address, {wanted.bytes[0], static_cast<s32>(site), false})) ++refused_;
    }
  }
}

/// False: what is there is not what the file has (another's breakpoint, code that changed itself), or there is no room.
bool UserProbes::insert(u32 tid, Space& space, u64 address, const Point& point) {
  if (const auto known = space.points.find(address); known != space.points.end()) {
    if (point.site >= 0) known->second.site = point.site;
    known->second.returns = known->second.returns || point.returns;
    return true;
  }
  u8 byte = 0;
  if (!read_remote(tid, address, &byte, 1) || byte == int3 || (point.site >= 0 && byte != point.original)) return false;
  Point made = point;
  made.original = byte;
  if (!note({address, space.tgid, byte})) return false;
  space.points.emplace(address, made);
  if (write_code(tid, space, address, &int3, 1)) return true;
  space.points.erase(address);
  return false;
}

bool UserProbes::write_code(u32 tid, Space& space, u64 address, const void* from, std::size_t size) noexcept {
  if (!space.memory) {
    char path[40];
    std::snprintf(path, sizeof path, "/proc/%u/mem", tid);
    space.memory = base::Fd(::open(path, O_RDWR | O_CLOEXEC));
  }
  if (space.memory &&
      ::pwrite(space.memory.get(), from, size, static_cast<off_t>(address)) == static_cast<ssize_t>(size))
    return true;
  return write_remote(tid, address, from, size);
}

/// False: there is no room, so nothing may stand there.
bool UserProbes::note(const Inserted& one) noexcept {
  if (inserted_count_ == inserted_.size()) return false;
  inserted_[inserted_count_] = one;
  ++inserted_count_;
  return true;
}

template <class Which>
void UserProbes::forget(const Which& which) noexcept {
  const auto kept = std::remove_if(inserted_.begin(), inserted_.begin() + inserted_count_, which);
  inserted_count_ = static_cast<u32>(kept - inserted_.begin());
}

void UserProbes::forked(u32 maker, u32 child) {
  const auto at = tasks_.find(maker);
  if (!any() || at == tasks_.end() || tasks_.contains(child)) return;
  const Space& old = *at->second.space;
  const u32 tgid = tgid_of(child);
  const long compared = ::syscall(SYS_kcmp, id(maker), id(child), KCMP_VM, 0, 0);
  const bool shares = compared == 0 || (compared < 0 && tgid == old.tgid);
  Task made;
  if (shares) {
    made.space = at->second.space;
  } else {
    made.space = std::make_shared<Space>();
    made.space->tgid = tgid;
    made.space->points = old.points;
    made.space->scratch = old.scratch;
    made.space->semaphores = old.semaphores;
    made.frames = at->second.frames;                                          // it returns from the same functions
    for (const u64 address : old.semaphores) note({address, tgid, 0, true});  // without room it stays raised
    std::erase_if(made.space->points, [&](const auto& point) {
      if (note({point.first, tgid, point.second.original})) return false;
      write_remote(child, point.first, &point.second.original, 1);
      ++refused_;
      return true;
    });
  }
  tasks_[child] = std::move(made);
}

void UserProbes::joined(u32 tid, u32 sibling) {
  const auto at = tasks_.find(sibling);
  if (any() && at != tasks_.end()) tasks_[tid] = Task{at->second.space, {}};
}

void UserProbes::ended(u32 tid) {
  const auto at = tasks_.find(tid);
  if (at == tasks_.end()) return;
  forget_space(at->second);
  tasks_.erase(at);
}

/// What was put in needs to be taken out no more where nobody has that memory but a task that ends or executes.
void UserProbes::forget_space(const Task& task) noexcept {
  if (task.space.use_count() != 1) return;
  forget([tgid = task.space->tgid](const Inserted& one) { return one.tgid == tgid; });
}

// --- hits ---

bool UserProbes::trapped(u32 tid, int& signal) {
  signal = 0;
  const auto at = tasks_.find(tid);
  siginfo_t info{};
  user_regs_struct registers;
  if (at == tasks_.end() || ::ptrace(PTRACE_GETSIGINFO, id(tid), nullptr, &info) != 0 || info.si_code != SI_KERNEL ||
      !get_registers(tid, registers))
    return false;
  const u64 address = registers.rip - 1;
  const std::shared_ptr<Space> space = at->second.space;
  const auto found = space->points.find(address);
  if (found == space->points.end()) return false;
  const Point point = found->second;
  u8 byte = 0;
  registers.rip = address;
  if (!read_remote(tid, address, &byte, 1) || byte != int3) {  // the program wrote over it: its code is its own again
    space->points.erase(found);
    set_registers(tid, registers);
    return true;
  }
  if (point.returns) leave(tid, at->second, address, registers);
  if (point.site >= 0) enter(tid, at->second, static_cast<u32>(point.site), address, registers);
  signal = step_over(tid, *space, address, point.original, registers);
  return true;
}

void UserProbes::enter(u32 tid, Task& task, u32 site, u64 address, const user_regs_struct& registers) {
  const ProbeSite& probed = sites_[site];
  if (probed.entry) host_.on_hit(tid, {.site = site, .at_return = false, .function = address}, registers);
  if (!probed.at_return) return;
  const std::size_t word = registers.cs == user_code_32 ? 4 : 8;
  Frame frame{.stack = registers.rsp, .function = address, .site = site};
  if (!read_remote(tid, registers.rsp, &frame.return_address, word)) return;
  // A longjmp or an exception leaves frames behind: they lie below where the stack is now, or just there, where another
  // return address has taken their place. The same address twice is a tail call; by the same function it is rather the
  // same call once more.
  std::erase_if(task.frames, [&](const Frame& old) {
    if (old.stack == frame.stack) return old.return_address != frame.return_address || old.function == frame.function;
    return old.stack < frame.stack && frame.stack - old.stack < same_stack;
  });
  if (!insert(tid, *task.space, frame.return_address, {.returns = true})) {
    ++refused_;
    return;
  }
  if (task.frames.size() == most_frames) task.frames.erase(task.frames.begin());
  task.frames.push_back(frame);
}

void UserProbes::leave(u32 tid, Task& task, u64 address, user_regs_struct& registers) {
  const u64 word = registers.cs == user_code_32 ? 4 : 8;
  const u64 stack = registers.rsp - word;  // where the return address was
  // Tail calls: several functions return here at once, the innermost first.
  for (std::size_t i = task.frames.size(); i-- > 0;) {
    const Frame frame = task.frames[i];
    if (frame.return_address != address || frame.stack != stack) continue;
    task.frames.erase(task.frames.begin() + static_cast<std::ptrdiff_t>(i));
    host_.on_hit(tid, {.site = frame.site, .at_return = true, .function = frame.function}, registers);
  }
}

// --- over the breakpoint ---

/// The instruction's bytes as the program has them.
InsnBytes UserProbes::bytes_at(u32 tid, const Space& space, u64 address) const noexcept {
  InsnBytes bytes{};
  constexpr u64 page = 4096;
  if (!read_remote(tid, address, bytes.data(), bytes.size()))  // the next page may not be there
    read_remote(tid, address, bytes.data(), std::min<u64>(bytes.size(), page - address % page));
  for (auto at = space.points.lower_bound(address); at != space.points.end() && at->first < address + bytes.size();
       ++at)
    bytes[at->first - address] = at->second.original;
  return bytes;
}

/// The signal the task must get when it goes on, or 0.
int UserProbes::step_over(u32 tid, Space& space, u64 address, u8 original, user_regs_struct& registers) {
  step_ = {.tid = tid, .registers = registers, .held = {.tid = tid}};
  if (registers.cs != user_code_32) {
    const InsnBytes bytes = bytes_at(tid, space, address);
    user_regs_struct after = registers;
    const auto done = emulate(bytes, address, after);
    if (done && (!done->pushes || write_data(tid, after.rsp, &done->pushed, sizeof done->pushed))) {
      settle(after, done->pushes, done->pushed);
      return 0;
    }
    const bool on_scratch = address >= space.scratch && address - space.scratch < sizeof bytes;
    if (const auto copy = copy_of(bytes, address);
        copy && space.scratch != 0 && !on_scratch && read_remote(tid, space.scratch, step_.before.data(), sizeof bytes))
      return step_copy(tid, space, *copy);
  }
  return step_in_place(tid, space, address, original);
}

/// What the step comes to. Known before it is done, it can be done again.
void UserProbes::settle(const user_regs_struct& registers, bool pushes, u64 pushed) noexcept {
  step_.registers = registers;
  step_.pushes = pushes;
  step_.pushed = pushed;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  step_.settled = true;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (pushes) write_data(step_.tid, step_.registers.rsp, &step_.pushed, sizeof step_.pushed);
  set_registers(step_.tid, step_.registers);
}

void UserProbes::HeldSignals::set_mask(u64 to) const noexcept { ::ptrace(PTRACE_SETSIGMASK, id(tid), sizeof to, &to); }

void UserProbes::HeldSignals::hold(int signal, const siginfo_t& its_info) noexcept {
  if (first != 0) {
    again |= bit(signal);
    return;
  }
  first = signal;
  info = its_info;
  const u64 all_but_faults = ~(bit(SIGSEGV) | bit(SIGBUS) | bit(SIGFPE) | bit(SIGILL) | bit(SIGTRAP));
  blocked = ::ptrace(PTRACE_GETSIGMASK, id(tid), sizeof mask, &mask) == 0;
  if (blocked) set_mask(mask | all_but_faults);
}

int UserProbes::HeldSignals::release() noexcept {
  if (first == 0) return 0;
  ::ptrace(PTRACE_SETSIGINFO, id(tid), nullptr, &info);
  return unblock(first);
}

int UserProbes::HeldSignals::release_after_fault(int fault) noexcept {
  if (first != 0) again |= bit(first);
  return unblock(fault);
}

int UserProbes::HeldSignals::unblock(int instead) noexcept {
  if (blocked) set_mask(mask);
  for (int signal = 1; again != 0; ++signal, again >>= 1)
    if ((again & 1) != 0) ::syscall(SYS_tkill, id(tid), signal);
  return instead;
}

/// Steps until the instruction at `from` was performed; the signal to go on with, 0 for none, -1 when the task ended.
/// `registers` are those after the step; where the instruction itself failed they are as before it.
int UserProbes::single_step(user_regs_struct& registers, u64 from) {
  const u32 tid = step_.tid;
  for (;;) {
    if (::ptrace(PTRACE_SINGLESTEP, id(tid), nullptr, nullptr) != 0) return -1;
    int status = 0;
    if (!host_.await_stop(tid, status) || !get_registers(tid, registers)) return -1;
    siginfo_t info{};
    if (::ptrace(PTRACE_GETSIGINFO, id(tid), nullptr, &info) != 0) return -1;
    const bool stepped =
        status == SIGTRAP && info.si_code != SI_USER && info.si_code != SI_TKILL && registers.rip != from;
    if (stepped || (status == SIGTRAP && info.si_code == TRAP_TRACE)) return step_.held.release();
    const bool is_fault =
        (status == SIGSEGV || status == SIGBUS || status == SIGFPE || status == SIGILL) && info.si_code > 0;
    if (is_fault) return step_.held.release_after_fault(status);
    step_.held.hold(status, info);
  }
}

int UserProbes::step_copy(u32 tid, Space& space, const Copy& copy) {
  step_.copy = copy;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  step_.scratch = space.scratch;
  write_code(tid, space, space.scratch, copy.bytes.data(), copy.bytes.size());
  user_regs_struct registers = step_.registers;
  registers.rip = space.scratch;
  if (copy.spare >= 0) (copy.spare == 7 ? registers.rdi : registers.rsi) = copy.spare_value;
  set_registers(tid, registers);
  const int signal = single_step(registers, space.scratch);
  write_code(tid, space, space.scratch, step_.before.data(), step_.before.size());
  if (signal >= 0) copy_performed(registers);  // else it has ended, or is about to
  return signal;
}

/// From the registers after the copy to those after the instruction.
void UserProbes::copy_performed(user_regs_struct& registers) noexcept {
  const Copy& copy = step_.copy;
  if (copy.spare == 7) registers.rdi = step_.registers.rdi;
  if (copy.spare == 6) registers.rsi = step_.registers.rsi;
  const u64 moved = step_.registers.rip - step_.scratch;
  const bool failed = registers.rip == step_.scratch;
  if (failed || copy.is_relative) registers.rip += moved;
  u64 pushed = 0;
  const bool pushes = !failed && copy.pushes_return && read_remote(step_.tid, registers.rsp, &pushed, sizeof pushed);
  settle(registers, pushes, pushed + moved);
}

/// The byte is put back for one step; another thread may pass meanwhile.
int UserProbes::step_in_place(u32 tid, Space& space, u64 address, u8 original) {
  write_code(tid, space, address, &original, 1);
  user_regs_struct registers = step_.registers;
  set_registers(tid, registers);
  const int signal = single_step(registers, address);
  write_code(tid, space, address, &int3, 1);
  if (signal >= 0) settle(registers);
  return signal;
}

/// Brings to its end what the tracer was in the middle of. Nothing here allocates.
void UserProbes::end_step() noexcept {
  const u32 tid = step_.tid;
  if (tid == 0) return;
  user_regs_struct registers;
  while (!get_registers(tid, registers)) {
    siginfo_t waited{};
    if (step_.settled) return went_on();  // it runs
    const bool stopped = ::waitid(P_PID, static_cast<id_t>(tid), &waited, WSTOPPED | WEXITED | __WALL) == 0 &&
                         (waited.si_code == CLD_TRAPPED || waited.si_code == CLD_STOPPED);
    if (!stopped && (waited.si_pid != 0 || errno != EINTR)) return went_on();  // it has ended
  }
  siginfo_t info{};
  ::ptrace(PTRACE_GETSIGINFO, id(tid), nullptr, &info);
  if (step_.scratch != 0) write_remote(tid, step_.scratch, step_.before.data(), step_.before.size());
  const bool has_signal = info.si_signo != SIGTRAP || info.si_code == SI_USER || info.si_code == SI_TKILL;
  if (step_.settled || (info.si_signo == SIGTRAP && info.si_code == SI_KERNEL)) {  // it has not begun, or is over
    settle(user_regs_struct(step_.registers), step_.pushes, step_.pushed);
  } else if (step_.scratch != 0) {
    copy_performed(registers);
  }
  if (has_signal && step_.held.first != info.si_signo)
    step_.signal = step_.held.release_after_fault(info.si_signo);
  else
    step_.signal = step_.held.release();
}

// --- the end ---

u32 UserProbes::remove_all() noexcept {
  end_step();
  for (u32 i = 0; i < inserted_count_; ++i) {
    u8 byte = 0;
    const Inserted& one = inserted_[i];
    const u32 tid = thread_at(one.tgid, one.address);
    if (one.is_semaphore) {
      u16 value = 0;
      if (tid == 0 || !read_remote(tid, one.address, &value, sizeof value) || value == 0) continue;
      --value;
      write_data(tid, one.address, &value, sizeof value);
      continue;
    }
    if (tid != 0 && read_remote(tid, one.address, &byte, 1) && byte == int3)
      write_remote(tid, one.address, &one.original, 1);
  }
  return step_.tid;
}

/// Semaphores stay as they are: whether the copy was made before they were lowered nobody knows.
void UserProbes::remove_from(u32 tid) noexcept {
  for (u32 i = 0; i < inserted_count_; ++i) {
    u8 byte = 0;
    if (!inserted_[i].is_semaphore && read_remote(tid, inserted_[i].address, &byte, 1) && byte == int3)
      write_remote(tid, inserted_[i].address, &inserted_[i].original, 1);
  }
}

bool UserProbes::fix_stray(u32 tid, int& signal) noexcept {
  signal = 0;
  if (tid == step_.tid) {  // end_step() has seen to it
    signal = step_.signal;
    went_on();
    return true;
  }
  user_regs_struct registers;
  siginfo_t info{};
  if (inserted_count_ == 0 || ::ptrace(PTRACE_GETSIGINFO, id(tid), nullptr, &info) != 0 || info.si_code != SI_KERNEL ||
      !get_registers(tid, registers))
    return false;
  for (u32 i = 0; i < inserted_count_; ++i) {
    if (inserted_[i].address != registers.rip - 1) continue;
    u8 byte = 0;
    registers.rip -= 1;
    if (read_remote(tid, registers.rip, &byte, 1) && byte == int3)
      write_remote(tid, registers.rip, &inserted_[i].original, 1);
    return set_registers(tid, registers);
  }
  return false;
}

}  // namespace skep::hook
