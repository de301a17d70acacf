// The same host on either engine: writes orders, maps an array and an arena.
#pragma once
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <ctime>
#include <skep/backend.hpp>
#include <thread>
#include <vector>

namespace skep::test {

/// A global variable of a running object, by its place in the object's types.
inline u64 global(const ObjectSpec& spec, const Object& object, std::string_view name, u32 size = 8) {
  const u32 key = 0;
  const auto place = spec.variable(name);
  if (!place) return ~u64{0};
  const auto map = object.map(spec.maps[place->map].name);
  const auto value = map ? map->lookup(std::as_bytes(std::span(&key, 1))) : fail(Code::not_found, "no map");
  if (!value || place->offset + size > value->size()) return ~u64{0};
  u64 out = 0;
  std::memcpy(&out, value->data() + place->offset, size);
  return out;
}

/// `may(program)` says whether this engine can have it.
template <class May>
void share_memory(const ObjectSpec& spec, Object& object, const May& may) {
  const auto global = [&](std::string_view name) { return test::global(spec, object, name); };
  const auto run = [&](const char* program) {
    auto handle = object.program(program);
    EXPECT_TRUE(handle) << handle.error().message;
    TestRun input;
    input.context.resize(8);
    const auto result = handle->test_run(input);
    EXPECT_TRUE(result) << result.error().message;
    return result ? static_cast<s32>(result->result) : -1;
  };
  const auto map = [&](const char* name) -> Map {
    auto found = object.map(name);
    EXPECT_TRUE(found) << found.error().message;
    return *found;
  };
  if (may("take_orders")) {
    auto writer = map("orders").open_ring_writer();
    ASSERT_TRUE(writer) << writer.error().message;
    const auto give = [&](u64 number) { return writer->write(std::as_bytes(std::span(&number, 1))); };
    ASSERT_TRUE(give(5));
    ASSERT_TRUE(give(6));
    auto dropped = writer->reserve(24);
    ASSERT_TRUE(dropped);
    writer->discard(*dropped);
    ASSERT_TRUE(give(7));
    EXPECT_EQ(run("take_orders"), 3);
    EXPECT_EQ(global("sum"), 18u);
    // Full: 4096 bytes hold 256 records of 8 and a header.
    int fitted = 0;
    while (give(1)) ++fitted;
    EXPECT_EQ(fitted, 256);
    EXPECT_EQ(writer->reserve(8, std::chrono::milliseconds(5)).error().code, Code::limit);
    EXPECT_NE(writer->reserve(4096).error().message.find("never fit"), std::string::npos);
    EXPECT_EQ(run("take_orders"), 256);
    std::vector<std::byte> large(2048);
    const std::span<const std::byte> too_much(large.data(), (u64{1} << 32) + 8);
    EXPECT_EQ(writer->write(too_much).error().code, Code::limit) << "no more is copied than was reserved";
    // Some room, but too little: whoever waits for more must not burn a CPU.
    ASSERT_TRUE(writer->reserve(3000).transform([&](std::span<std::byte> place) { writer->discard(place); }));
    const auto own_time = [] {
      timespec now{};
      ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
      return now.tv_sec * 1'000'000'000ll + now.tv_nsec;
    };
    const auto before = own_time();
    EXPECT_EQ(writer->write(large, std::chrono::milliseconds(200)).error().code, Code::limit);
    EXPECT_LT(own_time() - before, 100'000'000);
    EXPECT_EQ(run("take_orders"), 0);
    // A wait without end, in which the room comes.
    ASSERT_TRUE(writer->reserve(3000).transform([&](std::span<std::byte> place) { writer->discard(place); }));
    std::thread waiting([&] { EXPECT_TRUE(writer->write(large, std::chrono::milliseconds::max())); });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(run("take_orders"), 0);
    waiting.join();
    EXPECT_EQ(run("take_orders"), 1);
    EXPECT_EQ(global("sum"), 18u + 256);
    for (int round = 0; round < 1000; ++round) {  // many times around
      ASSERT_TRUE(give(2)) << round;
      if (round % 100 == 99) {
        EXPECT_EQ(run("take_orders"), 100);
      }
    }
    EXPECT_EQ(global("sum"), 18u + 256 + 2000);
  }
  {
    const auto memory = map("shared").memory();
    ASSERT_TRUE(memory) << memory.error().message;
    ASSERT_EQ(memory->size(), 8000u);
    u32 value = 41;
    std::memcpy(memory->data() + 8 * 700, &value, sizeof value);
    EXPECT_EQ(run("count"), 0);
    std::memcpy(&value, memory->data() + 8 * 700, sizeof value);
    EXPECT_EQ(value, 42u);
    EXPECT_EQ(map("shared").template get<u32>(u32{700}).value(), 42u);
  }
  if (may("give_a_page")) {
    const auto memory = map("pages").memory();
    ASSERT_TRUE(memory) << memory.error().message;
    ASSERT_EQ(memory->size(), 16u * 4096);
    EXPECT_EQ(run("give_a_page"), 0);
    const u64 offset = static_cast<u32>(global("where")) - static_cast<u32>(reinterpret_cast<u64>(memory->data()));
    ASSERT_LE(offset + 32, memory->size());
    u64 value = 0;
    std::memcpy(&value, memory->data() + offset + 24, sizeof value);
    EXPECT_EQ(value, 77u);
  }
  EXPECT_EQ(map("orders").memory().error().code, Code::unsupported);
  EXPECT_EQ(map("shared").open_ring_writer().error().code, Code::unsupported);
}

}  // namespace skep::test
