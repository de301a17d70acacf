// Look-ups, updates and removals in maps whose values have a spin lock, a timer or an owned pointer, and per-CPU maps
// in a timer's callback: in every tier, the first also in the kernel. The optimised tier writes look-ups into the
// program (vm/jit/build_maps.cpp), so it must leave these fields alone and find the slot of the callback's CPU.
#include <sched.h>

#include <chrono>
#include <thread>

#include "map/run.hpp"
#include "support.hpp"

namespace skep {
namespace {

using test::Loaded;

const char* const field_programs[] = {"guarded",      "guarded_by_two", "guarded_indexed", "timed",
                                      "timed_recent", "owning",         "owning_recent",   "owning_by_cpu",
                                      "in_sections",  "of_each_cpu",    "of_each_left",    "of_each_nested"};

TEST(LookUps, LeaveFieldsAloneInEveryTierAndInTheKernel) {
  SKEP_OBJECT(spec, "lookups");
  for (const vm::Tier tier : test::tiers) {
    const Loaded loaded(*spec, tier);
    ASSERT_TRUE(loaded.object);
    for (const char* program : field_programs)
      for (int round = 0; round < 3; ++round) EXPECT_EQ(loaded.run(program), 0) << program << " " << vm::name_of(tier);
    EXPECT_EQ(loaded.live_objects(), 0u) << vm::name_of(tier);
  }
  test::expect_zero_in_kernel(*spec, field_programs);
}

/// The CPUs that this thread may run on.
std::vector<u32> allowed_cpus() {
  cpu_set_t set;
  std::vector<u32> cpus;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (u32 cpu = 0; cpu < map::possible_cpus() && cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

u64 sum_elsewhere(const std::vector<u64>& slots, u32 cpu, u64 words) {
  u64 sum = 0;
  for (u64 i = 0; i < slots.size(); ++i) sum += i / words == cpu ? 0 : slots[i];
  return sum;
}

TEST(LookUps, OfATimersCallbackAreThoseOfItsCpu) {
  SKEP_OBJECT(spec, "lookups");
  const std::vector<u32> cpus = allowed_cpus();
  ASSERT_FALSE(cpus.empty());
  for (const vm::Tier tier : test::tiers)
    for (const u32 cpu : {cpus.front(), cpus.back()}) {
      SCOPED_TRACE(std::string(vm::name_of(tier)) + ", CPU " + std::to_string(cpu));
      const Loaded loaded(*spec, tier);
      ASSERT_TRUE(loaded.object);
      // The timer runs where it was started: on the CPU of the program that did, which is the thread's.
      s64 answer = -1;
      std::thread([&] {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        EXPECT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
        answer = loaded.run("count_later");
      }).join();
      ASSERT_EQ(answer, 0);
      struct {
        u64 cpu, timer[2], fired;
      } state{};
      const u32 first = 0;
      for (int i = 0; i < 10000 && state.fired < 3; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        ASSERT_EQ(loaded.map("starter").copy_lookup(&first, &state), 0);
      }
      ASSERT_EQ(state.fired, 3u);
      EXPECT_EQ(state.cpu, cpu);
      const u32 index = 1, number = 77;
      const u64 name = 0x1122334455667788;
      std::vector<u64> slots(map::possible_cpus()), pairs(map::possible_cpus() * u64{2});
      ASSERT_EQ(loaded.map("percpu_values").copy_lookup(&index, slots.data()), 0);
      EXPECT_EQ(slots[cpu], 3u);
      EXPECT_EQ(sum_elsewhere(slots, cpu, 1), 0u);
      ASSERT_EQ(loaded.map("percpu_table").copy_lookup(&name, pairs.data()), 0);
      EXPECT_EQ(pairs[cpu * u64{2} + 1], 3u);
      EXPECT_EQ(sum_elsewhere(pairs, cpu, 2), 0u);
      ASSERT_EQ(loaded.map("percpu_recent").copy_lookup(&number, slots.data()), 0);
      EXPECT_EQ(slots[cpu], 3u);
      EXPECT_EQ(sum_elsewhere(slots, cpu, 1), 0u);
    }
}

}  // namespace
}  // namespace skep
