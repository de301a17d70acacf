// Helpers on the current task's objects and on records with packets, called as a program calls them.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "catalog/helpers.hpp"
#include "helper/helpers.hpp"
#include "helper/local_task.hpp"
#include "helper/packet.hpp"
#include "map/cgroup.hpp"
#include "map/map.hpp"
#include "map/reader.hpp"

namespace skep::helper {
namespace {

using catalog::HelperId;

u64 word(const void* pointer) { return reinterpret_cast<u64>(pointer); }

template <class... Words>
s64 run(Call& call, HelperId id, Words... words) {
  const HelperFn function = table()[static_cast<u32>(id)];
  EXPECT_NE(function, nullptr);
  u64 padded[5] = {static_cast<u64>(words)...};
  return static_cast<s64>(
      function(static_cast<base::Run*>(&call), padded[0], padded[1], padded[2], padded[3], padded[4]));
}

std::shared_ptr<map::Map> make_map(MapType type, u32 key_size, u32 value_size, u32 max_entries, u32 flags = 0) {
  MapSpec spec;
  spec.name = "mine";
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  spec.flags = flags;
  spec.btf_key_type_id = spec.btf_value_type_id = 1;
  auto made = map::Map::create(spec);
  EXPECT_TRUE(made) << (made ? "" : made.error().message);
  return *made;
}

/// A task with a stack of three frames in this process and a record of signals.
class WalkedTask final : public Task {
 public:
  explicit WalkedTask(u64 first_frame) : frame_(first_frame) {}
  u64 pid_tgid() noexcept override { return local_.pid_tgid(); }
  u64 uid_gid() noexcept override { return local_.uid_gid(); }
  void comm(char (&comm)[16]) noexcept override { local_.comm(comm); }
  u32 cpu() noexcept override { return 0; }
  s64 read_user(void* to, u64 address, u32 size) noexcept override { return local_.read_user(to, address, size); }
  s64 write_user(u64, const void*, u32) noexcept override { return -EPERM; }
  s64 read_kernel(void*, u64, u32) noexcept override { return -EFAULT; }
  s64 user_frame(UserFrame& frame) noexcept override {
    frame = {.instruction = 0x1111, .frame = frame_, .caller = caller};
    return 0;
  }
  u64 caller = 0;
  s64 send_signal(u32 signal, bool thread) noexcept override {
    sent = std::to_string(signal) + (thread ? " thread" : " process");
    return 0;
  }
  std::string sent;

