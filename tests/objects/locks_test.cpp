// Locks that may be refused (bpf_res_spin_lock): in every tier and in the kernel, and in two orders at once.
#include <atomic>
#include <thread>

#include "support.hpp"

namespace skep {
namespace {

using test::Loaded;

const char* const programs[] = {"once",         "in_a_hash",    "the_same_again", "in_another",    "with_irqs",
                                "by_functions", "of_an_object", "around_a_list",  "in_a_plain_one"};

TEST(Locks, AreGivenAndRefusedInEveryTierAndInTheKernel) {
  SKEP_OBJECT(spec, "locks");
  for (const vm::Tier tier : test::tiers) {
    const Loaded loaded(*spec, tier);
    ASSERT_TRUE(loaded.object);
    for (const char* program : programs)
      for (int round = 0; round < 3; ++round) EXPECT_EQ(loaded.run(program), 0) << program << " " << vm::name_of(tier);
    EXPECT_EQ(loaded.live_objects(), 0u) << vm::name_of(tier);
  }
  test::expect_zero_in_kernel(*spec, programs);
}

/// Whoever closes the circle is refused and gives way, so nobody waits for ever, and who has both locks is alone.
TEST(Locks, TakenInTwoOrdersAtOnceEndInARefusalAndNotInAWait) {
  SKEP_OBJECT(spec, "locks");
  for (const vm::Tier tier : test::tiers) {
    const Loaded loaded(*spec, tier);
    ASSERT_TRUE(loaded.object);
    constexpr u32 rounds = 2000;
    std::atomic<u64> taken{0};
    const auto run = [&](const char* program) {
      for (u32 i = 0; i < rounds; ++i) taken += loaded.run(program) == 0;
    };
    std::thread other([&] { run("in_reverse"); });
    run("in_order");
    other.join();
    u64 both = 0;
    const u32 first = 0;
    ASSERT_EQ(loaded.map("locks.bss").copy_lookup(&first, &both), 0);
    EXPECT_EQ(both, taken) << vm::name_of(tier);
    EXPECT_GT(taken, u64{0});
  }
}

}  // namespace
}  // namespace skep
