// The reader of BPF ring buffers: nothing twice, nothing lost, room given back in time, no wake-up missed.
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "support.hpp"

namespace skep::kernel_test {
namespace {

constexpr u32 record_bytes = 56, ring_bytes = 4096, fit = ring_bytes / record_bytes;  ///< with the header
bool is_discarded(u64 number) { return number % 7 == 3; }

class Rings : public KernelEngine {
 protected:
  void SetUp() override {
    KernelEngine::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    auto spec = compile("ring");
    ASSERT_OK(spec);
    auto loaded = load(*spec);
    ASSERT_OK(loaded);
    object_ = *std::move(loaded);
    auto opened = object_->map("ring")->open_ring();
    ASSERT_OK(opened);
    reader_ = *std::move(opened);
  }
  /// Whether there was room.
  bool write() {
    static const TestRun packet{.data = std::vector<std::byte>(64)};
    const auto ran = object_->programs()[0].test_run(packet);
    EXPECT_TRUE(ran) << ran.error().message;
    return ran && ran->result == 0;
  }
  static u64 number_of(const Record& record) {
    u64 number = 0;
    std::memcpy(&number, record.data.data(), sizeof number);
    return number;
  }
  /// Checks that a record is the next one that was not discarded.
  void expect_next(const Record& record) {
    if (is_discarded(next_)) ++next_;
    EXPECT_EQ(number_of(record), next_);
    next_ = number_of(record) + 1;
  }

  std::optional<Object> object_;
  std::optional<RingReader> reader_;
  u64 next_ = 0;
};

TEST_F(Rings, RoomIsGivenBackWhileRecordsAreRead) {
  u32 written = 0;
  while (write()) ++written;
  EXPECT_EQ(written, fit);
  // In a full ring a program that runs while the second record is handled finds the room of the first.
  u32 without_room = 0;
  const auto got = reader_->poll(std::chrono::milliseconds(0), [&](const Record& record) {
    expect_next(record);
    if (next_ < 500 && !write()) ++without_room;
  });
  ASSERT_OK(got);
  EXPECT_EQ(without_room, 1u);
  EXPECT_GE(next_, 500u);
}

TEST_F(Rings, WhatWasHandedOutIsNotHandedOutAgain) {
  for (u32 i = 0; i < 20; ++i) ASSERT_TRUE(write());
  const auto throws_at_ten = [&](const Record& record) {
    expect_next(record);
    if (next_ == 10) throw std::runtime_error("ten");
  };
  EXPECT_THROW(static_cast<void>(reader_->poll(std::chrono::milliseconds(0), throws_at_ten)), std::runtime_error);
  const auto rest = reader_->poll(std::chrono::milliseconds(0), [&](const Record& record) { expect_next(record); });
  ASSERT_OK(rest);
  EXPECT_EQ(next_, 20u);
  EXPECT_EQ(*reader_->poll(std::chrono::milliseconds(0), [](const Record&) {}), 0u);
}

TEST_F(Rings, AReaderThatWaitsIsWoken) {
  constexpr u64 records = 20000;
  std::thread writer([&] {
    for (u64 i = 0; i < records;) {
      if (write())
        ++i;
      else
        std::this_thread::yield();
    }
  });
  while (next_ < records - 1) {
    // None is no failure by itself: a record may be discarded, or not finished yet when the reader looks.
    constexpr std::chrono::seconds patience(10);
    const auto begin = std::chrono::steady_clock::now();
    const auto got = reader_->poll(patience, [&](const Record& record) { expect_next(record); });
    const bool woken = got && (*got != 0 || std::chrono::steady_clock::now() - begin < patience);
    EXPECT_TRUE(woken) << "nobody woke the reader at record " << next_;
    if (!woken) break;
  }
  writer.join();
  EXPECT_GE(next_, records - 1);
}

}  // namespace
}  // namespace skep::kernel_test
