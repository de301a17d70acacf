// Ring buffers and perf event arrays: the kernel's record layout and limits, waiting, loss.
#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "map/memory.hpp"
#include "map/reader.hpp"
#include "map/ringbuf.hpp"

namespace skep::map {
namespace {

using namespace std::chrono_literals;

std::shared_ptr<Map> make_ring(u32 bytes) {
  MapSpec spec;
  spec.name = "ring";
  spec.type = MapType::ringbuf;
  spec.max_entries = bytes;
  return *Map::create(spec);
}

std::shared_ptr<Map> make_perf() {
  MapSpec spec;
  spec.name = "events";
  spec.type = MapType::perf_event_array;
  spec.key_size = spec.value_size = 4;
  return *Map::create(spec);
}

std::string text(const Record& record) {
  return {reinterpret_cast<const char*>(record.data.data()), record.data.size()};
}

std::vector<std::string> all(RingReader& reader, std::chrono::milliseconds timeout = 0ms) {
  std::vector<std::string> found;
  EXPECT_TRUE(reader.poll(timeout, [&](const Record& record) { found.push_back(text(record)); }));
  return found;
}

bool readable(int fd) {
  pollfd poll_fd{fd, POLLIN, 0};
  return ::poll(&poll_fd, 1, 0) == 1;
}

s64 output(Map& ring, std::string_view data, u64 flags = 0) {
  return ringbuf_output(ring, data.data(), data.size(), flags);
}

TEST(Ringbuf, RecordsComeOutInOrderWithTheirSizes) {
  const auto ring = make_ring(4096);
  auto reader = *open_reader(ring);
  EXPECT_EQ(output(*ring, "one"), 0);
  EXPECT_EQ(output(*ring, ""), 0);
  EXPECT_EQ(output(*ring, "twelve bytes"), 0);
  EXPECT_EQ(all(reader), (std::vector<std::string>{"one", "", "twelve bytes"}));
  EXPECT_TRUE(all(reader).empty());
}

TEST(Ringbuf, TheHeaderIsTheKernels) {
  const auto ring = make_ring(4096);
  auto* sample = static_cast<char*>(ringbuf_reserve(*ring, 21, 0));
  ASSERT_NE(sample, nullptr);
  u32 header[2];
  std::memcpy(header, sample - 8, 8);
  EXPECT_EQ(header[0], 21u | 1u << 31);  // busy
  EXPECT_GT(header[1], 0u);
  EXPECT_EQ(ringbuf_query(*ring, ring_flag::avail_data), 32u);  // 8 + 21, rounded up to 8
  ringbuf_discard(sample, 0);
  std::memcpy(header, sample - 8, 8);
  EXPECT_EQ(header[0], 21u | 1u << 30);  // discarded
}

TEST(Ringbuf, LimitsAndFlags) {
  const auto ring = make_ring(4096);
  auto reader = *open_reader(ring);
  EXPECT_EQ(ringbuf_reserve(*ring, 8, 1), nullptr);
  EXPECT_EQ(output(*ring, "x", 4), -EINVAL);
  EXPECT_EQ(reader.lost(), 0u);
  EXPECT_EQ(ringbuf_reserve(*ring, 4096, 0), nullptr);
  EXPECT_EQ(ringbuf_reserve(*ring, 4088, 0), nullptr);  // 4096 with its header: the ring is never completely full
  EXPECT_EQ(ringbuf_reserve(*ring, u64{1} << 40, 0), nullptr);
  EXPECT_EQ(ringbuf_reserve(*ring, ~u64{0}, 0), nullptr);
  EXPECT_EQ(reader.lost(), 4u);
  void* most = ringbuf_reserve(*ring, 4080, 0);
  ASSERT_NE(most, nullptr);
  EXPECT_EQ(output(*ring, "x"), -EAGAIN);
  ringbuf_submit(most, 0);
  EXPECT_EQ(all(reader).at(0).size(), 4080u);
  EXPECT_EQ(output(*ring, "x"), 0);
  EXPECT_EQ(ringbuf_query(*ring, ring_flag::ring_size), 4096u);
  EXPECT_EQ(ringbuf_query(*ring, ring_flag::cons_pos), 4088u);
  EXPECT_EQ(ringbuf_query(*ring, ring_flag::prod_pos), 4104u);
  EXPECT_EQ(ringbuf_query(*ring, 9), 0u);
}

TEST(Ringbuf, RecordsMayLieAcrossTheEnd) {
  const auto ring = make_ring(4096);
  auto reader = *open_reader(ring);
  for (int i = 0; i < 1000; ++i) {
    const std::string data(static_cast<std::size_t>(i * 37 % 900), static_cast<char>('a' + i % 26));
    ASSERT_EQ(output(*ring, data), 0);
    ASSERT_EQ(all(reader), std::vector<std::string>{data});
  }
}

TEST(Ringbuf, ABusyRecordHoldsTheReaderBack) {
  const auto ring = make_ring(4096);
  auto reader = *open_reader(ring);
  void* first = ringbuf_reserve(*ring, 1, 0);
  void* second = ringbuf_reserve(*ring, 1, 0);
  std::memcpy(first, "1", 1);
  std::memcpy(second, "2", 1);
  ringbuf_submit(second, 0);
  EXPECT_TRUE(all(reader).empty());
  ringbuf_submit(first, 0);
  EXPECT_EQ(all(reader), (std::vector<std::string>{"1", "2"}));
  ringbuf_discard(ringbuf_reserve(*ring, 100, 0), 0);
  output(*ring, "3");
  EXPECT_EQ(all(reader), std::vector<std::string>{"3"});
}

TEST(Ringbuf, TheDescriptorIsReadableWhenRecordsWait) {
  const auto ring = make_ring(4096);
  output(*ring, "before");
  auto reader = *open_reader(ring);
  EXPECT_TRUE(readable(reader.wait_fd()));
  EXPECT_EQ(all(reader).size(), 1u);
  EXPECT_FALSE(readable(reader.wait_fd()));
  output(*ring, "quiet", ring_flag::no_wakeup);
  EXPECT_FALSE(readable(reader.wait_fd()));
  output(*ring, "loud");
  EXPECT_TRUE(readable(reader.wait_fd()));
  EXPECT_EQ(all(reader).size(), 2u);
  void* held = ringbuf_reserve(*ring, 1, 0);
  output(*ring, "forced", ring_flag::force_wakeup);
  EXPECT_TRUE(readable(reader.wait_fd()));
  ringbuf_submit(held, 0);
}

TEST(Ringbuf, PollWaitsForTheFirstRecordAndNoLonger) {
  const auto ring = make_ring(4096);
  auto reader = *open_reader(ring);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(all(reader, 20ms).empty());
  EXPECT_GE(std::chrono::steady_clock::now() - start, 19ms);
  std::thread later([&] {
    std::this_thread::sleep_for(20ms);
    output(*ring, "late");
  });
  EXPECT_EQ(all(reader, std::chrono::milliseconds::max()), std::vector<std::string>{"late"});
  later.join();
}

TEST(Ringbuf, ACallbackThatThrowsLosesNoOtherRecord) {
  const auto ring = make_ring(4096);
  auto reader = *open_reader(ring);
  output(*ring, "1");
  output(*ring, "2");
  EXPECT_THROW((void)reader.poll(0ms, [](const Record&) { throw 1; }), int);
  EXPECT_EQ(all(reader), std::vector<std::string>{"2"});
}

TEST(Ringbuf, ABrokenHeaderLeadsNowhereBeyondTheRing) {
  const auto ring = make_ring(4096);
  auto reader = *open_reader(ring);
  auto* sample = static_cast<char*>(ringbuf_reserve(*ring, 8, 0));
  const u32 length = 100'000 | 1u << 31;
  std::memcpy(sample - 8, &length, sizeof length);
  ringbuf_submit(sample, 0);
  EXPECT_TRUE(all(reader).empty());
  EXPECT_EQ(reader.lost(), 1u);
  EXPECT_EQ(output(*ring, "goes on"), 0);
  EXPECT_EQ(all(reader), std::vector<std::string>{"goes on"});
}

TEST(Ringbuf, OnlyMapsWithRecordsCanBeRead) {
  MapSpec spec;
  spec.type = MapType::array;
  spec.key_size = spec.value_size = 4;
  spec.max_entries = 1;
  const auto array = *Map::create(spec);
  const auto reader = open_reader(array);
  ASSERT_FALSE(reader);
  EXPECT_EQ(reader.error().code, Code::invalid_argument);
  EXPECT_EQ(ringbuf_reserve(*array, 8, 0), nullptr);
  EXPECT_EQ(ringbuf_output(*array, "x", 1, 0), -EINVAL);
  EXPECT_EQ(perf_event_output(*array, 0, "x", 1), -EINVAL);
}

TEST(PerfEventArray, TakesRecordsWhileSomebodyReads) {
  const auto events = make_perf();
  const u32 last = possible_cpus() - 1;
  set_current_cpu(last);
  EXPECT_EQ(perf_event_output(*events, 0xffffffff, "x", 1), -ENOENT);
  {
    auto reader = *open_reader(events);
    EXPECT_EQ(perf_event_output(*events, 0xffffffff, "abc", 3), 0);
    EXPECT_EQ(perf_event_output(*events, last, "d", 1), 0);
    if (last > 0) {
      EXPECT_EQ(perf_event_output(*events, 0, "e", 1), -EOPNOTSUPP);
    }
    EXPECT_EQ(perf_event_output(*events, possible_cpus(), "f", 1), -E2BIG);
    EXPECT_EQ(perf_event_output(*events, u64{1} << 32, "g", 1), -EINVAL);
    std::vector<std::string> found;
    ASSERT_TRUE(reader.poll(0ms, [&](const Record& record) {
      found.push_back(text(record));
      EXPECT_EQ(record.cpu, last);
    }));
    EXPECT_EQ(found, (std::vector<std::string>{"abc", "d"}));
    const std::string huge(32u << 20, 'x');
    EXPECT_EQ(perf_event_output(*events, last, huge.data(), huge.size()), -ENOSPC);
    EXPECT_EQ(reader.lost(), 1u);
    perf_event_output(*events, last, "left behind", 11);
  }
  EXPECT_EQ(perf_event_output(*events, last, "x", 1), -ENOENT);
  auto reader = *open_reader(events);
  EXPECT_TRUE(all(reader).empty());
  EXPECT_EQ(reader.lost(), 0u);
  set_current_cpu(0);
}

}  // namespace
}  // namespace skep::map
