// Types made with the Builder and read back; types that lie; the kernel's own.
#include "btf/btf.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "btf/builder.hpp"
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
  for (int i = 0; i < 10; i++) {  // the first look-ups scan, later ones use the index
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
