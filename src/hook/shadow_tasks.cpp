// See shadow_tasks.hpp.
#include "hook/shadow_tasks.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <new>

#include "base/fd.hpp"
#include "hook/proc_file.hpp"

namespace skep::hook {
namespace {

constexpr u32 kernel_thread = 0x00200000;  // PF_KTHREAD
constexpr u32 compat_status = 2;           // TS_COMPAT
/// More parents than this have no fields that a typed program loads directly.
constexpr u32 most_ancestors = 32;

s64 clock_ns(clockid_t clock) noexcept {
  timespec now{};
  ::clock_gettime(clock, &now);
  return s64{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

/// How long the machine has slept: what boot time counts and monotonic time does not.
s64 suspended_ns() noexcept {
  constexpr s64 between_readings = 1'000'000;
  const s64 difference = clock_ns(CLOCK_BOOTTIME) - clock_ns(CLOCK_MONOTONIC);
  return difference < between_readings ? 0 : difference;
}

/// The links of /proc/TID/ns end in "[NUMBER]"; 0 where there is none.
u32 number_in_link(std::string_view target) noexcept {
  u32 number = 0;
  const auto open = target.find('[');
  if (open != std::string_view::npos) std::from_chars(target.data() + open + 1, target.data() + target.size(), number);
  return number;
}

s64 tick_ns() noexcept {
  static const s64 ns = 1'000'000'000 / std::max<s64>(1, ::sysconf(_SC_CLK_TCK));
  return ns;
}

}  // namespace

Result<std::unique_ptr<ShadowTasks>> ShadowTasks::create() {
  constexpr u64 page = 4096;
  const u64 bytes =
      (sizeof(Scratch) + sizeof(Block) * most_tasks + sizeof(ShadowFiles::Memory) + 2 * page) / page * page;
  auto region = SKEP_TRY(map::Region::window(first_offset, bytes, 0));
  return std::unique_ptr<ShadowTasks>(new ShadowTasks(std::move(region)));
}

// A new mapping is zero: aggregates need no more, and its pages are not touched before a task needs them.
ShadowTasks::ShadowTasks(map::Region region)
    : region_(std::move(region)),
      base_(reinterpret_cast<u64>(region_.data()) + map::Region::window_guard),
      scratch_(new(region_.data() + map::Region::window_guard + first_offset) Scratch{}),
      blocks_(std::launder(reinterpret_cast<Block*>(reinterpret_cast<std::byte*>(scratch_) + blocks_offset))),
      file_memory_(std::launder(reinterpret_cast<ShadowFiles::Memory*>(blocks_ + most_tasks))),
      files_(file_memory_, address(*file_memory_)) {}

void ShadowTasks::want(std::string_view type, u32 offset, u32 bytes) noexcept {
  if (type == "task_struct") wanted_ |= groups_of(offset, bytes);
  if (type == "cred") wanted_ |= status;
  if (type == "signal_struct" || type == "mm_struct") wanted_ |= stat;
  if (type == "new_utsname" || type == "uts_namespace") wanted_ |= host;
  if (type == "nsproxy" || type == "ns_common" || type == "net" || type.ends_with("_namespace")) wanted_ |= namespaces;
}

void ShadowTasks::begin_event(bool compat_call) noexcept {
  ++serial_;
  compat_ = compat_call;
  files_.begin_event();
}

u8 ShadowTasks::groups_of(std::size_t offset, std::size_t size) noexcept {
  const auto touches = [&](std::size_t first, std::size_t bytes) {
    return offset < first + bytes && first < offset + size;
  };
  using shadow::task_struct;
  u8 groups = 0;
  if (touches(offsetof(task_struct, comm), sizeof(task_struct::comm))) groups |= comm;
  if (touches(offsetof(task_struct, flags), 3 * sizeof(u32)) ||
      touches(offsetof(task_struct, real_parent), 2 * sizeof(u64)) ||
      touches(offsetof(task_struct, mm), 3 * sizeof(u64)))
    groups |= stat;
  if (touches(offsetof(Block, cred), sizeof(Block::cred))) groups |= status;
  if (touches(offsetof(Block, signal), sizeof(Block::signal)) || touches(offsetof(Block, mm), sizeof(Block::mm)))
    groups |= stat;
  constexpr std::size_t uts_ns = offsetof(Block, uts) + offsetof(shadow::uts_namespace, ns);
  if (touches(uts_ns, sizeof(shadow::ns_common)) || touches(offsetof(Block, spaces), sizeof(Block::spaces)))
    groups |= namespaces;
  if (touches(offsetof(Block, uts), sizeof(shadow::new_utsname))) groups |= host;
  return groups;
}

/// The block of a task; the one that was not looked at for longest is given to a new task.
u32 ShadowTasks::index_of(u32 tid, u32 tgid) noexcept {
  u32 oldest = 0;
  for (u32 i = 0; i < most_tasks; ++i) {
    if (facts_[i].tid == tid && facts_[i].serial != 0) {
      if (tgid != 0) blocks_[i].task.tgid = static_cast<s32>(tgid);
      if (facts_[i].serial != serial_) facts_[i].filled = 0;
      facts_[i].serial = serial_;
      return i;
    }
    if (facts_[i].serial < facts_[oldest].serial) oldest = i;
  }
  reset(oldest, tid, tgid);
  return oldest;
}

void ShadowTasks::reset(u32 index, u32 tid, u32 tgid) noexcept {
  facts_[index] = {.tid = tid, .serial = serial_};
  Block& made = blocks_[index] = Block{};
  if (tgid == 0) {
    char text[4096];
    tgid = static_cast<u32>(status_number(read_proc(tid, "status", text, sizeof text), "\nTgid:").value_or(tid));
  }
  made.task.pid = static_cast<s32>(tid);
  made.task.tgid = static_cast<s32>(tgid);
  made.task.real_cred = made.task.cred = address(made.cred);
  made.task.nsproxy = address(made.nsproxy);
  made.task.signal = address(made.signal);
  made.nsproxy.uts_ns = address(made.uts);
  shadow::Pointer* const places[] = {&made.nsproxy.ipc_ns, &made.nsproxy.mnt_ns,  &made.nsproxy.pid_ns_for_children,
                                     &made.nsproxy.net_ns, &made.nsproxy.time_ns, &made.nsproxy.cgroup_ns};
  for (std::size_t i = 0; i < std::size(places); ++i) *places[i] = address(made.spaces[i]);
  made.task.files = address(made.files);
  made.files.fdt = address(made.table);
  made.table = {ShadowFiles::most_descriptors, tag | (tables_offset + index * ShadowFiles::table_bytes)};
  made.task.group_leader = address(made.task);
  if (tgid != tid) {
    const u32 leader = index_of(tgid, tgid);  // not this block: it was just looked at
    blocks_[index].task.group_leader = address(blocks_[leader].task);
  }
}

shadow::Pointer ShadowTasks::task(u32 tid, u32 tgid) noexcept {
  const u32 index = index_of(tid, tgid);
  Block& found = blocks_[index];
  found.task.exit_code = facts_[index].exit_code;
  found.task.thread_info.status = compat_ ? compat_status : 0;
  if (wanted_ != 0) prepare(index, 0);
  return address(found.task);
}

/// Fills what typed programs load of a task, and of its parents where they may follow that pointer.
void ShadowTasks::prepare(u32 index, u32 depth) noexcept {
  fill(index, wanted_);
  if ((wanted_ & stat) == 0 || depth == most_ancestors) return;
  const u32 parent = tid_of(blocks_[index].task.real_parent);
  if (parent != 0 && parent != facts_[index].tid) prepare(index_of(parent, parent), depth + 1);
  const u32 leader = static_cast<u32>(blocks_[index].task.tgid);
  if (leader != facts_[index].tid) fill(index_of(leader, leader), wanted_);
}

u32 ShadowTasks::tid_of(shadow::Pointer address) const noexcept {
  if (!is_shadow(address)) return 0;
  const u64 from = base_ + static_cast<u32>(address) - reinterpret_cast<u64>(blocks_);
  const u64 index = from / sizeof(Block);
  return from % sizeof(Block) == 0 && index < most_tasks ? facts_[index].tid : 0;
}

/// A place in the table of a task's descriptors.
bool ShadowTasks::read_table(void* to, u64 offset, u32 size) noexcept {
  const u64 index = offset / ShadowFiles::table_bytes, place = offset % ShadowFiles::table_bytes;
  shadow::Pointer file = 0;
  if (index >= most_tasks || size != sizeof file || place % sizeof file != 0) return false;
  if (facts_[index].tid != 0)
    file = files_.file(static_cast<u32>(blocks_[index].task.tgid), static_cast<u32>(place / sizeof file),
                       blocks_[index].nsproxy.net_ns);
  std::memcpy(to, &file, sizeof file);
  return true;
}

bool ShadowTasks::read(void* to, u64 address, u32 size) noexcept {
  if (!is_shadow(address)) return false;
  if (static_cast<u32>(address) >= tables_offset)
    return read_table(to, static_cast<u32>(address) - tables_offset, size);
  const u64 place = base_ + static_cast<u32>(address);
  const u64 scratch = reinterpret_cast<u64>(scratch_), blocks = reinterpret_cast<u64>(blocks_);
  const auto within = [&](u64 first, u64 bytes) {
    return place >= first && size <= bytes && place - first <= bytes - size;
  };
  if (within(blocks, sizeof(Block) * most_tasks)) {
    const u32 index = static_cast<u32>((place - blocks) / sizeof(Block));
    const u64 offset = (place - blocks) % sizeof(Block);
    if (offset + size > sizeof(Block)) return false;
    if (facts_[index].serial != serial_) facts_[index].filled = 0;
    facts_[index].serial = serial_;
    fill(index, groups_of(offset, size));
  } else if (const u64 files = reinterpret_cast<u64>(file_memory_); within(files, sizeof(ShadowFiles::Memory))) {
    files_.fill(place - files, size);
  } else if (!within(scratch, sizeof(Scratch))) {
    return false;
  }
  std::memcpy(to, reinterpret_cast<const void*>(place), size);  // NOLINT
  return true;
}

void ShadowTasks::fill(u32 index, u8 groups) noexcept {
  Facts& facts = facts_[index];
  groups = static_cast<u8>(groups & ~facts.filled);
  if (groups == 0 || facts.tid == 0) return;
  facts.filled = static_cast<u8>(facts.filled | groups);
  Block& into = blocks_[index];
  if ((groups & comm) != 0) read_comm(facts.tid, into.task.comm);
  if ((groups & status) != 0) fill_status(into, facts.tid);
  if ((groups & namespaces) != 0) fill_namespaces(into, facts.tid);
  if ((groups & host) != 0) fill_host(into, facts.tid);
  if ((groups & stat) != 0) fill_stat(into, facts.tid);
}

/// Fields of /proc/TID/stat. Addresses of memory are 0 there where we may not trace the task.
void ShadowTasks::fill_stat(Block& into, u32 tid) noexcept {
  char text[2048];
  const std::string_view line = read_proc(tid, "stat", text, sizeof text);
  if (line.empty()) return;
  const auto field = [&](u32 number) { return stat_number(line, number).value_or(0); };
  const auto address_field = [&](u32 number) { return static_cast<u64>(field(number)); };
  constexpr s32 first_normal = 100, usual = 120;
  into.task.flags = static_cast<u32>(field(9));
  into.task.prio = static_cast<s32>(field(18)) + first_normal;
  into.task.static_prio = static_cast<s32>(field(19)) + usual;
  into.signal.nr_threads = static_cast<s32>(field(20));
  into.signal.live.counter = into.signal.nr_threads - ending_threads(static_cast<u32>(into.task.tgid));
  into.task.start_boottime = static_cast<u64>(field(22) * tick_ns());
  into.task.start_time = into.task.start_boottime - static_cast<u64>(suspended_ns());
  const bool has_memory = (into.task.flags & kernel_thread) == 0 && field(23) != 0;
  into.task.mm = has_memory ? address(into.mm) : 0;
  into.mm = {.start_code = address_field(26),
             .end_code = address_field(27),
             .start_data = address_field(45),
             .end_data = address_field(46),
             .start_brk = address_field(47),
             .start_stack = address_field(28),
             .arg_start = address_field(48),
             .arg_end = address_field(49),
             .env_start = address_field(50),
             .env_end = address_field(51)};
  // Last, for it may look at other tasks: a thread's parent is its process's.
  const u32 parent = static_cast<u32>(field(4));
  const u32 index = index_of(parent, parent);
  into.task.real_parent = into.task.parent = address(blocks_[index].task);
}

s32 ShadowTasks::ending_threads(u32 tgid) const noexcept {
  s32 count = 0;
  for (u32 i = 0; i < most_tasks; ++i) count += facts_[i].ends && blocks_[i].task.tgid == static_cast<s32>(tgid);
  return count;
}

void ShadowTasks::fill_status(Block& into, u32 tid) noexcept {
  char text[4096];
  const std::string_view all = read_proc(tid, "status", text, sizeof text);
  const auto ids = [&](std::string_view key, const std::array<shadow::id*, 4>& to) {
    const auto at = all.find(key);
    if (at == std::string_view::npos) return;
    const char* from = all.data() + at + key.size();
    const char* const end = all.data() + all.size();
    for (shadow::id* each : to) {
      while (from < end && (*from == '\t' || *from == ' ')) ++from;
      from = std::from_chars(from, end, each->val).ptr;
    }
  };
  struct shadow::cred& cred = into.cred;
  ids("\nUid:", {&cred.uid, &cred.euid, &cred.suid, &cred.fsuid});
  ids("\nGid:", {&cred.gid, &cred.egid, &cred.sgid, &cred.fsgid});
  const auto mask = [&](std::string_view key, shadow::capabilities& to) {
    to.val = status_number(all, key, 16).value_or(0);
  };
  mask("\nCapInh:", cred.cap_inheritable);
  mask("\nCapPrm:", cred.cap_permitted);
  mask("\nCapEff:", cred.cap_effective);
  mask("\nCapBnd:", cred.cap_bset);
  mask("\nCapAmb:", cred.cap_ambient);
}

void ShadowTasks::fill_namespaces(Block& into, u32 tid) noexcept {
  constexpr const char* names[] = {"ipc", "mnt", "pid_for_children", "net", "time", "cgroup", "uts"};
  for (std::size_t i = 0; i < std::size(names); ++i) {
    shadow::ns_common& ns = i < into.spaces.size() ? into.spaces[i].ns : into.uts.ns;
    char path[64], link[64];
    std::snprintf(path, sizeof path, "/proc/%u/ns/%s", tid, names[i]);
    const ssize_t length = ::readlink(path, link, sizeof link);
    ns.inum = number_in_link({link, length > 0 ? static_cast<std::size_t>(length) : 0});
  }
}

/// What uname(2) says in the task's UTS namespace: for another one than ours this thread goes there for a moment, which
/// takes CAP_SYS_ADMIN. Empty where it is denied.
void ShadowTasks::fill_host(Block& into, u32 tid) noexcept {
  const base::Fd theirs(open_proc(tid, "ns/uts")), own(::open("/proc/thread-self/ns/uts", O_RDONLY | O_CLOEXEC));
  struct stat there{}, here{};
  if (!theirs || !own || ::fstat(theirs.get(), &there) != 0 || ::fstat(own.get(), &here) != 0) return;
  const bool is_elsewhere = there.st_ino != here.st_ino || there.st_dev != here.st_dev;
  if (is_elsewhere && ::setns(theirs.get(), CLONE_NEWUTS) != 0) return;
  utsname names{};
  ::uname(&names);
  if (is_elsewhere) ::setns(own.get(), CLONE_NEWUTS);
  static_assert(sizeof names == sizeof into.uts.name);
  std::memcpy(&into.uts.name, &names, sizeof names);
}

shadow::Pointer ShadowTasks::net_of(u32 tid, u32 tgid) noexcept { return blocks_[index_of(tid, tgid)].nsproxy.net_ns; }

void ShadowTasks::ending(u32 tid, u32 tgid, s32 code) noexcept {
  const u32 index = index_of(tid, tgid);
  facts_[index].exit_code = code;
  facts_[index].ends = true;
}

void ShadowTasks::reaped(u32 tid) noexcept {
  for (Facts& facts : facts_)
    if (facts.tid == tid) facts = {};
}

shadow::Pointer ShadowTasks::registers(const PtRegs& registers) noexcept {
  std::memcpy(static_cast<void*>(&scratch_->registers), &registers, sizeof registers);
  return address(scratch_->registers);
}

shadow::Pointer ShadowTasks::binprm(std::string_view filename) noexcept {
  const std::size_t length = std::min(filename.size(), sizeof scratch_->filename - 1);
  std::memcpy(scratch_->filename, filename.data(), length);
  scratch_->filename[length] = 0;
  scratch_->binprm.filename = address(scratch_->filename);
  return address(scratch_->binprm);
}

shadow::Pointer ShadowTasks::siginfo(s32 signal, s32 error, s32 code) noexcept {
  scratch_->siginfo = {signal, error, code};
  return address(scratch_->siginfo);
}

shadow::Pointer ShadowTasks::sigaction(u64 handler, u64 flags) noexcept {
  scratch_->sigaction.sa = {handler, flags};
  return address(scratch_->sigaction);
}

}  // namespace skep::hook
