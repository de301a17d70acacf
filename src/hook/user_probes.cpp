// See user_probes.hpp.
#include "hook/user_probes.hpp"

#include <elf.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "hook/mapping.hpp"
#include "hook/proc_file.hpp"

namespace skep::hook {
namespace {

constexpr std::size_t most_frames = 256;
/// Frames further away lie on another stack, whose state nobody here knows.
constexpr u64 same_stack = u64{1} << 20;

pid_t id(u32 tid) noexcept { return static_cast<pid_t>(tid); }

u32 tgid_of(u32 tid) noexcept {
  char text[4096];
  return static_cast<u32>(status_number(read_proc(tid, "status", text, sizeof text), "\nTgid:").value_or(tid));
}

bool is_of(const Mapping& mapping, const ProbeSite& site) noexcept {
  return mapping.inode == site.inode && (mapping.device == site.device || mapping.path == std::string_view(site.path));
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
    if (!read_memory(tid, one.address, &byte, 1)) continue;
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
    return read_memory(tid, point.first, &byte, 1) && byte != int3 && forget_at(point.first);
  });
  std::erase_if(space.semaphores, [&](u64 address) {
    u16 value = 0;
    return (!read_memory(tid, address, &value, sizeof value) || value == 0) && forget_at(address);
  });
}

