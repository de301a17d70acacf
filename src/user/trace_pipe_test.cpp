// The trace pipe under one reader and many writers: nothing is torn, nothing is lost uncounted, nobody waits.
#include "user/trace_pipe.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

namespace skep::user {
namespace {

using namespace std::chrono_literals;

std::string text_of(const Record& record) {
  return {reinterpret_cast<const char*>(record.data.data()), record.data.size()};
}

bool readable(int fd) {
  pollfd poll_fd{fd, POLLIN, 0};
  return ::poll(&poll_fd, 1, 0) == 1;
}

TEST(TracePipe, HandsOutWholeLinesInOrder) {
  auto pipe = TracePipe::create(256).value();
  auto reader = pipe->open();
  EXPECT_FALSE(readable(reader.wait_fd()));
  // Many times around the small ring, so that lines lie across its end.
  for (int round = 0; round < 100; ++round) {
    EXPECT_TRUE(pipe->line("first " + std::to_string(round)));
    EXPECT_TRUE(pipe->line(""));
    EXPECT_TRUE(pipe->line(std::string(static_cast<std::size_t>(round), 'x')));
    EXPECT_TRUE(readable(reader.wait_fd()));
    std::vector<std::string> lines;
    EXPECT_EQ(*reader.poll(1s, [&](const Record& record) { lines.push_back(text_of(record)); }), 3u);
    EXPECT_EQ(lines, (std::vector<std::string>{"first " + std::to_string(round), "",
                                               std::string(static_cast<std::size_t>(round), 'x')}));
    EXPECT_FALSE(readable(reader.wait_fd()));
  }
  EXPECT_EQ(reader.lost(), 0u);
}

TEST(TracePipe, EndsLinesAtNewlinesAsTheKernelsPipeDoes) {
  auto pipe = TracePipe::create(256).value();
  auto reader = pipe->open();
  EXPECT_TRUE(pipe->line("task: one\n"));
  EXPECT_TRUE(pipe->line("task: two\n\nthree"));
  std::vector<std::string> lines;
  EXPECT_EQ(*reader.poll(1s, [&](const Record& record) { lines.push_back(text_of(record)); }), 2u);
  EXPECT_EQ(lines, (std::vector<std::string>{"task: one", "task: two", "three"}));
}

TEST(TracePipe, CountsWhatDoesNotFitAndGoesOn) {
  auto pipe = TracePipe::create(64).value();
  auto reader = pipe->open();
  EXPECT_TRUE(pipe->line(std::string(60, 'a')));  // 4 + 60: exactly full
  EXPECT_FALSE(pipe->line("b"));
  EXPECT_FALSE(pipe->line(std::string(100, 'c')));
  EXPECT_EQ(reader.lost(), 2u);
  EXPECT_EQ(pipe->open().lost(), 0u) << "counted from the opening of each reader";
  EXPECT_EQ(*reader.poll(0ms, [](const Record&) {}), 1u);
  EXPECT_TRUE(pipe->line("d"));
  EXPECT_EQ(*reader.poll(0ms, [](const Record& record) { EXPECT_EQ(text_of(record), "d"); }), 1u);
}

TEST(TracePipe, WaitsNoLongerThanAsked) {
  auto pipe = TracePipe::create().value();
  auto reader = pipe->open();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(*reader.poll(30ms, [](const Record&) {}), 0u);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 25ms);
}

TEST(TracePipe, ManyWritersLoseNothingUncounted) {
  auto pipe = TracePipe::create(4096).value();
  auto reader = pipe->open();
  constexpr int writers = 3, lines_each = 20000;
  std::atomic<u64> written = 0;
  std::vector<std::jthread> threads;
  for (int w = 0; w < writers; ++w)
    threads.emplace_back([&, w] {
      for (int i = 0; i < lines_each; ++i) written += pipe->line(std::to_string(w) + ":" + std::to_string(i)) ? 1 : 0;
    });
  std::vector<int> last(writers, -1);
  u64 read = 0;
  const auto check = [&](const Record& record) {
    const std::string text = text_of(record);
    const auto colon = text.find(':');
    ASSERT_EQ(colon, 1u) << text;
    const int w = text[0] - '0', i = std::stoi(text.substr(2));
    ASSERT_LT(w, writers);
    EXPECT_GT(i, last[w]) << "lines of one writer come in order, once";
    last[w] = i;
    ++read;
  };
  while (read + reader.lost() < u64{writers} * lines_each) {
    const auto got = reader.poll(1000ms, check);
    ASSERT_TRUE(got);
    ASSERT_TRUE(*got > 0 || read + reader.lost() == u64{writers} * lines_each) << "a wake-up was lost";
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(read, written);
  EXPECT_EQ(read + reader.lost(), u64{writers} * lines_each);
}

}  // namespace
}  // namespace skep::user
