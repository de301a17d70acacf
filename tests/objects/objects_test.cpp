// Objects that programs make: each program says 0, in every tier and in the kernel, and nothing is left behind.
#include "support.hpp"

namespace skep {
namespace {

using test::Loaded;

const char* const graph_programs[] = {"lists", "trees", "aliases", "shared", "pointers", "elements", "looks"};

TEST(Objects, ProgramsDoInEveryTierWhatTheyDoInTheKernel) {
  SKEP_OBJECT(spec, "graph");
  for (const vm::Tier tier : test::tiers) {
    const Loaded loaded(*spec, tier);
    ASSERT_TRUE(loaded.object);
    for (const char* program : graph_programs)
      for (int round = 0; round < 3; ++round) EXPECT_EQ(loaded.run(program), 0) << program << " " << vm::name_of(tier);
    EXPECT_EQ(loaded.live_objects(), 0u) << vm::name_of(tier);
  }
  test::expect_zero_in_kernel(*spec, graph_programs);
}

TEST(Objects, WhatIsLeftInMapsGoesWithThem) {
  SKEP_OBJECT(spec, "graph");
  for (const vm::Tier tier : test::tiers) {
    const Loaded loaded(*spec, tier);
    ASSERT_TRUE(loaded.object);
    EXPECT_EQ(loaded.run("leave"), 0);
    EXPECT_EQ(loaded.run("leave"), 0);  // the pointer of the first run is replaced, the lists grow
    EXPECT_EQ(loaded.live_objects(), 5u);
    // The host overwrites the value with the pointer, and reads the fields as zero.
    auto& slots = loaded.map("slots");
    const u32 key = 1;
    std::vector<std::byte> value(slots.host_value_size(), std::byte{0xff});
    ASSERT_EQ(slots.copy_lookup(&key, value.data()), 0);
    u64 words[3];
    std::memcpy(words, value.data(), sizeof words);
    EXPECT_EQ(words[0], 0u);
    EXPECT_EQ(words[1], 0u);
    words[0] = 0x4141414141414141;  // is no pointer, and does not become one
    words[2] = 7;
    ASSERT_EQ(slots.copy_update(&key, words, 0), 0);
    EXPECT_EQ(loaded.live_objects(), 4u);
    EXPECT_EQ(loaded.run("pointers"), 0);
    ASSERT_EQ(slots.copy_lookup(&key, value.data()), 0);
    std::memcpy(words, value.data(), sizeof words);
    EXPECT_EQ(words[0], 0u);
    EXPECT_EQ(words[2], 7u);
    // Maps hold the rest; without them nothing is left.
    const auto types = std::move(loaded.object->types);
    loaded.object->programs.clear();
    loaded.object->maps.clear();
    EXPECT_EQ(types->live_objects(), 0u);
  }
}

TEST(Objects, CpuMasks) {
  SKEP_OBJECT(spec, "masks");
  for (const vm::Tier tier : test::tiers) {
    const Loaded loaded(*spec, tier);
    ASSERT_TRUE(loaded.object);
    EXPECT_EQ(loaded.run("cpus"), 0) << vm::name_of(tier);
    EXPECT_EQ(loaded.run("cpus"), 0) << vm::name_of(tier);
    EXPECT_EQ(loaded.live_objects(), 1u);  // the one in the map
  }
  std::string why;
  auto kernel = test::in_kernel(*spec, why);
  if (!kernel) GTEST_SKIP() << "not compared with the kernel: " << why;
  const auto ran = kernel->program("cpus").value().test_run(test::input_for(ProgramType::syscall));
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_EQ(ran->result, 0u);
}

}  // namespace
}  // namespace skep
