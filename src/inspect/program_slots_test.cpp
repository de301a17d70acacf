// Program arrays of hosts that say what they like.
#include "inspect/program_slots.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace skep::inspect {
namespace {

using Bytes = std::vector<std::byte>;
using std::chrono::steady_clock;

/// Program 7 in slots 3 and 5; from `ends` on it does not answer.
struct Host final : Map::Impl {
  MapInfo facts{.type = MapType::prog_array, .key_size = 4, .value_size = 4};
  u32 ends = ~0u;
  const MapInfo& info() const override { return facts; }
  Result<Bytes> lookup(std::span<const std::byte> key) override {
    u32 index = 0;
    std::memcpy(&index, key.data(), sizeof index);
    if (index >= ends) return fail(Code::closed, "the host is gone");
    if (index != 3 && index != 5 && index != 6) return fail(Code::not_found, "an empty slot");
    return Bytes{std::byte(index == 6 ? 8 : 7), {}, {}, {}};
  }
  Result<void> update(std::span<const std::byte>, std::span<const std::byte>, u64) override { return {}; }
  Result<void> erase(std::span<const std::byte>) override { return {}; }
  Result<std::optional<Bytes>> next_key(std::optional<std::span<const std::byte>>) override { return std::nullopt; }
  Result<RingReader> open_ring() override { return fail(Code::unsupported, "no ring"); }
  Result<Bytes> take(std::span<const std::byte>) override { return Bytes(4); }
  Result<void> freeze() override { return {}; }
};

TEST(ProgramSlots, EverySlotIsLookedAt) {
  const Map map(std::make_shared<Host>());
  const auto found = slots_with(map, {.max_entries = 16}, 7, steady_clock::now() + std::chrono::minutes(1));
  EXPECT_EQ(found.indices, (std::vector<u32>{3, 5}));
  EXPECT_EQ(found.looked_at, 16u);
}

TEST(ProgramSlots, AHostThatClaimsBillionsOfThemIsNotBelievedForLong) {
  const Map map(std::make_shared<Host>());
  const auto began = steady_clock::now();
  const auto found = slots_with(map, {.max_entries = ~0u}, 7, began + std::chrono::milliseconds(50));
  EXPECT_LT(steady_clock::now() - began, std::chrono::seconds(5));
  EXPECT_EQ(found.indices, (std::vector<u32>{3, 5}));
  EXPECT_LT(found.looked_at, ~0u);
}

TEST(ProgramSlots, AHostThatGoesEndsTheLook) {
  auto host = std::make_shared<Host>();
  host->ends = 4;
  const auto found = slots_with(Map(host), {.max_entries = ~0u}, 7, steady_clock::now() + std::chrono::minutes(1));
  EXPECT_EQ(found.indices, (std::vector<u32>{3}));
  EXPECT_EQ(found.looked_at, 4u);
}

}  // namespace
}  // namespace skep::inspect
