// Folded lines and flame graphs.
#include "symbols/flame_graph.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "base/mapped_file.hpp"
#include "base/split.hpp"

extern "C" __attribute__((noipa, used, visibility("default"))) int skep_flame_landmark(int value) { return value + 2; }

namespace skep::symbols {
namespace {

std::vector<std::byte> bytes_of(std::initializer_list<u64> words) {
  std::vector<std::byte> bytes(words.size() * 8);
  std::memcpy(bytes.data(), std::data(words), bytes.size());
  return bytes;
}

TEST(StackValues, EndAtTheFirstZero) {
  EXPECT_EQ(stack_addresses(bytes_of({3, 2, 1, 0, 7})), (std::vector<u64>{3, 2, 1}));
  EXPECT_TRUE(stack_addresses(bytes_of({0})).empty());
  EXPECT_TRUE(stack_addresses({}).empty());
  auto odd = bytes_of({3, 2});
  odd.resize(12);
  EXPECT_EQ(stack_addresses(odd), (std::vector<u64>{3}));
}

TEST(StackValues, BuildIdsOfBothLengths) {
  std::vector<std::byte> value(4 * 32 + 5);
  const auto put = [&](std::size_t index, s32 status, int id_size, u64 place) {
    std::byte* const at = value.data() + index * 32;
    std::memcpy(at, &status, 4);
    std::memset(at + 4, 0xab, static_cast<std::size_t>(id_size));
    std::memcpy(at + 24, &place, 8);
  };
  put(0, 1, 20, 0x1234);
  put(1, 1, 16, 0x10);
  put(2, 2, 0, 0x7f00);
  const auto places = stack_build_ids(value);
  ASSERT_EQ(places.size(), 3u);  // the fourth has status 0
  EXPECT_EQ(places[0].build_id.size(), 40u);
  EXPECT_EQ(places[1].build_id, std::string("abababababababababababababababab"));
  EXPECT_EQ(places[1].place, 0x10u);
  EXPECT_TRUE(places[2].build_id.empty() && places[2].place == 0x7f00);
}

TEST(StackValues, AreNamed) {
  Symbolizer symbolizer;
  const auto here = reinterpret_cast<u64>(&skep_flame_landmark);
  const auto frames = symbolizer.user_stack(static_cast<u32>(::getpid()), stack_addresses(bytes_of({here + 1, 16, 0})));
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].name, "skep_flame_landmark");
  // The same place by the build id of this program, found through its mappings.
  Symbolizer fresh;
  const base::Fd self(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  auto image = elf::FileImage::open(self.get());
  ASSERT_TRUE(image) << image.error().message;
  const std::string id = build_id(*image);
  if (id.size() != 40) GTEST_SKIP() << "the linker wrote no build id of 20 bytes";
  std::vector<std::byte> value(32);
  const s32 status = 1;
  std::memcpy(value.data(), &status, 4);
  for (std::size_t i = 0; i < 20; ++i) value[4 + i] = std::byte(std::stoul(id.substr(2 * i, 2), nullptr, 16));
  std::memcpy(value.data() + 24, &frames[0].module_offset, 8);
  EXPECT_EQ(fresh.build_id_stack(0, stack_build_ids(value))[0].name, "");
  EXPECT_EQ(fresh.build_id_stack(static_cast<u32>(::getpid()), stack_build_ids(value))[0].name, "skep_flame_landmark");
}

TEST(Folded, LinesAddUp) {
  FoldedStacks stacks;
  const std::vector<std::string> inner = {"c", "b", "a"}, strange = {"x;y\nz", "a"};
  stacks.add(folded(inner), 2);
  stacks.add(folded(inner), 3);
  stacks.add(folded(strange), 1);
  stacks.add(folded({}), 4);
  EXPECT_EQ(stacks.lines(), (std::map<std::string, u64>{{"[no stack]", 4}, {"a;b;c", 5}, {"a;x:y_z", 1}}));
  stacks.add(folded(inner), ~u64{0});
  EXPECT_EQ(stacks.lines().at("a;b;c"), ~u64{0});
  constexpr FrameStyle marks{.folded = true, .kernel = true};
  const std::string named[] = {text({.address = 1, .name = "schedule", .is_kernel = true}, marks),
                               text({.address = 2, .name = "g", .is_inlined = true}, marks),
                               text({.address = 2, .name = "_Z1fv"}, marks)};
  EXPECT_EQ(folded(named), "f();g_[i];schedule_[k]");
}

/// Of lines "outermost;...;innermost count".
FoldedStacks stacks_of(std::string_view lines) {
  FoldedStacks stacks;
  for (const std::string& line : base::split(lines, '\n'))
    if (const auto space = line.rfind(' '); space != line.npos)
      stacks.add(line.substr(0, space), std::stoull(line.substr(space + 1)));
  return stacks;
}

/// What an XML reader would say of the picture: every tag closed, every attribute quoted, no stray markup.
void expect_well_formed(std::string_view svg) {
  std::vector<std::string> open;
  for (std::size_t at = 0; (at = svg.find('<', at)) != svg.npos;) {
    if (svg.substr(at, 9) == "<![CDATA[") {
      at = svg.find("]]>", at);
      ASSERT_NE(at, svg.npos);
      continue;
    }
    const auto end = svg.find('>', at);
    ASSERT_NE(end, svg.npos);
    std::string_view tag = svg.substr(at + 1, end - at - 1);
    at = end;
    ASSERT_EQ(tag.find('<'), tag.npos) << tag;
    ASSERT_EQ(std::count(tag.begin(), tag.end(), '"') % 2, 0) << tag;
    if (tag.front() == '?') continue;
    const std::string name(tag.substr(0, tag.find_first_of(" /", 1)));
    if (tag.front() == '/') {
      ASSERT_FALSE(open.empty());
      ASSERT_EQ("/" + open.back(), name);
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
  }
  EXPECT_TRUE(open.empty());
  for (std::size_t at = 0; (at = svg.find('&', at)) != svg.npos && at < svg.find("<script"); ++at) {
    const auto entity = svg.substr(at, svg.find(';', at) - at);
    EXPECT_TRUE(entity == "&amp" || entity == "&lt" || entity == "&gt" || entity == "&quot" || entity == "&#39")
        << entity;
  }
  for (const char c : svg) ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 || c == '\n');
}

TEST(FlameGraph, BoxesAreAsWideAsTheirShare) {
  const auto stacks = stacks_of("main;work;inner 60\nmain;work 20\nmain;rest 20\n");
  const std::string svg = flame_graph(stacks, {.title = "T", .unit = "ms", .width = 1020});
  expect_well_formed(svg);
  EXPECT_NE(svg.find("<title>all: 100 ms (100.00%)</title>"), svg.npos);
  EXPECT_NE(svg.find("<title>work: 80 ms (80.00%)</title>"), svg.npos);
  EXPECT_NE(svg.find("<title>inner: 60 ms (60.00%)</title><rect x=\"210.00\" y=\"44\" width=\"600.00\""), svg.npos)
      << svg;
  EXPECT_NE(svg.find("<title>rest: 20 ms (20.00%)</title><rect x=\"10.00\" y=\"61\" width=\"200.00\""), svg.npos)
      << svg;
  EXPECT_EQ(svg, flame_graph(stacks, {.title = "T", .unit = "ms", .width = 1020}));  // nothing by chance
}

TEST(FlameGraph, NamesAreNoMarkup) {
  const auto stacks = stacks_of(
      "<script>alert(1)</script>;a&b\"'><g onload=x;]]>;\x1b[31m\xff;std::vector<int>::at 10\n"
      "\xef\xbf\xbf\xef\xbf\xbe;gr\xc3\xbc\xc3\x9f"
      "e_sehr_lang_sehr_lang_sehr_lang_sehr_lang 10\n");
  const std::string svg = flame_graph(stacks, {.title = "<&>\"", .width = 300});
  expect_well_formed(svg);
  EXPECT_EQ(svg.find("<script>alert"), svg.npos);
  EXPECT_EQ(svg.find("<g onload"), svg.npos);
  EXPECT_NE(svg.find("std::vector&lt;int&gt;::at"), svg.npos);
  EXPECT_NE(svg.find("\\x1b[31m\\xff"), svg.npos);
}

TEST(FlameGraph, NarrowBoxesAndDeepStacksAreBounded) {
  std::string text = "a;b 1000000\na;narrow 1\n", deep = "a";
  for (int i = 0; i < 5000; ++i) deep += ";x";
  text += deep + " 1000000\n";
  const std::string svg = flame_graph(stacks_of(text));
  expect_well_formed(svg);
  EXPECT_EQ(svg.find("narrow:"), svg.npos);
  EXPECT_LT(svg.size(), 1u << 20);
  const std::string empty = flame_graph({});
  expect_well_formed(empty);
  EXPECT_NE(empty.find("no stacks were recorded"), empty.npos);
}

}  // namespace
}  // namespace skep::symbols
