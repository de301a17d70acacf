// Types made with the Builder and read back; types that lie; the kernel's own.
#include "btf/btf.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <random>
#include <unordered_map>

#include "btf/builder.hpp"
#include "btf/core.hpp"
#include "btf/data.hpp"
#include "btf/dump_c.hpp"
#include "btf/dump_raw.hpp"
#include "btf/ext.hpp"
#include "btf/format_value.hpp"
#include "btf/test_support.hpp"

namespace skep::btf {
namespace {

using Encoding = Builder::Encoding;

struct Sample {
  std::shared_ptr<const Btf> btf;
  u32 int_id, char_id, name_id, point_id, alias_id;
};

/// int, char[16], struct point { int x; int y:5; unsigned :3; char name[16]; }, typedef struct point point_t
Sample sample() {
  Builder b;
  Sample s{};
  s.int_id = b.add_int("int", 4, Encoding::signed_);
  s.char_id = b.add_int("char", 1, Encoding::signed_);
  s.name_id = b.add_array(s.char_id, s.int_id, 16);
  const Builder::NewMember members[] = {{"x", s.int_id, 0}, {"y", s.int_id, 32, 5}, {"name", s.name_id, 64}};
  s.point_id = b.add_struct("point", 24, members);
  s.alias_id = b.add_modifier(Kind::const_, {}, b.add_modifier(Kind::typedef_, "point_t", s.point_id));
  auto built = b.build();
  EXPECT_TRUE(built) << (built ? "" : built.error().message);
  s.btf = *built;
  return s;
}

TEST(Btf, WhatIsBuiltCanBeRead) {
  const auto s = sample();
  EXPECT_EQ(s.btf->type_count(), 7U);
  EXPECT_EQ(s.btf->type(0).kind, Kind::void_);
  const auto point = s.btf->type(s.point_id);
  EXPECT_EQ(point.name, "point");
  const auto members = s.btf->members(point);
  ASSERT_EQ(members.size(), 3U);
  EXPECT_EQ(members[1].name, "y");
  EXPECT_EQ(members[1].bit_offset, 32U);
  EXPECT_EQ(members[1].bit_size, 5U);
  EXPECT_EQ(s.btf->resolve(s.alias_id), s.point_id);
  EXPECT_EQ(*s.btf->size_of(s.alias_id), 24U);
  EXPECT_EQ(s.btf->align_of(s.alias_id), 4U);
  EXPECT_EQ(*s.btf->size_of(s.name_id), 16U);
  EXPECT_TRUE(s.btf->int_encoding(s.btf->type(s.int_id)).is_signed);
  EXPECT_FALSE(s.btf->size_of(0)) << "void has no size";
}

TEST(Btf, FindsByNameBeforeAndAfterTheIndexIsBuilt) {
  const auto s = sample();
  for (int i = 0; i < 300; i++) {  // the first 200 names are searched for, then there is an index
    EXPECT_EQ(s.btf->find(fmt::format("name{}", i), Kind::struct_), std::nullopt);
    EXPECT_EQ(s.btf->find("point", Kind::struct_), s.point_id);
    EXPECT_EQ(s.btf->find("point", Kind::union_), std::nullopt);
    EXPECT_EQ(s.btf->find("", Kind::struct_), std::nullopt);
  }
}

TEST(Btf, EssentialNames) {
  EXPECT_EQ(essential_name("task_struct___old"), "task_struct");
  EXPECT_EQ(essential_name("a___b___c"), "a___b");
  EXPECT_EQ(essential_name("___x"), "___x");
  EXPECT_EQ(essential_name("x___"), "x___");
  EXPECT_EQ(essential_name("x____y"), "x____y") << "four underscores separate nothing";
  EXPECT_EQ(essential_name("trace_event_raw_x"), "trace_event_raw_x");
  EXPECT_EQ(essential_name("ab"), "ab");
}

TEST(Btf, CandidatesIgnoreFlavours) {
  Builder b;
  const u32 plain = b.add_struct("s", 1, {});
  const u32 old = b.add_struct("s___old", 2, {});
  b.add_struct("s_other", 3, {});
  const auto btf = *b.build();
  EXPECT_EQ(btf->candidates("s"), (std::vector<u32>{plain, old}));
  EXPECT_TRUE(btf->candidates("").empty());
}

TEST(Btf, TagsDoNotTellFlavoursApart) {
  std::mt19937 random(20261129);
  const auto tag_of = [](const std::string& name, char behind) {
    char head[32];
    std::memset(head, behind, sizeof head);
    head[name.copy(head, sizeof head - 1)] = 0;
    u64 word = 0;
    std::memcpy(&word, head, sizeof word);
    const auto tag = name_tag(word);
    return tag.first << 8 | tag.second;
  };
  int flavoured = 0;
  for (int round = 0; round < 200'000; round++) {
    std::string name;
    for (u32 length = 1 + random() % 12; name.size() < length;) name += random() % 2 != 0 ? '_' : "abz"[random() % 3];
    const std::string essential(essential_name(name));
    flavoured += essential != name;
    ASSERT_EQ(tag_of(name, 'x'), tag_of(essential, '_')) << name;
    ASSERT_NE(tag_of(name, 'x') >> 8, 0) << name;
  }
  EXPECT_GT(flavoured, 1000);
  EXPECT_EQ(tag_of("", 'x'), 0);
}

TEST(Btf, ManyTypesAreFoundByNumberAndByName) {
  Builder b;
  constexpr u32 count = 60'001;  // more than a megabyte: not every type's place is kept
  const u32 int_id = b.add_int("int", 4);
  for (u32 i = 1; i < count; i++) {
    const std::string name = fmt::format("m{}", i);
    const Builder::NewMember member[] = {{name, int_id, 0}};
    if (i % 3 == 0)
      b.add_pointer(i);
    else
      b.add_struct(fmt::format("s{}", i), i, member);
  }
  const auto built = *b.build();
  const auto read = Btf::parse({built->bytes().begin(), built->bytes().end()}, nullptr, Check::frame);
  ASSERT_TRUE(read) << read.error().message;
  for (const auto& btf : {built, *read}) {
    ASSERT_EQ(btf->type_count(), count + 1);
    for (u32 i = 1; i < count; i++) {
      const auto t = btf->type(i + 1);
      ASSERT_EQ(t.size_or_type, i);
      ASSERT_EQ(t.name, i % 3 == 0 ? "" : fmt::format("s{}", i));
      if (t.kind == Kind::struct_) {
        ASSERT_EQ(btf->member(t, 0).name, fmt::format("m{}", i));
      }
    }
    for (u32 i = 1; i < count; i += 97) {
      const auto expected = i % 3 == 0 ? std::nullopt : std::optional(i + 1);
      ASSERT_EQ(btf->find(fmt::format("s{}", i), Kind::struct_), expected);
    }
    EXPECT_EQ(btf->type(count + 1).kind, Kind::void_) << "an id beyond the last";
  }
}

TEST(Btf, EnumeratorsKeepTheirSign) {
  Builder b;
  const Enumerator values[] = {{"minus", -1}, {"plus", 1}};
  const Enumerator large[] = {{"huge", 1LL << 40}};
  const Enumerator top[] = {{"top", 0xffffffffLL}};
  const u32 is_signed = b.add_enum("a", 4, true, values);
  const u32 is_large = b.add_enum64("b", false, large);
  const u32 is_unsigned = b.add_enum("c", 4, false, top);
  const auto btf = *b.build();
  EXPECT_EQ(btf->enumerators(btf->type(is_signed))[0].value, -1);
  EXPECT_EQ(btf->enumerators(btf->type(is_large))[0].value, 1LL << 40);
  EXPECT_EQ(btf->enumerators(btf->type(is_unsigned))[0].value, 0xffffffffLL);
}

TEST(Btf, SplitTypesContinueTheBase) {
  const auto s = sample();
  // A split part: one struct that holds a base type, with its names after the base's.
  const std::string strings("\0module_state\0inner", 20);
  std::vector<u32> words = {0x0001eb9f, 24, 0, 24, 24, static_cast<u32>(strings.size())};
  u32 string_length = 0;
  std::memcpy(&string_length, s.btf->bytes().data() + 20, 4);
  words.insert(words.end(), {string_length + 1, 4U << 24 | 1, 24, string_length + 14, s.alias_id, 0});
  std::vector<std::byte> bytes(words.size() * 4 + strings.size());
  std::memcpy(bytes.data(), words.data(), words.size() * 4);
  std::memcpy(bytes.data() + words.size() * 4, strings.data(), strings.size());
  const auto part = Btf::parse(bytes, s.btf);
  ASSERT_TRUE(part) << part.error().message;
  const auto own = (*part)->find("module_state", Kind::struct_);
  ASSERT_TRUE(own);
  EXPECT_EQ(*own, s.btf->type_count());
  EXPECT_EQ((*part)->find("point", Kind::struct_), s.point_id);
  const auto member = (*part)->member((*part)->type(*own), 0);
  EXPECT_EQ(member.name, "inner");
  EXPECT_EQ((*part)->resolve(member.type_id), s.point_id);
}

TEST(Btf, BuilderEditsInPlace) {
  Builder b;
  const u32 int_id = b.add_int("int", 4);
  const u32 var = b.add_var("counter", int_id, 2);
  const SecVar entries[] = {{var, 0, 4}};
  const u32 section = b.add_datasec(".ksyms", 0, entries);
  const Param params[] = {{"", int_id}};
  const u32 proto = b.add_func_proto(int_id, params);
  const u32 func = b.add_func("f", proto, 2);
  auto copy = Builder::copy_of(**b.build());
  const SecVar moved[] = {{var, 8, 4}};
  copy.set_section(section, 12, moved);
  copy.set_linkage(var, 1);
  copy.set_linkage(func, 1);
  copy.set_param_name(proto, 0, "first");
  copy.rename(int_id, "s32");
  const auto btf = *copy.build();
  EXPECT_EQ(btf->type(section).size(), 12U);
  EXPECT_EQ(btf->section_vars(btf->type(section))[0].offset, 8U);
  EXPECT_EQ(btf->linkage(btf->type(var)), 1U);
  EXPECT_EQ(btf->linkage(btf->type(func)), 1U);
  EXPECT_EQ(btf->params(btf->type(proto))[0].name, "first");
  EXPECT_EQ(btf->type(int_id).name, "s32");
}

TEST(Btf, RefusesReferencesOutOfRange) {
  Builder b;
  b.add_pointer(99);
  const auto refused = b.build();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "BTF type 1: refers to type 99, but there are 2");
}

TEST(Btf, RefusesCirclesThatResolvingWouldFollow) {
  Builder modifiers;
  modifiers.add_modifier(Kind::const_, {}, 2);
  modifiers.add_modifier(Kind::typedef_, "t", 1);
  ASSERT_FALSE(modifiers.build());
  Builder arrays;
  arrays.add_array(1, 1, 2);
  ASSERT_FALSE(arrays.build());
  Builder pointers;  // a pointer to itself hangs nothing
  pointers.add_pointer(1);
  EXPECT_TRUE(pointers.build());
}

TEST(Btf, SizesThatOverflowAreErrors) {
  Builder b;
  const u32 int_id = b.add_int("int", 4);
  u32 id = int_id;
  for (int i = 0; i < 3; i++) id = b.add_array(id, int_id, 0x40000000);
  const auto btf = *b.build();
  EXPECT_EQ(btf->size_of(id).error().code, Code::malformed);
}

TEST(Btf, StructsThatContainThemselvesEndSomewhere) {
  Builder b;
  const Builder::NewMember twice[] = {{"a", 1, 0}, {"b", 1, 0}};
  b.add_struct("knot", 8, twice);
  const auto btf = *b.build();
  EXPECT_GE(btf->align_of(1), 1U);
  const std::vector<std::byte> value(8);
  EXPECT_EQ(format_value(*btf, 1, value).error().code, Code::limit);
  EXPECT_EQ(dump_c(*btf).error().code, Code::malformed);
}

/// Records that hold each other twice, many levels deep: 2^n ways to the innermost, whose alignment is everybody's.
TEST(Btf, AlignmentsOfDeepNestsAreFoundOnce) {
  Builder b;
  const u32 word = b.add_int("word", 8);
  const Builder::NewMember leaf[] = {{"a", word, 0}};
  u32 record = b.add_struct("leaf", 8, leaf);
  constexpr u32 levels = 2000;
  for (u32 level = 0; level < levels; level++) {
    const Builder::NewMember twice[] = {{"a", record, 0}, {"b", record, 0}};
    record = b.add_union("nest", 8, twice);
  }
  const auto btf = *b.build();
  const std::clock_t began = std::clock();
  EXPECT_EQ(btf->align_of(record), 8U) << "through all levels";
  for (u32 id = 1; id < btf->type_count(); id++) EXPECT_EQ(btf->align_of(id), 8U);
  EXPECT_LT((std::clock() - began) / CLOCKS_PER_SEC, 2);
}

TEST(Btf, MutatedTypesNeverFault) {
  const auto s = sample();
  const std::vector<std::byte> bytes(s.btf->bytes().begin(), s.btf->bytes().end());
  std::mt19937 random(20240501);
  int accepted = 0;
  for (int round = 0; round < 5000; round++) {
    auto copy = bytes;
    for (u32 change = 0; change <= random() % 4; change++)
      copy[random() % copy.size()] = static_cast<std::byte>(random());
    if (random() % 8 == 0) copy.resize(random() % copy.size());
    const auto btf = Btf::parse(copy);
    if (!btf) continue;
    accepted++;
    const std::vector<std::byte> value(64, std::byte{0x31});
    for (u32 id = 0; id < (*btf)->type_count(); id++) {
      (void)(*btf)->size_of(id);
      (void)(*btf)->align_of(id);
      (void)format_value(**btf, id, value);
    }
    (void)dump_raw(**btf);
    (void)dump_c(**btf);
  }
  EXPECT_GT(accepted, 500) << "the mutations must not all be caught at the door";
}

/// What CO-RE and attaching do with types whose references nobody proved.
void look_around(const Btf& btf) {
  for (u32 id = 0; id < btf.type_count() + 2; id++) {
    const auto t = btf.type(id);
    (void)btf.type(btf.resolve(id));
    (void)btf.size_of(id);
    (void)btf.align_of(id);
    (void)btf.find(t.name, t.kind);
    (void)btf.enumerators(t);
    (void)btf.candidates(essential_name(t.name));
    for (const auto& member : btf.members(t)) (void)btf.type(btf.resolve(member.type_id));
    for (const auto& param : btf.params(t)) (void)btf.type(btf.resolve(param.type_id));
    for (const auto& entry : btf.section_vars(t)) (void)btf.type(btf.resolve(entry.type_id));
    for (const u32 kind : {0U, 1U, 2U, 8U, 9U, 12U})
      if (t.kind != Kind::void_) (void)resolve(btf, {.insn = 0, .type_id = id, .access = "0:1:0", .kind = kind}, btf);
  }
}

TEST(Btf, UnprovedTypesNeverFault) {
  const auto s = sample();
  const std::vector<std::byte> bytes(s.btf->bytes().begin(), s.btf->bytes().end());
  std::mt19937 random(20261129);
  int accepted = 0, beyond_proof = 0;
  for (int round = 0; round < 5000; round++) {
    auto copy = bytes;
    for (u32 change = 0; change <= random() % 4; change++)
      copy[random() % copy.size()] = static_cast<std::byte>(random());
    const auto btf = Btf::parse(copy, nullptr, Check::frame);
    if (!btf) continue;
    accepted++;
    beyond_proof += !Btf::parse(copy);
    look_around(**btf);
  }
  EXPECT_GT(accepted, 500);
  EXPECT_GT(beyond_proof, 100);
}

TEST(Btf, UnprovedCirclesEnd) {
  Builder b;
  b.add_modifier(Kind::const_, {}, 2);
  b.add_modifier(Kind::typedef_, "t", 1);
  b.add_array(3, 3, 1);
  const Builder::NewMember members[] = {{"a", 3, 0}, {"b", 99, 0}, {"c", 2, 0}};
  b.add_struct("s", 8, members);
  const auto btf = *Btf::parse(b.bytes(), nullptr, Check::frame);
  EXPECT_EQ(btf->resolve(1), 0U);
  EXPECT_EQ(btf->resolve(99), 0U);
  EXPECT_FALSE(btf->size_of(3));
  EXPECT_FALSE(btf->size_of(99));
  look_around(*btf);
}

TEST(Btf, OnlyWhatTheKernelServesIsTakenAtItsWord) {
  Builder b;
  b.add_pointer(99);
  const test::TemporaryDirectory directory;
  const auto bytes = b.bytes();
  const auto path = directory.write("vmlinux", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  EXPECT_FALSE(Btf::from_file(path));
}

TEST(Btf, ReadsTheRunningKernel) {
  if (!test::has_kernel_btf()) GTEST_SKIP() << "no " << test::kernel_btf;
  const auto btf = Btf::from_file(test::kernel_btf);
  ASSERT_TRUE(btf) << btf.error().message;
  const auto task = (*btf)->find("task_struct", Kind::struct_);
  ASSERT_TRUE(task);
  EXPECT_GT(*(*btf)->size_of(*task), 1000U);
  bool has_pid = false;
  for (const auto& member : (*btf)->members((*btf)->type(*task))) has_pid |= member.name == "pid";
  EXPECT_TRUE(has_pid);
}

TEST(Btf, FindsWhatAWalkThroughTheRunningKernelFinds) {
  if (!test::has_kernel_btf()) GTEST_SKIP() << "no " << test::kernel_btf;
  const auto all = *Btf::from_file(test::kernel_btf);
  std::unordered_map<std::string, std::vector<u32>> by_name;
  for (u32 id = 1; id < all->type_count(); id++)
    if (const auto name = essential_name(all->type(id).name); !name.empty()) by_name[std::string(name)].push_back(id);
  std::vector<std::string> names;
  for (const auto& [name, ids] : by_name) names.push_back(name);
  std::ranges::sort(names);
  std::shared_ptr<const Btf> btf;
  for (std::size_t i = 0; i < names.size(); i += 37) {
    if (i % (37 * 150) == 0) btf = *Btf::from_file(test::kernel_btf);  // before there is an index
    for (const auto& types : {btf, all}) {
      std::vector<u32> found = types->candidates(names[i]);
      for (const u32 id : by_name[names[i]]) {
        const auto t = types->type(id);
        if (t.kind == Kind::var || t.kind == Kind::datasec || t.kind == Kind::decl_tag || t.kind == Kind::type_tag)
          found.push_back(id);
        const auto first = types->find(t.name, t.kind);
        ASSERT_TRUE(first && *first <= id) << t.name;
      }
      std::ranges::sort(found);
      ASSERT_EQ(found, by_name[names[i]]) << names[i];
    }
  }
}

TEST(Ext, RefusesTablesThatLie) {
  const auto s = sample();
  std::vector<u32> words = {0x0001eb9f, 24, 0, 20, 20, 0, 8, 1, 1, 0, s.int_id};
  auto parse = [&] { return Ext::parse(std::as_bytes(std::span(words)), *s.btf); };
  const auto good = parse();
  ASSERT_TRUE(good) << good.error().message;
  ASSERT_EQ(good->functions.size(), 1U);
  EXPECT_EQ(good->functions[0].name, "int");
  EXPECT_EQ(good->functions[0].records[0].type_id, s.int_id);
  words[10] = 1000;
  EXPECT_NE(parse().error().message.find("type 1000"), std::string::npos);
  words[10] = s.int_id;
  words[8] = 2;
  EXPECT_NE(parse().error().message.find("exceed the table"), std::string::npos);
  words[8] = 1;
  words[6] = 4;
  EXPECT_NE(parse().error().message.find("records of 4 bytes"), std::string::npos);
  words[3] = 1000;
  EXPECT_NE(parse().error().message.find("lie outside"), std::string::npos);
}

}  // namespace
}  // namespace skep::btf
