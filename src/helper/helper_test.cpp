// Helpers called as a program calls them: through the table, with words.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "catalog/helpers.hpp"
#include "helper/helpers.hpp"
#include "helper/local_task.hpp"
#include "map/map.hpp"
#include "map/reader.hpp"

namespace skep::helper {
namespace {

using catalog::HelperId;
using namespace std::chrono_literals;

template <class T>
u64 word(T value) {
  if constexpr (std::is_null_pointer_v<T>)
    return 0;
  else if constexpr (std::is_pointer_v<T>)
    return reinterpret_cast<u64>(value);
  else
    return static_cast<u64>(value);
}

template <class... Words>
s64 run(Call& call, HelperId id, Words... words) {
  const HelperFn function = table()[static_cast<u32>(id)];
  EXPECT_NE(function, nullptr);
  u64 padded[5] = {word(words)...};
  return static_cast<s64>(function(&call, padded[0], padded[1], padded[2], padded[3], padded[4]));
}

std::shared_ptr<map::Map> make_map(MapType type, u32 key_size, u32 value_size, u32 max_entries) {
  MapSpec spec;
  spec.name = "mine";
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  return *map::Map::create(spec);
}

class Helpers : public testing::Test {
 protected:
  LocalTask task;
  Call call{.task = &task};
};

TEST_F(Helpers, TheTableHasWhatTheListSaysAndNothingElse) {
  std::set<u32> provided;
#define SKEP_PROVIDED(name) provided.insert(static_cast<u32>(HelperId::name));
#include "helper/provided.def"
#undef SKEP_PROVIDED
  EXPECT_GE(provided.size(), 40u);
  for (u32 id = 0; id < table().size(); ++id) EXPECT_EQ(table()[id] != nullptr, provided.contains(id)) << id;
  for (const HelperId absent : {HelperId::tail_call, HelperId::sk_lookup_tcp, HelperId::override_return})
    EXPECT_EQ(table()[static_cast<u32>(absent)], nullptr);
}

TEST_F(Helpers, Maps) {
  const auto map = make_map(MapType::hash, 4, 8, 2);
  u32 key = 5;
  u64 value = 9;
  EXPECT_EQ(run(call, HelperId::map_lookup_elem, map.get(), &key), 0);
  EXPECT_EQ(run(call, HelperId::map_update_elem, map.get(), &key, &value, 0), 0);
  EXPECT_EQ(run(call, HelperId::map_update_elem, map.get(), &key, &value, 1), -EEXIST);
  EXPECT_EQ(*reinterpret_cast<u64*>(run(call, HelperId::map_lookup_elem, map.get(), &key)), 9u);
  EXPECT_EQ(run(call, HelperId::map_delete_elem, map.get(), &key), 0);
  EXPECT_EQ(run(call, HelperId::map_delete_elem, map.get(), &key), -ENOENT);
  EXPECT_EQ(run(call, HelperId::map_push_elem, map.get(), &value, 0), -EOPNOTSUPP);

  const auto queue = make_map(MapType::queue, 0, 8, 1);
  EXPECT_EQ(run(call, HelperId::map_push_elem, queue.get(), &value, 0), 0);
  EXPECT_EQ(run(call, HelperId::map_push_elem, queue.get(), &value, 0), -E2BIG);
  u64 out = 0;
  EXPECT_EQ(run(call, HelperId::map_peek_elem, queue.get(), &out), 0);
  EXPECT_EQ(out, 9u);
  EXPECT_EQ(run(call, HelperId::map_pop_elem, queue.get(), &out), 0);
  EXPECT_EQ(run(call, HelperId::map_pop_elem, queue.get(), &out), -ENOENT);

  const auto per_cpu = make_map(MapType::percpu_array, 4, 8, 1);
  key = 0;
  EXPECT_NE(run(call, HelperId::map_lookup_percpu_elem, per_cpu.get(), &key, 0), 0);
  EXPECT_EQ(run(call, HelperId::map_lookup_percpu_elem, per_cpu.get(), &key, map::possible_cpus()), 0);
}

TEST_F(Helpers, ClocksAreTheMachines) {
  const auto now = [](clockid_t clock) {
    timespec time{};
    ::clock_gettime(clock, &time);
    return static_cast<s64>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
  };
  const std::pair<HelperId, clockid_t> clocks[] = {{HelperId::ktime_get_ns, CLOCK_MONOTONIC},
                                                   {HelperId::ktime_get_boot_ns, CLOCK_BOOTTIME},
                                                   {HelperId::ktime_get_tai_ns, CLOCK_TAI},
                                                   {HelperId::ktime_get_coarse_ns, CLOCK_MONOTONIC_COARSE}};
  for (const auto& [id, clock] : clocks) {
    const s64 before = now(clock), helper = run(call, id), after = now(clock);
    EXPECT_LE(before, helper);
    EXPECT_LE(helper, after);
  }
  EXPECT_GT(run(call, HelperId::jiffies64), 0);
}

/// Ids are kept for the thread: another thread, and a forked child, are asked for theirs.
TEST_F(Helpers, ThreadsAndForkedChildrenHaveIdsOfTheirOwn) {
  const auto is_right = [&] {
    Call fresh{.task = &task};
    return run(fresh, HelperId::get_current_pid_tgid) == ((s64{::getpid()} << 32) | ::gettid());
  };
  EXPECT_TRUE(is_right());
  bool in_thread = false;
  std::thread([&] { in_thread = is_right() && is_right(); }).join();
  EXPECT_TRUE(in_thread);
  const pid_t child = ::fork();
  if (child == 0) {
    const pid_t grandchild = is_right() ? ::fork() : -1;
    if (grandchild == 0) ::_exit(is_right() && is_right() ? 0 : 1);
    int status = 1;
    if (grandchild > 0) ::waitpid(grandchild, &status, 0);
    ::_exit(status == 0 && is_right() ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(is_right());
}

TEST_F(Helpers, TheTaskAndItsName) {
  EXPECT_EQ(run(call, HelperId::get_current_pid_tgid), (s64{::getpid()} << 32) | ::gettid());
  EXPECT_EQ(run(call, HelperId::get_current_uid_gid), static_cast<s64>(u64{::getgid()} << 32 | ::getuid()));
  char saved[16], name[20];
  ::prctl(PR_GET_NAME, saved);
  ::prctl(PR_SET_NAME, "a-name-of-15-ch");
  std::memset(name, 'x', sizeof name);
  EXPECT_EQ(run(call, HelperId::get_current_comm, name, sizeof name), 0);
  EXPECT_STREQ(name, "a-name-of-15-ch");
  EXPECT_EQ(name[19], 0);
  EXPECT_EQ(run(call, HelperId::get_current_comm, name, 4), 0);
  EXPECT_STREQ(name, "a-n");
  EXPECT_EQ(run(call, HelperId::get_current_comm, name, 1), 0);
  EXPECT_STREQ(name, "");
  ::prctl(PR_SET_NAME, saved);
}

TEST_F(Helpers, PidsOfANamespace) {
  struct stat status{};
  ASSERT_EQ(::stat("/proc/self/ns/pid", &status), 0);
  u32 info[2] = {1, 1};
  EXPECT_EQ(run(call, HelperId::get_ns_current_pid_tgid, status.st_dev, status.st_ino, info, 8), 0);
  EXPECT_EQ(info[0], static_cast<u32>(::gettid()));
  EXPECT_EQ(info[1], static_cast<u32>(::getpid()));
  EXPECT_EQ(run(call, HelperId::get_ns_current_pid_tgid, status.st_dev, status.st_ino + 1, info, 8), -EINVAL);
  EXPECT_EQ(info[0], 0u);
  EXPECT_EQ(run(call, HelperId::get_ns_current_pid_tgid, status.st_dev, status.st_ino, info, 4), -EINVAL);
}

TEST_F(Helpers, CpuAndChance) {
  const u32 last = map::possible_cpus() - 1;
  map::set_current_cpu(last);
  EXPECT_EQ(run(call, HelperId::get_smp_processor_id), last);
  EXPECT_GE(run(call, HelperId::get_numa_node_id), 0);
  EXPECT_LT(run(call, HelperId::get_numa_node_id), 1024);
  map::set_current_cpu(0);
  std::set<s64> numbers;
  u32 bits = 0;
  for (int i = 0; i < 1000; ++i) {
    const s64 number = run(call, HelperId::get_prandom_u32);
    EXPECT_EQ(number >> 32, 0);
    bits |= static_cast<u32>(number);
    numbers.insert(number);
  }
  EXPECT_GT(numbers.size(), 990u);
  EXPECT_EQ(bits, 0xffffffffu);
  call.attach_cookie = 0x1234567890;
  EXPECT_EQ(run(call, HelperId::get_attach_cookie, nullptr), 0x1234567890);
}

TEST_F(Helpers, Numbers) {
  struct Case {
    const char* text;
    u64 flags;
    s64 returns, result;
  };
  for (const auto& [text, flags, returns, result] :
       std::initializer_list<Case>{{"123", 0, 3, 123},
                                   {"  -42 rest", 10, 5, -42},
                                   {"0x1F", 0, 4, 31},
                                   {"0x1f", 16, 4, 31},
                                   {"017", 0, 3, 15},
                                   {"0", 0, 1, 0},
                                   {"0xg", 0, 1, 0},
                                   {"0xg", 16, -EINVAL, 0},
                                   {"", 0, -EINVAL, 0},
                                   {"-", 0, -EINVAL, 0},
                                   {"+1", 0, -EINVAL, 0},
                                   {"1", 7, -EINVAL, 0},
                                   {"1", 32, -EINVAL, 0},
                                   {"9223372036854775807", 0, 19, 0x7fffffffffffffff},
                                   {"9223372036854775808", 0, -ERANGE, 0},
                                   {"-9223372036854775808", 0, 20, std::numeric_limits<s64>::min()},
                                   {"99999999999999999999", 0, -ERANGE, 0},
                                   {"8", 8, -EINVAL, 0}}) {
    s64 number = 77;
    EXPECT_EQ(run(call, HelperId::strtol, text, std::strlen(text), flags, &number), returns) << text;
    EXPECT_EQ(number, result) << text;
  }
  u64 number = 0;
  EXPECT_EQ(run(call, HelperId::strtoul, "18446744073709551615", 20, 0, &number), 20);
  EXPECT_EQ(number, ~u64{0});
  EXPECT_EQ(run(call, HelperId::strtoul, "-1", 2, 0, &number), -EINVAL);
  EXPECT_EQ(number, 0u);
  EXPECT_EQ(run(call, HelperId::strncmp, "abc", 3, "abd"), -1);
  EXPECT_EQ(run(call, HelperId::strncmp, "abd", 3, "abc"), 1);
  EXPECT_EQ(run(call, HelperId::strncmp, "abXX", 2, "abc"), 0);
  EXPECT_EQ(run(call, HelperId::strncmp, "ab\0X", 4, "ab"), 0);
  EXPECT_EQ(run(call, HelperId::strncmp, "\xff", 1, "a"), 1);
}

TEST_F(Helpers, Checksums) {
  const u32 words[] = {0x11223344, 0x55667788, 0xffffffff, 0};
  EXPECT_EQ(run(call, HelperId::csum_diff, nullptr, 0, nullptr, 0, 0x10001), 2);
  EXPECT_EQ(run(call, HelperId::csum_diff, nullptr, 0, words, 4, 0), 0x1122 + 0x3344);
  EXPECT_EQ(run(call, HelperId::csum_diff, nullptr, 0, words, 2, 0), 0x3344);
  // Taking away what was put in leaves nothing (in one's complement: all ones).
  EXPECT_EQ(run(call, HelperId::csum_diff, words, 16, words, 16, 0), 0xffff);
}

TEST_F(Helpers, PacketBytes) {
  alignas(8) std::byte skb[216] = {};
  std::byte packet[10] = {};
  for (int i = 0; i < 10; ++i) packet[i] = std::byte(i);
  const std::byte *begin = packet, *end = packet + 10;
  std::memcpy(skb + 192, &begin, 8);
  std::memcpy(skb + 200, &end, 8);
  u8 out[4] = {9, 9, 9, 9};
  EXPECT_EQ(run(call, HelperId::skb_load_bytes, skb, 6, out, 4), 0);
  EXPECT_EQ(out[3], 9u);
  EXPECT_EQ(out[0], 6u);
  for (const u64 offset : {u64{7}, u64{0xffffffff}, u64{0x7fffffff}, u64{11}}) {
    out[0] = 5;
    EXPECT_EQ(run(call, HelperId::skb_load_bytes, skb, offset, out, 4), -EFAULT);
    EXPECT_EQ(out[0], 0u);
  }
  const u8 in[2] = {77, 78};
  EXPECT_EQ(run(call, HelperId::skb_store_bytes, skb, 8, in, 2, 0), 0);
  EXPECT_EQ(packet[9], std::byte{78});
  EXPECT_EQ(run(call, HelperId::skb_store_bytes, skb, 9, in, 2, 0), -EFAULT);
  EXPECT_EQ(run(call, HelperId::skb_store_bytes, skb, 0, in, 2, 4), -EINVAL);
}

TEST_F(Helpers, Records) {
  const auto ring = make_map(MapType::ringbuf, 0, 0, 4096);
  auto reader = *map::open_reader(ring);
  EXPECT_EQ(run(call, HelperId::ringbuf_output, ring.get(), "abc", 3, 0), 0);
  EXPECT_EQ(run(call, HelperId::ringbuf_output, ring.get(), "abc", 3, 8), -EINVAL);
  void* sample = reinterpret_cast<void*>(run(call, HelperId::ringbuf_reserve, ring.get(), 2, 0));
  ASSERT_NE(sample, nullptr);
  std::memcpy(sample, "de", 2);
  run(call, HelperId::ringbuf_submit, sample, 0);
  run(call, HelperId::ringbuf_discard, reinterpret_cast<void*>(run(call, HelperId::ringbuf_reserve, ring.get(), 2, 0)),
      0);
  EXPECT_EQ(run(call, HelperId::ringbuf_query, ring.get(), 1), 4096);
  std::string seen;
  ASSERT_TRUE(reader.poll(0ms, [&](const Record& record) {
    seen.append(reinterpret_cast<const char*>(record.data.data()), record.data.size()).append(";");
  }));
  EXPECT_EQ(seen, "abc;de;");
  const auto events = make_map(MapType::perf_event_array, 4, 4, 0);
  EXPECT_EQ(run(call, HelperId::perf_event_output, nullptr, events.get(), 0xffffffff, "abc", 3), -ENOENT);
  auto perf = *map::open_reader(events);
  EXPECT_EQ(run(call, HelperId::perf_event_output, nullptr, events.get(), 0xffffffff, "abc", 3), 0);
}

/// Two pages of which the second is not there.
class Edge {
 public:
  Edge() {
    base_ = static_cast<char*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ::munmap(base_ + 4096, 4096);
  }
  ~Edge() { ::munmap(base_, 4096); }
  char* end() const { return base_ + 4096; }

 private:
  char* base_;
};

TEST_F(Helpers, ReadingUserMemory) {
  const Edge edge;
  std::memcpy(edge.end() - 4, "abc", 4);
  char to[16];
  EXPECT_EQ(run(call, HelperId::probe_read_user, to, 4, edge.end() - 4), 0);
  EXPECT_STREQ(to, "abc");
  std::memset(to, 'x', sizeof to);
  EXPECT_EQ(run(call, HelperId::probe_read_user, to, 8, edge.end() - 4), -EFAULT);
  EXPECT_EQ(std::string(to, 9), std::string(8, '\0') + "x");
  EXPECT_EQ(run(call, HelperId::probe_read_user, to, 8, nullptr), -EFAULT);
  EXPECT_EQ(run(call, HelperId::probe_read_user, to, 8, ~u64{0} - 3), -EFAULT);
  EXPECT_EQ(run(call, HelperId::probe_read_user, to, 0, nullptr), 0);
  EXPECT_EQ(run(call, HelperId::copy_from_user, to, 4, edge.end() - 4), 0);
  EXPECT_EQ(run(call, HelperId::copy_from_user, to, 5, edge.end() - 4), -EFAULT);
  EXPECT_EQ(run(call, HelperId::probe_write_user, edge.end() - 4, "xyz", 4), 0);
  EXPECT_STREQ(edge.end() - 4, "xyz");
  EXPECT_EQ(run(call, HelperId::probe_write_user, edge.end() - 2, "xyz", 4), -EFAULT);
}

TEST_F(Helpers, ReadingUserStrings) {
  const Edge edge;
  char* last = edge.end() - 4;
  std::memcpy(last, "abc", 4);
  char to[600];
  std::memset(to, 'x', sizeof to);
  EXPECT_EQ(run(call, HelperId::probe_read_user_str, to, 64, last), 4);  // ends right before the missing page
  EXPECT_STREQ(to, "abc");
  EXPECT_EQ(to[7], 0);  // the word of the terminator is zero to its end
  EXPECT_EQ(to[8], 'x');
  EXPECT_EQ(run(call, HelperId::probe_read_user_str, to, 3, last), 3);
  EXPECT_STREQ(to, "ab");
  EXPECT_EQ(run(call, HelperId::probe_read_user_str, to, 1, last), 1);
  EXPECT_STREQ(to, "");
  EXPECT_EQ(run(call, HelperId::probe_read_user_str, to, 0, last), 0);
  last[3] = 'd';  // no terminator before the end
  std::memset(to, 'x', sizeof to);
  EXPECT_EQ(run(call, HelperId::probe_read_user_str, to, 64, last), -EFAULT);
  EXPECT_EQ(to[63], 0);
  EXPECT_EQ(run(call, HelperId::probe_read_user_str, to, 4, last), 4);
  EXPECT_STREQ(to, "abc");
  char* longer = edge.end() - 501;
  std::memset(longer, 'z', 500);
  longer[500] = 0;
  EXPECT_EQ(run(call, HelperId::probe_read_user_str, to, sizeof to, longer), 501);
  EXPECT_EQ(std::strlen(to), 500u);
}

TEST_F(Helpers, KernelMemoryIsTheProgramsOwn) {
  const auto array = make_map(MapType::array, 4, 16, 2);
  u32 key = 1;
  char* value = static_cast<char*>(array->lookup(&key));
  std::strcpy(value, "in a map");
  const std::string heap(100, 'h');
  char to[16] = {};
  // Outside of a run nothing is known to be the program's.
  EXPECT_EQ(run(call, HelperId::probe_read_kernel, to, 8, value), -EFAULT);
  // Not inlined: a program's frames lie below the one that holds the RunSection.
  const auto program = [&]() __attribute__((noinline)) {
    char stack[16] = "on the stack";
    EXPECT_EQ(run(call, HelperId::probe_read_kernel, to, 8, value), 0);
    EXPECT_EQ(std::string(to, 8), "in a map");
    EXPECT_EQ(run(call, HelperId::probe_read_kernel_str, to, 16, value), 9);
    EXPECT_EQ(run(call, HelperId::probe_read_kernel, to, 12, stack), 0);
    EXPECT_EQ(std::string(to, 12), "on the stack");
    EXPECT_EQ(run(call, HelperId::probe_read_kernel_str, to, 16, stack), 13);
    EXPECT_EQ(run(call, HelperId::probe_read_str, to, 7, stack), 7);
    EXPECT_STREQ(to, "on the");
    EXPECT_EQ(run(call, HelperId::probe_read, to, 4, value), 0);
    // The engine's other memory is not readable as kernel memory; as the task's memory it is (the task is us).
    EXPECT_EQ(run(call, HelperId::probe_read_kernel, to, 8, heap.data()), -EFAULT);
    EXPECT_EQ(std::string(to, 8), std::string(8, '\0'));
    EXPECT_EQ(run(call, HelperId::probe_read, to, 8, heap.data()), 0);
  };
  const map::RunSection section(0);
  program();
}

TEST_F(Helpers, KernelMemoryIsTheEventsToo) {
  const char context[] = "context with a string";
  LocalTask with_context(std::as_bytes(std::span(context)));
  call.task = &with_context;
  char to[32] = {};
  EXPECT_EQ(run(call, HelperId::probe_read_kernel, to, 7, context), 0);
  EXPECT_EQ(run(call, HelperId::probe_read_kernel, to, sizeof context + 1, context), -EFAULT);
  EXPECT_EQ(run(call, HelperId::probe_read_kernel_str, to, sizeof to, context + 15), 7);
  EXPECT_STREQ(to, "string");
}

TEST_F(Helpers, ARunWithoutATaskAnswersErrors) {
  Call bare;
  char to[16];
  EXPECT_EQ(run(bare, HelperId::get_current_pid_tgid), -EINVAL);
  EXPECT_EQ(run(bare, HelperId::get_current_comm, to, sizeof to), -EINVAL);
  EXPECT_EQ(to[15], 0);
  EXPECT_EQ(run(bare, HelperId::probe_read_user, to, 8, to), -EFAULT);
  EXPECT_EQ(run(bare, HelperId::probe_read_str, to, 8, to), -EFAULT);
  EXPECT_EQ(run(bare, HelperId::probe_write_user, to, to, 8), -EPERM);
  EXPECT_EQ(run(bare, HelperId::trace_printk, "x", 2), 1);
}

}  // namespace
}  // namespace skep::helper
