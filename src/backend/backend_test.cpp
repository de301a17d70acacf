// Names, tags, and finding things by name. The tag's expected value was printed by bpftool for the same
// instructions loaded into Linux 6.18.
#include <gtest/gtest.h>

#include <set>
#include <skep/backend.hpp>

#include "backend/names.hpp"
#include "backend/selection.hpp"
#include "backend/tag.hpp"
#include "base/nearest.hpp"

namespace skep::backend {
namespace {

std::string hex(std::span<const u8> bytes) {
  std::string text;
  for (u8 byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

std::string sha256_of(std::string_view text) { return hex(sha256(std::as_bytes(std::span(text)))); }

TEST(Tag, Sha256AnswersTheStandardsExamples) {
  EXPECT_EQ(sha256_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_of(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// r1 = 0; *(u32 *)(r10 - 4) = r1; r2 = r10; r2 += -4; r1 = map; call 1; if r0 == 0 goto +3;
// r1 = *(u64 *)(r0 + 0); r1 += 1; *(u64 *)(r0 + 0) = r1; r0 = 0; exit
std::vector<Insn> counting_program(s32 map_number) {
  return {{0xb7, 1, 0, 0, 0},          {0x63, 10, 1, -4, 0}, {0xbf, 2, 10, 0, 0}, {0x07, 2, 0, 0, -4},
          {0x18, 1, 1, 0, map_number}, {0x00, 0, 0, 0, 0},   {0x85, 0, 0, 0, 1},  {0x15, 0, 0, 3, 0},
          {0x79, 1, 0, 0, 0},          {0x07, 1, 0, 0, 1},   {0x7b, 0, 1, 0, 0},  {0xb7, 0, 0, 0, 0},
          {0x95, 0, 0, 0, 0}};
}

TEST(Tag, IsTheKernelsAndIgnoresMapNumbers) {
  EXPECT_EQ(program_tag(counting_program(0)), "c06ce23c55380c3b");
  EXPECT_EQ(program_tag(counting_program(25)), "c06ce23c55380c3b");
  auto other = counting_program(0);
  other.back().imm = 1;
  EXPECT_NE(program_tag(other), "c06ce23c55380c3b");
}

TEST(Names, AreShortenedAsTheKernelStoresThem) {
  EXPECT_EQ(stored_name("hello"), "hello");
  EXPECT_EQ(stored_name("tracepoint__syscalls__sys_enter"), "tracepoint__sys");
  EXPECT_EQ(stored_name("a-b c"), "a_b_c");
  MapSpec rodata;
  rodata.name = ".rodata";
  rodata.is_global_data = true;
  EXPECT_EQ(stored_map_name("hello", rodata), "hello.rodata");
  EXPECT_EQ(stored_map_name("a_rather_long_object", rodata), "a_rather.rodata");
  rodata.name = ".bss";
  EXPECT_EQ(stored_map_name("a_rather_long_object", rodata), "a_rather.bss");
  rodata.name = ".rodata.str1.16";
  EXPECT_EQ(stored_map_name("hello", rodata), ".rodata.str1.16");
  EXPECT_TRUE(means("tracepoint__syscalls__sys_enter", "tracepoint__sys"));
  EXPECT_FALSE(means("trace", "tracepoint__sys"));
}

TEST(Names, SlipsGetASuggestion) {
  const std::vector<std::string_view> names = {"on_exec", "on_exit", "events"};
  EXPECT_EQ(base::nearest("on_exce", names), "on_exec");
  EXPECT_EQ(base::nearest("evnts", names), "events");
  EXPECT_EQ(base::nearest("something", names), "");
  const Error error = no_such("object x", "map", "evnts", names);
  EXPECT_EQ(error.code, Code::not_found);
  EXPECT_EQ(error.message, "object x has no map \"evnts\"; did you mean \"events\"? It has: on_exec, on_exit, events");
}

struct NamedMap final : Map::Impl {
  explicit NamedMap(std::string name) { info_.name = std::move(name); }
  const MapInfo& info() const override { return info_; }
  Result<std::vector<std::byte>> lookup(std::span<const std::byte>) override { return fail(Code::not_found, ""); }
  Result<void> update(std::span<const std::byte>, std::span<const std::byte>, u64) override { return {}; }
  Result<void> erase(std::span<const std::byte>) override { return {}; }
  Result<std::optional<std::vector<std::byte>>> next_key(std::optional<std::span<const std::byte>>) override {
    return std::nullopt;
  }
  Result<RingReader> open_ring() override { return fail(Code::unsupported, ""); }
  Result<std::vector<std::byte>> take(std::span<const std::byte>) override { return fail(Code::not_found, ""); }
  Result<void> freeze() override { return {}; }
  MapInfo info_;
};

TEST(Object, FindsByFullShortAndSectionName) {
  const Object object(
      "hello", {}, {Map(std::make_shared<NamedMap>("counter_table_o")), Map(std::make_shared<NamedMap>("hello.bss"))});
  EXPECT_EQ(object.map("counter_table_of_users")->info().name, "counter_table_o");
  EXPECT_EQ(object.map(".bss")->info().name, "hello.bss");
  const auto missing = object.map("counter");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::not_found);
  const auto program = object.program("on_exec");
  ASSERT_FALSE(program);
  EXPECT_EQ(program.error().message, "object hello has no program \"on_exec\"; it has no programs at all");
}

ProgramSpec variant(std::string name, std::string group, std::string section) {
  ProgramSpec program;
  program.name = std::move(name);
  program.one_of = std::move(group);
  program.section = std::move(section);
  return program;
}

TEST(Selection, FollowsTailCallsThroughArraysOfArrays) {
  ObjectSpec spec;
  spec.programs = {variant("first", "", "xdp"), variant("second", "", "xdp"), variant("third", "", "xdp"),
                   variant("other", "", "xdp")};
  spec.maps.resize(3);
  spec.maps[0].name = "calls";
  spec.maps[0].slots = {{1, "second"}, {2, "first"}};
  spec.maps[1].name = "nested";
  spec.maps[1].slots = {{0, "inner"}};
  spec.maps[2].name = "inner";
  spec.maps[2].slots = {{0, "third"}, {1, "nobody"}};
  spec.programs[0].references = {{.insn = 0, .kind = Reference::Kind::map, .map = 0}};
  spec.programs[1].references = {{.insn = 0, .kind = Reference::Kind::map, .map = 1}};
  EXPECT_EQ(with_tail_calls(spec, "first"), (std::vector<std::string>{"first", "second", "third"}));
  EXPECT_EQ(with_tail_calls(spec, "third"), std::vector<std::string>{"third"});
  EXPECT_EQ(with_tail_calls(spec, "nobody"), std::vector<std::string>{"nobody"});
}

TEST(Selection, TakesTheFirstThatFitsOfEachGroup) {
  ObjectSpec spec;
  spec.programs = {variant("a1", "a", "?a"), variant("alone", "", "x"), variant("b1", "b", "b"),
                   variant("a2", "a", "?a"), variant("b2", "b", "?b"),  variant("a3", "a", "?a"),
                   variant("c1", "c", "?c"), variant("asked", "", "?x")};
  spec.programs.back().autoload = false;
  std::set<std::string> there = {"a2", "a3", "b1"}, stand_ins = {"a1"};
  const HasHook has_hook = [&](const ProgramSpec& program) -> Result<bool> {
    if (there.contains(program.name)) return true;
    if (stand_ins.contains(program.name)) return false;
    return fail(Code::not_found, "no " + program.name);
  };
  const auto chosen = [&](const std::vector<std::string>& names = {}) {
    std::string text;
    const auto selection = select_programs(spec, names, has_hook);
    if (!selection) return selection.error().message;
    for (const ProgramSpec* program : selection->programs) text += program->name + " ";
    for (const std::string& note : selection->notes) text += note;
    return text;
  };
  const std::string no_c = "programs of \"c\" are left out, because no hook is there:\n  none: no c1";
  EXPECT_EQ(chosen(), "alone b1 a2 " + no_c);
  there = {"b2"};
  EXPECT_EQ(chosen(), "a1 alone b2 " + no_c);
  spec.program("a1")->autoload = false;  // whoever holds the object may take one out
  stand_ins.insert("a3");
  EXPECT_EQ(chosen(), "alone b2 a3 " + no_c);
  EXPECT_EQ(chosen({"asked", "a2"}), "a2 asked ");
  there = {};
  EXPECT_NE(chosen().find("no program of \"b\" has its hook"), std::string::npos) << chosen();
  EXPECT_NE(chosen({"nothing"}).find("nothing"), std::string::npos);
}

TEST(Selection, MembersOfOptionalStructuresWaitToBeAskedFor) {
  ObjectSpec spec;
  spec.programs = {variant("both", "", "struct_ops"), variant("first", "", "struct_ops"),
                   variant("second", "", "struct_ops")};
  MapSpec wanted, optional;
  wanted.name = "wanted";
  optional.name = "optional";
  wanted.type = optional.type = MapType::struct_ops;
  wanted.slots = {{0, "both"}, {8, "first"}};
  optional.slots = {{0, "both"}, {8, "second"}};
  optional.autocreate = false;
  spec.maps = {optional, wanted};
  spec.programs[1].references.push_back({.map = 1});
  const auto names = [&](const std::vector<std::string>& asked) {
    std::string text;
    const auto selection = select_programs(spec, asked, {});
    if (!selection) return selection.error().message;
    for (const ProgramSpec* program : selection->programs) text += program->name + " ";
    return text;
  };
  EXPECT_EQ(names({}), "both first ");
  EXPECT_EQ(names({"second"}), "second ");
  spec.maps[0].autocreate = true;
  EXPECT_EQ(names({}), "both first second ");
  spec.maps[0].autocreate = false;
  drop_optional_maps(spec);
  ASSERT_EQ(spec.maps.size(), 1u);
  EXPECT_EQ(spec.maps[spec.programs[1].references[0].map].name, "wanted");
}

}  // namespace
}  // namespace skep::backend
