// Many entries of a map by one call: all of them, up to the first that cannot be, and where the kernel has no batches.
#include "batches.hpp"
#include "support.hpp"

namespace skep::kernel_test {
namespace {

using test::bytes_of;
using test::keys;

class Batches : public KernelEngine {
 protected:
  Map make(MapType type, u32 entries) { return test::map_for_batches(*backend, type, entries); }
};

TEST_F(Batches, AreWrittenAndDeleted) {
  constexpr u32 count = 5000;
  const Map map = make(MapType::hash, count + 10);
  const auto all = keys(100, count);
  std::vector<u64> values(count);
  for (u32 i = 0; i < count; ++i) values[i] = i * 3;
  const auto written = update_batch(map, bytes_of(all), bytes_of(values));
  ASSERT_FALSE(written.error) << written.error->message;
  EXPECT_EQ(written.count, count);
  EXPECT_EQ(map.get<u64>(u32{100}).value(), 0u);
  EXPECT_EQ(map.get<u64>(u32{100 + count - 1}).value(), (count - 1) * u64{3});
  const auto gone = erase_batch(map, bytes_of(keys(100, count - 1)));
  ASSERT_FALSE(gone.error) << gone.error->message;
  EXPECT_EQ(gone.count, count - 1);
  EXPECT_EQ(map.lookup(std::as_bytes(std::span(all).first(1))).error().code, Code::not_found);
  EXPECT_EQ(map.get<u64>(u32{100 + count - 1}).value(), (count - 1) * u64{3});
}

TEST_F(Batches, StopAtTheEntryThatCannotBe) { test::stop_at_the_entry_that_cannot_be(*backend, "exists already"); }
TEST_F(Batches, AreWrittenReadDeletedAndTaken) { test::write_read_delete_and_take(*backend); }
TEST_F(Batches, LeadSomewhere) { test::refuse_walks_that_lead_nowhere(*backend); }
TEST_F(Batches, AreTakenOneByOneWhereTheKernelHasNoSuchBatch) { test::take_from_a_trie(*backend); }

TEST_F(Batches, OfMapsWhoseElementsStayCannotBeTaken) {
  MapBatch batch;
  const auto array = take_batch(make(MapType::array, 4), batch);
  ASSERT_FALSE(array);
  EXPECT_EQ(array.error().code, Code::unsupported) << array.error().message;
  const Map frozen = make(MapType::hash, 4);
  ASSERT_FALSE(update_batch(frozen, bytes_of(keys(1, 2)), bytes_of(std::vector<u64>(2, 5))).error);
  if (const auto done = frozen.freeze(); !done) GTEST_SKIP() << done.error().message;
  const auto refused = take_batch(frozen, batch = {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::permission) << refused.error().message;
}

TEST_F(Batches, OfValuesOfEveryCpu) {
  const Map map = make(MapType::percpu_hash, 8);
  const std::size_t cpus = base::possible_cpus();
  std::vector<u64> values(3 * cpus);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i;
  const auto all = keys(1, 3);
  const auto written = update_batch(map, bytes_of(all), bytes_of(values));
  ASSERT_FALSE(written.error) << written.error->message;
  for (u32 i = 0; i < 3; ++i) {
    const auto read = map.lookup(std::as_bytes(std::span(all).subspan(i, 1)));
    ASSERT_OK(read);
    EXPECT_TRUE(std::ranges::equal(*read, bytes_of(values).subspan(i * cpus * 8, cpus * 8)));
  }
}

TEST_F(Batches, OfMapsWhoseElementsStay) {
  const Map map = make(MapType::array, 4);
  const auto gone = erase_batch(map, bytes_of(keys(0, 2)));
  ASSERT_TRUE(gone.error);
  EXPECT_EQ(gone.error->code, Code::unsupported) << gone.error->message;
  EXPECT_EQ(gone.count, 0u);
}

TEST_F(Batches, WhatDoesNotFitIsRefused) {
  const Map map = make(MapType::hash, 8);
  const auto some = keys(1, 3);
  const auto odd = update_batch(map, bytes_of(some).first(10), bytes_of(std::vector<u64>(3)));
  ASSERT_TRUE(odd.error);
  EXPECT_EQ(odd.error->code, Code::invalid_argument);
  const auto few = update_batch(map, bytes_of(some), bytes_of(std::vector<u64>(2)));
  ASSERT_TRUE(few.error);
  EXPECT_EQ(few.error->code, Code::invalid_argument) << few.error->message;
  EXPECT_EQ(few.count, 0u);
  const auto none = update_batch(map, {}, {});
  EXPECT_FALSE(none.error);
  EXPECT_EQ(none.count, 0u);
}

}  // namespace
}  // namespace skep::kernel_test