 private:
  u64 frame_;
  LocalTask local_;
};

TEST(CurrentTask, HasAValueInEachTaskStorage) {
  LocalTask task;
  Call call;
  call.task = &task;
  const auto storage = make_map(MapType::task_storage, 4, 8, 0, map::flag::no_prealloc);
  const s64 self = run(call, HelperId::get_current_task_btf);
  ASSERT_NE(self, 0);
  EXPECT_EQ(run(call, HelperId::task_storage_get, word(storage.get()), self, 0, 0), 0);
  const u64 initial = 41;
  const s64 value = run(call, HelperId::task_storage_get, word(storage.get()), self, word(&initial), 1);
  ASSERT_NE(value, 0);
  EXPECT_EQ((*reinterpret_cast<u64*>(value))++, 41u);
  EXPECT_EQ(run(call, HelperId::task_storage_get, word(storage.get()), self, 0, 0), value);
  EXPECT_EQ(run(call, HelperId::task_storage_get, word(storage.get()), self, 0, 2), 0);
  EXPECT_EQ(run(call, HelperId::task_storage_get, word(storage.get()), 0, 0, 1), 0);
  EXPECT_EQ(run(call, HelperId::task_storage_delete, word(storage.get()), self), 0);
  EXPECT_EQ(run(call, HelperId::task_storage_delete, word(storage.get()), self), -ENOENT);
}

TEST(CurrentTask, StacksAreWalkedByFramePointers) {
  // frames[n] = {caller's frame, return address}; the last has no caller.
  u64 frames[3][2] = {};
  frames[0][0] = word(frames[1]), frames[0][1] = 0x2222;
  frames[1][0] = word(frames[2]), frames[1][1] = 0x3333;
  WalkedTask task(word(frames[0]));
  Call call;
  call.task = &task;
  constexpr u64 user = 1 << 8;
  u64 stack[4] = {9, 9, 9, 9};
  EXPECT_EQ(run(call, HelperId::get_stack, 0, word(stack), sizeof stack, user), 24);
  EXPECT_EQ(stack[0], 0x1111u);
  EXPECT_EQ(stack[2], 0x3333u);
  EXPECT_EQ(stack[3], 0u);
  EXPECT_EQ(run(call, HelperId::get_stack, 0, word(stack), 8, user | 2), 8);
  EXPECT_EQ(stack[0], 0x3333u);
  EXPECT_EQ(run(call, HelperId::get_stack, 0, word(stack), 8, user | 3), -EFAULT);
  EXPECT_EQ(run(call, HelperId::get_stack, 0, word(stack), 7, user), -EINVAL);
  EXPECT_EQ(run(call, HelperId::get_stack, 0, word(stack), 8, 0), -EFAULT);  // no kernel stack
  EXPECT_EQ(run(call, HelperId::get_stack, 0, word(stack), 8, user | 1 << 12), -EINVAL);
  task.caller = 0x1abc;  // at a function's first instruction its caller's frame is still the current one
  EXPECT_EQ(run(call, HelperId::get_stack, 0, word(stack), sizeof stack, user), 32);
  EXPECT_EQ(stack[1], 0x1abcu);
  EXPECT_EQ(stack[2], 0x2222u);
  task.caller = 0;
  const auto stacks = make_map(MapType::stack_trace, 4, 32, 16);
  const s64 id = run(call, HelperId::get_stackid, 0, word(stacks.get()), user);
  ASSERT_GE(id, 0);
  const u32 key = static_cast<u32>(id);
  EXPECT_EQ(stacks->copy_lookup(&key, stack), 0);
  EXPECT_EQ(stack[1], 0x2222u);
  frames[1][0] = word(frames[0]);  // a circle ends the walk
  EXPECT_EQ(run(call, HelperId::get_stack, 0, word(stack), sizeof stack, user), 24);
}

TEST(CurrentTask, SignalsGoThroughTheTask) {
  WalkedTask task(0);
  Call call;
  call.task = &task;
  EXPECT_EQ(run(call, HelperId::send_signal, 10), 0);
  EXPECT_EQ(task.sent, "10 process");
  EXPECT_EQ(run(call, HelperId::send_signal_thread, 12), 0);
  EXPECT_EQ(task.sent, "12 thread");
  EXPECT_EQ(run(call, HelperId::send_signal, 65), -EINVAL);
  LocalTask own;  // a program never signals the process that runs it
  call.task = &own;
  EXPECT_EQ(run(call, HelperId::send_signal, 9), -EPERM);
}

TEST(CurrentTask, ItsControlGroupHasANumber) {
  LocalTask task;
  Call call;
  call.task = &task;
  const map::CgroupPath path = map::cgroup_of_task(static_cast<u32>(::gettid()));
  EXPECT_EQ(run(call, HelperId::get_current_cgroup_id), static_cast<s64>(path.id()));
  EXPECT_EQ(run(call, HelperId::get_current_ancestor_cgroup_id, 0), static_cast<s64>(path.ancestor(0)));
  EXPECT_EQ(run(call, HelperId::get_current_ancestor_cgroup_id, ~u64{0}), 0);
  const auto groups = make_map(MapType::cgroup_array, 4, 4, 1);
  EXPECT_EQ(run(call, HelperId::current_task_under_cgroup, word(groups.get()), 0), -EAGAIN);
  EXPECT_EQ(run(call, HelperId::current_task_under_cgroup, word(groups.get()), 1), -E2BIG);
}

TEST(PacketRecords, CarryTheBytesThatTheFlagsAskFor) {
  alignas(8) std::byte context[216] = {};
  std::byte bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = std::byte('a' + i);
  Packet packet;
  packet.context = context;
  packet.first = bytes;
  packet.limit = bytes + 8;
  packet.set_data(bytes);
  packet.set_end(bytes + 8);
  Call call;
  call.packet = &packet;
  const auto events = make_map(MapType::perf_event_array, 4, 4, 0);
  auto reader = *map::open_reader(events);
  constexpr u64 this_cpu = 0xffffffff;
  EXPECT_EQ(
      run(call, HelperId::perf_event_output, word(context), word(events.get()), this_cpu | u64{5} << 32, word("xy"), 2),
      0);
  EXPECT_EQ(
      run(call, HelperId::perf_event_output, word(context), word(events.get()), this_cpu | u64{9} << 32, word("xy"), 2),
      -EFAULT);
  std::string seen;
  ASSERT_TRUE(reader.poll(std::chrono::milliseconds(0), [&](const Record& record) {
    seen.append(reinterpret_cast<const char*>(record.data.data()), record.data.size()).append(";");
  }));
  EXPECT_EQ(seen, "xyabcde;");
}

TEST(Redirects, AreRecordedInTheRun) {
  alignas(8) std::byte context[48] = {};
  Packet packet;
  packet.kind = Packet::Kind::xdp;
  packet.context = context;
  Call call;
  call.packet = &packet;
  const auto devices = make_map(MapType::devmap, 4, 4, 4);
  const u32 key = 2, loopback = 1;
  ASSERT_EQ(devices->update(&key, &loopback, 0), 0);
  constexpr s64 xdp_drop = 1, xdp_redirect = 4;
  EXPECT_EQ(run(call, HelperId::redirect_map, word(devices.get()), 2, 0), xdp_redirect);
  EXPECT_EQ(packet.redirect.to, Packet::Redirect::To::map);
  EXPECT_EQ(packet.redirect.ifindex, 1u);
  EXPECT_EQ(packet.redirect.index, 2u);
  EXPECT_EQ(packet.redirect.map, devices.get());
  EXPECT_EQ(run(call, HelperId::redirect_map, word(devices.get()), 3, xdp_drop), xdp_drop);
  EXPECT_EQ(packet.redirect.to, Packet::Redirect::To::nowhere);
  EXPECT_EQ(run(call, HelperId::redirect_map, word(devices.get()), 2, 1 << 5), 0);             // unknown flag: aborted
  EXPECT_EQ(run(call, HelperId::redirect_map, word(devices.get()), 3, 1 << 3), xdp_redirect);  // to all
  EXPECT_EQ(run(call, HelperId::redirect, 1, 0), xdp_redirect);
  EXPECT_EQ(packet.redirect.to, Packet::Redirect::To::device);
}

}  // namespace
}  // namespace skep::helper
