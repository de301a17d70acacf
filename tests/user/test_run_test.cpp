// Programs run by hand: packets in, verdicts and packets out; contexts for tracing programs.
#include "support.hpp"

namespace skep {
namespace {

using test::program_object;

std::vector<std::byte> packet(u8 type_high, u8 type_low, std::size_t size = 64) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < 12; ++i) bytes[i] = std::byte(i + 1);
  bytes[12] = std::byte(type_high);
  bytes[13] = std::byte(type_low);
  return bytes;
}

struct TestRunOnPackets : ::testing::Test {
  std::unique_ptr<Backend> engine;
  std::optional<Object> object;
  void SetUp() override {
    SKEP_NEED_CLANG();
    auto made = user_backend({.serve_control_socket = false});
    ASSERT_TRUE(made) << made.error().message;
    engine = std::move(*made);
    auto loaded = engine->load(program_object("packet"));
    ASSERT_TRUE(loaded) << loaded.error().message;
    object.emplace(std::move(*loaded));
  }
};

TEST_F(TestRunOnPackets, XdpRewritesAndCounts) {
  Program program = object->program("answer").value();
  const auto result = program.test_run({.data = packet(0x08, 0x00), .context = {}, .repeat = 1});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->result, 3u);
  ASSERT_EQ(result->data.size(), 64u);
  EXPECT_EQ(result->data[0], std::byte(7));
  EXPECT_EQ(result->data[6], std::byte(1));
  EXPECT_EQ(program.test_run({.data = packet(0x86, 0xdd), .context = {}, .repeat = 1})->result, 2u);
  EXPECT_EQ(program.test_run({.data = packet(0x86, 0xdd), .context = {}, .repeat = 10})->result, 2u);
  u64 count = 0;
  const auto slots = object->map("packets")->lookup(test::bytes(u32{0})).value();
  for (std::size_t at = 0; at + 8 <= slots.size(); at += 8) {
    u64 slot;
    __builtin_memcpy(&slot, slots.data() + at, 8);
    count += slot;
  }
  EXPECT_EQ(count, 12u);
  const auto programs = engine->inspector().programs().value();
  for (const auto& info : programs) {
    if (info.name != "answer") continue;
    EXPECT_EQ(info.run_count, 12u);
  }
  const auto tiny = program.test_run({.data = std::vector<std::byte>(13), .context = {}, .repeat = 1});
  ASSERT_FALSE(tiny);
  EXPECT_EQ(tiny.error().code, Code::invalid_argument);
}

TEST_F(TestRunOnPackets, XdpMetadataIsWhatTheContextSays) {
  const u32 context[6] = {8, 64, 0, 0, 0, 0};  // data, data_end, data_meta
  TestRun run{.data = packet(0x08, 0x00), .context = {}, .repeat = 1};
  const auto bytes = std::as_bytes(std::span(context));
  run.context.assign(bytes.begin(), bytes.end());
  Program program = object->program("answer").value();
  const auto result = program.test_run(run);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->data.size(), 64u);
  EXPECT_EQ(result->result, 2u) << "the packet begins behind 8 bytes of metadata: its type field is elsewhere";
  run.context[0] = std::byte(5);
  EXPECT_FALSE(program.test_run(run));
}

TEST_F(TestRunOnPackets, BuffersAreDescribed) {
  Program mark = object->program("mark").value();
  const auto result = mark.test_run({.data = packet(0x08, 0x00), .context = {}, .repeat = 1});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->result, 0u);
  ASSERT_GE(result->context.size(), 12u);
  u32 words[3];
  __builtin_memcpy(words, result->context.data(), sizeof words);
  EXPECT_EQ(words[0], 64u);  // len
  EXPECT_EQ(words[2], 64u);  // mark
  EXPECT_EQ(mark.test_run({.data = packet(0x86, 0xdd), .context = {}, .repeat = 1})->result, 2u);
  const auto length = object->program("length")->test_run({.data = packet(8, 0), .context = {}, .repeat = 1});
  ASSERT_TRUE(length) << length.error().message;
  EXPECT_EQ(length->result, 50u) << "socket filters see the packet without its Ethernet header";
}

TEST_F(TestRunOnPackets, TracingProgramsTakeAContext) {
  Program sum = object->program("sum").value();
  const u64 arguments[2] = {30, 12};
  const auto bytes = std::as_bytes(std::span(arguments));
  const auto result = sum.test_run({.data = {}, .context = {bytes.begin(), bytes.end()}, .repeat = 1});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->result & 0xffffffff, 42u);
  const auto small = sum.test_run({.data = {}, .context = std::vector<std::byte>(8), .repeat = 1});
  ASSERT_FALSE(small);
  EXPECT_NE(small.error().message.find("16"), std::string::npos) << small.error().message;
  EXPECT_FALSE(sum.test_run({.data = packet(8, 0), .context = {}, .repeat = 1}));
}

}  // namespace
}  // namespace skep
