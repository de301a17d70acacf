// Blocks and edges of small programs, pictures that are well formed, and edit scripts that rebuild their target.
#include "inspect/graph.hpp"

#include <gtest/gtest.h>

#include <random>

#include "inspect/diff.hpp"
#include "isa/text.hpp"

namespace skep::inspect {
namespace {

ProgramCode program(std::string_view text) {
  ProgramCode code;
  code.insns = isa::assemble(text).value();
  return code;
}

TEST(Graph, FindsBlocksAndEdges) {
  const auto blocks = blocks_of(program("r0 = 0\nif r1 == 0 goto +2\nr0 = 1\ngoto -3\nexit\n"));
  ASSERT_EQ(blocks.size(), 4u);
  EXPECT_EQ(blocks[0].next, 1);  // r0 = 0 falls into the loop's head
  EXPECT_EQ(blocks[0].taken, -1);
  EXPECT_EQ(blocks[1].next, 2);
  EXPECT_EQ(blocks[1].taken, 3);
  EXPECT_EQ(blocks[2].taken, 1);  // back
  EXPECT_EQ(blocks[2].next, -1);
  EXPECT_EQ(blocks[3].next, -1);
  EXPECT_EQ(blocks[3].end, 5u);
}

TEST(Graph, KeepsWideInstructionsWholeAndFunctionsApart) {
  auto code = program("r1 = 0x1 ll\ncall pc+1\nexit\nr0 = 2\nexit\n");
  code.functions = {{0, 0, "main", true}, {4, 0, "helper", false}};
  const auto blocks = blocks_of(code);
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[0].end, 4u);
  EXPECT_EQ(blocks[1].function, 1u);
  const auto dot = graph_as_dot(code, false);
  EXPECT_NE(dot.find("label=\"helper\""), std::string::npos);
  EXPECT_NE(graph_as_svg(code, false).find("<svg"), std::string::npos);
}

TEST(Graph, SurvivesWhatAPeerSays) {
  ProgramCode code;
  EXPECT_TRUE(blocks_of(code).empty());
  (void)graph_as_svg(code, false);
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    code.insns.assign(1 + random() % 40, Insn{});
    for (auto& insn : code.insns)
      insn = {static_cast<u8>(random()), static_cast<u8>(random() & 15), static_cast<u8>(random() & 15),
              static_cast<s16>(random()), static_cast<s32>(random())};
    code.functions = {{static_cast<u32>(random() % 50), 0, "<\"&{", false}, {static_cast<u32>(random()), 0, "", false}};
    code.lines = {{static_cast<u32>(random() % 50), "f.c", "a < b && \"c\" | d", 1, 1}};
    u32 at = 0;
    for (const Block& block : blocks_of(code)) {
      EXPECT_EQ(block.begin, at);
      at = block.end;
      EXPECT_LE(block.next, 40);
      EXPECT_LE(block.taken, 40);
    }
    EXPECT_EQ(at, code.insns.size());
    EXPECT_EQ(graph_as_svg(code, false).find("&& "), std::string::npos);
    (void)graph_as_dot(code, false);
  }
}

TEST(Diff, RebuildsTheSecondListWithFewEdits) {
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    std::vector<std::string> a(random() % 30);
    for (auto& text : a) text = std::to_string(random() % 6);
    auto b = a;
    const unsigned changes = random() % 5;
    for (unsigned i = 0; i < changes; ++i) {
      if (!b.empty() && random() % 2 == 0)
        b.erase(b.begin() + static_cast<long>(random() % b.size()));
      else
        b.insert(b.begin() + static_cast<long>(random() % (b.size() + 1)), "new" + std::to_string(i));
    }
    std::vector<std::string> rebuilt;
    std::size_t read = 0, edits = 0;
    for (const Edit& edit : edits_between(a, b)) {
      if (edit.kind != Edit::Kind::added) {
        EXPECT_EQ(edit.before, read++);
      }
      if (edit.kind != Edit::Kind::removed) rebuilt.push_back(b[edit.after]);
      if (edit.kind == Edit::Kind::same) {
        EXPECT_EQ(a[edit.before], b[edit.after]);
      } else {
        ++edits;
      }
    }
    EXPECT_EQ(read, a.size());
    EXPECT_EQ(rebuilt, b);
    EXPECT_LE(edits, changes);
  }
}

}  // namespace
}  // namespace skep::inspect
