// Program arrays of different objects that hold each other's programs: when they let go, as the kernel's do when the
// last descriptor of the array closes.
#include <gtest/gtest.h>

#include <cstring>
#include <skep/backend.hpp>

namespace skep {
namespace {

/// A program that jumps to slot 0 of its array and returns `number` when nothing is there.
ObjectSpec jumper(const std::string& name, s32 number) {
  ObjectSpec spec;
  spec.name = name;
  spec.license = "GPL";
  MapSpec map;
  map.name = "jumps";
  map.type = MapType::prog_array;
  map.key_size = map.value_size = 4;
  map.max_entries = 2;
  spec.maps.push_back(map);
  ProgramSpec made;
  made.name = name;
  made.type = ProgramType::xdp;
  made.section = "xdp";
  const auto add = [&](u8 code, u8 dst, u8 src, s32 imm) {
    Insn insn{};
    insn.code = code;
    insn.dst = dst & 15u;
    insn.src = src & 15u;
    insn.imm = imm;
    made.insns.push_back(insn);
  };
  made.references.push_back({.insn = 0, .kind = Reference::Kind::map, .map = 0});
  add(0x18, 2, 1, 0);
  add(0, 0, 0, 0);
  add(0xb7, 3, 0, 0);
  add(0x85, 0, 0, 12);  // bpf_tail_call(ctx, jumps, 0)
  add(0xb7, 0, 0, number);
  add(0x95, 0, 0, 0);
  made.functions = {{.insn = 0, .name = name}};
  spec.programs.push_back(std::move(made));
  return spec;
}

std::vector<std::byte> word(u32 value) {
  std::vector<std::byte> bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

void jump_to(const Map& from, const Program& target) {
  const auto put = from.update(word(0), word(target.info().id));
  ASSERT_TRUE(put) << put.error().message;
}

u64 verdict(Program program) {
  TestRun run;
  run.data.resize(64);
  const auto result = program.test_run(run);
  EXPECT_TRUE(result) << (result ? "" : result.error().message);
  return result ? result->result : ~u64{0};
}

struct ProgramArrays : ::testing::Test {
  std::unique_ptr<Backend> engine = user_backend({.serve_control_socket = false}).value();
  std::optional<Object> load(const std::string& name, s32 number) {
    auto object = engine->load(jumper(name, number));
    EXPECT_TRUE(object) << (object ? "" : object.error().message);
    return object ? std::optional<Object>(std::move(*object)) : std::nullopt;
  }
  std::size_t programs() { return engine->inspector().programs()->size(); }
};

TEST_F(ProgramArrays, ThatHoldEachOtherAreFreed) {
  auto first = load("first", 1), second = load("second", 2);
  ASSERT_TRUE(first && second);
  jump_to(first->map("jumps").value(), second->programs().front());
  EXPECT_EQ(verdict(first->programs().front()), 2u);
  jump_to(second->map("jumps").value(), first->programs().front());
  EXPECT_EQ(programs(), 2u);
  second.reset();
  EXPECT_EQ(programs(), 2u) << "a program in a slot lives";
  EXPECT_EQ(verdict(first->programs().front()), 2u) << "the second's array is empty now: nobody can change it";
  first.reset();
  EXPECT_EQ(programs(), 0u);
  EXPECT_TRUE(engine->inspector().maps()->empty());
}

TEST_F(ProgramArrays, KeepTheirContentsAsLongAsAnyHandleOfTheObject) {
  auto first = load("first", 1), second = load("second", 2);
  ASSERT_TRUE(first && second);
  std::optional<Program> program = first->programs().front();
  jump_to(first->map("jumps").value(), second->programs().front());
  first.reset();
  second.reset();
  EXPECT_EQ(verdict(*program), 2u);
  program.reset();
  EXPECT_EQ(programs(), 0u);
}

TEST_F(ProgramArrays, OfOneObjectAndInACircleOfThree) {
  auto alone = load("alone", 1);
  ASSERT_TRUE(alone);
  jump_to(alone->map("jumps").value(), alone->programs().front());
  EXPECT_EQ(verdict(alone->programs().front()), 1u) << "after 33 jumps";
  alone.reset();
  EXPECT_EQ(programs(), 0u);
  std::optional<Object> objects[3];
  for (int i = 0; i < 3; ++i) objects[i] = load("part" + std::to_string(i), i);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(objects[i]);
    jump_to(objects[i]->map("jumps").value(), objects[(i + 1) % 3]->programs().front());
  }
  for (auto& object : objects) object.reset();
  EXPECT_EQ(programs(), 0u);
}

TEST_F(ProgramArrays, AreReachedAgainThroughTheirIds) {
  auto first = load("first", 1), second = load("second", 2);
  ASSERT_TRUE(first && second);
  const u32 id = second->map("jumps")->info().id;
  jump_to(first->map("jumps").value(), second->programs().front());
  second.reset();
  {
    auto found = engine->inspector().map(id);
    ASSERT_TRUE(found) << "held by the first's array, so it has its id";
    jump_to(*found, first->programs().front());
    EXPECT_EQ(verdict(first->programs().front()), 2u) << "after 33 jumps";
  }
  first.reset();
  EXPECT_EQ(programs(), 0u);
}

}  // namespace
}  // namespace skep