void UserProbes::raise_semaphore(u32 tid, Space& space, u64 address) {
  u16 value = 0;
  if (space.semaphores.contains(address)) return;
  if (!read_memory(tid, address, &value, sizeof value) || !note({address, space.tgid, 0, true})) {
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
  each_file_mapping(tid, [&](const Mapping& mapping) {
    for (u32 site = 0; site < sites_.size(); ++site) {
      const ProbeSite& wanted = sites_[site];
      if (!is_of(mapping, wanted)) continue;
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
  });
}

/// False: what is there is not what the file has (another's breakpoint, code that changed itself), or there is no room.
bool UserProbes::insert(u32 tid, Space& space, u64 address, const Point& point) {
  if (const auto known = space.points.find(address); known != space.points.end()) {
    if (point.site >= 0) known->second.site = point.site;
    known->second.returns = known->second.returns || point.returns;
    return true;
  }
  u8 byte = 0;
  if (!read_memory(tid, address, &byte, 1) || byte == int3 || (point.site >= 0 && byte != point.original)) return false;
  Point made = point;
  made.original = byte;
  if (!note({address, space.tgid, byte})) return false;
  space.points.emplace(address, made);
  if (space.code.write(tid, address, &int3, 1)) return true;
  space.points.erase(address);
  return false;
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
      write_code(child, point.first, &point.second.original, 1);
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
  if (!read_memory(tid, address, &byte, 1) || byte != int3) {  // the program wrote over it: its code is its own again
    space->points.erase(found);
    stepper_.step_back(tid, registers);
    return true;
  }
  if (point.returns) leave(tid, at->second, address, registers);
  if (point.site >= 0) enter(tid, at->second, static_cast<u32>(point.site), address, registers);
  signal = stepper_.step_over(
      {tid, address, point.original, bytes_at(tid, *space, address), space->scratch, &space->code}, registers);
  return true;
}

namespace {

/// Where nobody calls, or not so, the word on top of the stack is data, into which no breakpoint may go.
bool is_code(u32 tid, u64 address) {
  bool found = false;
  each_mapping(
      tid, [&](const Mapping& one) { found = found || (one.is_code && address >= one.start && address < one.end); });
  return found;
}

}  // namespace

void UserProbes::enter(u32 tid, Task& task, u32 site, u64 address, const user_regs_struct& registers) {
  const ProbeSite& probed = sites_[site];
  if (probed.entry)
    host_.on_hit(tid, {.site = site, .begins_function = probed.begins_function, .function = address}, registers);
  if (!probed.at_return) return;
  const std::size_t word = registers.cs == user_code_32 ? 4 : 8;
  Frame frame{.stack = registers.rsp, .function = address, .site = site};
  if (!read_memory(tid, registers.rsp, &frame.return_address, word)) return;
  // A longjmp or an exception leaves frames behind: they lie below where the stack is now, or just there, where another
  // return address has taken their place. The same address twice is a tail call; by the same function it is rather the
  // same call once more.
  std::erase_if(task.frames, [&](const Frame& old) {
    if (old.stack == frame.stack) return old.return_address != frame.return_address || old.function == frame.function;
    return old.stack < frame.stack && frame.stack - old.stack < same_stack;
  });
  const bool is_known = task.space->points.contains(frame.return_address);
  if ((!is_known && !is_code(tid, frame.return_address)) ||
      !insert(tid, *task.space, frame.return_address, {.returns = true})) {
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

/// The instruction's bytes as the program has them.
InsnBytes UserProbes::bytes_at(u32 tid, const Space& space, u64 address) const noexcept {
  InsnBytes bytes{};
  constexpr u64 page = 4096;
  if (!read_memory(tid, address, bytes.data(), bytes.size()))  // the next page may not be there
    read_memory(tid, address, bytes.data(), std::min<u64>(bytes.size(), page - address % page));
  for (auto at = space.points.lower_bound(address); at != space.points.end() && at->first < address + bytes.size();
       ++at)
    bytes[at->first - address] = at->second.original;
  return bytes;
}

// --- the end ---

u32 UserProbes::remove_all() noexcept {
  stepper_.end();
  for (u32 i = 0; i < inserted_count_; ++i) {
    u8 byte = 0;
    const Inserted& one = inserted_[i];
    const u32 tid = thread_at(one.tgid, one.address);
    if (one.is_semaphore) {
      u16 value = 0;
      if (tid == 0 || !read_memory(tid, one.address, &value, sizeof value) || value == 0) continue;
      --value;
      write_data(tid, one.address, &value, sizeof value);
      continue;
    }
    if (tid != 0 && read_memory(tid, one.address, &byte, 1) && byte == int3)
      write_code(tid, one.address, &one.original, 1);
  }
  return stepper_.tid();
}

/// Semaphores stay as they are: whether the copy was made before they were lowered nobody knows.
void UserProbes::remove_from(u32 tid) noexcept {
  for (u32 i = 0; i < inserted_count_; ++i) {
    u8 byte = 0;
    if (!inserted_[i].is_semaphore && read_memory(tid, inserted_[i].address, &byte, 1) && byte == int3)
      write_code(tid, inserted_[i].address, &inserted_[i].original, 1);
  }
}

bool UserProbes::take_stepped(u32 tid, int& signal) noexcept {
  if (tid != stepper_.tid()) return false;
  signal = stepper_.signal();
  went_on();
  return true;
}

void UserProbes::each_process(void (*what)(u32 tgid)) const noexcept {
  for (u32 i = 0; i < inserted_count_; ++i)
    if (i == 0 || inserted_[i].tgid != inserted_[i - 1].tgid) what(inserted_[i].tgid);
}

bool UserProbes::fix_stray(u32 tid) noexcept {
  user_regs_struct registers;
  siginfo_t info{};
  if (inserted_count_ == 0 || ::ptrace(PTRACE_GETSIGINFO, id(tid), nullptr, &info) != 0 || info.si_code != SI_KERNEL ||
      !get_registers(tid, registers))
    return false;
  for (u32 i = 0; i < inserted_count_; ++i) {
    if (inserted_[i].address != registers.rip - 1) continue;
    u8 byte = 0;
    registers.rip -= 1;
    if (read_memory(tid, registers.rip, &byte, 1) && byte == int3)
      write_code(tid, registers.rip, &inserted_[i].original, 1);
    return set_registers(tid, registers);
  }
  return false;
}

}  // namespace skep::hook
