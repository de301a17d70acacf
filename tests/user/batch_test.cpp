// Many entries of the user engine's maps at once: what <skep/map_batch.hpp> says, on maps of every kind of batch.
#include "../kernel/batches.hpp"

namespace skep {
namespace {

using test::bytes_of;
using test::keys;
using test::walk;

class UserBatches : public ::testing::Test {
 protected:
  Map make(MapType type, u32 entries) { return test::map_for_batches(*engine, type, entries); }
  std::unique_ptr<Backend> engine = user_backend({.serve_control_socket = false}).value();
};

TEST_F(UserBatches, AreWrittenReadDeletedAndTaken) { test::write_read_delete_and_take(*engine); }
TEST_F(UserBatches, StopAtTheEntryThatCannotBe) { test::stop_at_the_entry_that_cannot_be(*engine, "there already"); }
TEST_F(UserBatches, LeadSomewhere) { test::refuse_walks_that_lead_nowhere(*engine); }
TEST_F(UserBatches, OfTriesAreTakenOneByOne) { test::take_from_a_trie(*engine); }

TEST_F(UserBatches, WhatDoesNotFitIsRefused) {
  const auto few = update_batch(make(MapType::hash, 8), bytes_of(keys(1, 3)), bytes_of(std::vector<u64>(2)));
  ASSERT_TRUE(few.error);
  EXPECT_EQ(few.error->code, Code::invalid_argument) << few.error->message;
}

TEST_F(UserBatches, OfArraysAreReadAndWrittenOnly) {
  const Map map = make(MapType::array, 40);
  const auto written = update_batch(map, bytes_of(keys(0, 40)), bytes_of(std::vector<u64>(40, 9)));
  ASSERT_FALSE(written.error) << written.error->message;
  EXPECT_EQ(walk(map, 7, false).size(), 40u);
  MapBatch batch;
  const auto taken = take_batch(map, batch);
  ASSERT_FALSE(taken);
  const auto gone = erase_batch(map, bytes_of(keys(0, 2)));
  ASSERT_TRUE(gone.error);
  EXPECT_EQ(gone.count, 0u);
  EXPECT_EQ(map.get<u64>(u32{0}).value(), 9u);
}

TEST_F(UserBatches, OfFrozenMapsAreRefused) {
  const Map map = make(MapType::hash, 8);
  ASSERT_FALSE(update_batch(map, bytes_of(keys(1, 3)), bytes_of(std::vector<u64>(3, 1))).error);
  ASSERT_TRUE(map.freeze());
  MapBatch batch;
  EXPECT_EQ(take_batch(map, batch).error().code, Code::permission);
  EXPECT_EQ(erase_batch(map, bytes_of(keys(1, 3))).error->code, Code::permission);
  EXPECT_EQ(update_batch(map, bytes_of(keys(1, 3)), bytes_of(std::vector<u64>(3, 1))).error->code, Code::permission);
  EXPECT_EQ(walk(map, 2, false).size(), 3u);
}

}  // namespace
}  // namespace skep
