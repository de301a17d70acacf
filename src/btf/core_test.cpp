// CO-RE: every relocation kind against targets that differ from the program's types in one way each.
#include "btf/core.hpp"

#include <gtest/gtest.h>

#include "btf/builder.hpp"

namespace skep::btf {
namespace {

using Encoding = Builder::Encoding;

CoreRelocation relocation(u32 type_id, const char* access, CoreKind kind) {
  return {.insn = 0, .type_id = type_id, .access = access, .kind = static_cast<u32>(kind)};
}

/// struct s { int a; u32 b; } with `padding` bytes in front, `b` of `b_size` bytes.
struct Pair {
  std::shared_ptr<const Btf> btf;
  u32 s;
};
Pair plain(u32 padding = 0, u32 b_size = 4, Encoding b_encoding = Encoding::unsigned_, const char* name = "s") {
  Builder b;
  const u32 int_id = b.add_int("int", 4, Encoding::signed_);
  const u32 wide = b.add_int("number", b_size, b_encoding);
  const Builder::NewMember members[] = {{"a", int_id, padding * 8}, {"b", wide, (padding + 4) * 8}};
  const u32 s = b.add_struct(name, padding + 4 + b_size, members);
  return {*b.build(), s};
}

TEST(Core, FieldsMove) {
  const auto local = plain();
  const auto target = plain(16, 4, Encoding::unsigned_, "s___v2");
  const auto offset = resolve(*local.btf, relocation(local.s, "0:1", CoreKind::field_byte_offset), *target.btf);
  ASSERT_TRUE(offset) << offset.error().message;
  EXPECT_TRUE(offset->found);
  EXPECT_EQ(offset->original, 4U);
  EXPECT_EQ(offset->value, 20U);
  EXPECT_FALSE(offset->poison);
  const auto element = resolve(*local.btf, relocation(local.s, "2:0", CoreKind::field_byte_offset), *target.btf);
  EXPECT_EQ(element->original, 16U) << "element 2 of an array of structs of 8 bytes";
  EXPECT_EQ(element->value, 2U * 24 + 16);
  EXPECT_EQ(resolve(*local.btf, relocation(local.s, "0:0", CoreKind::field_exists), *target.btf)->value, 1U);
  EXPECT_EQ(resolve(*local.btf, relocation(local.s, "0:0", CoreKind::field_signed), *target.btf)->value, 1U);
  EXPECT_EQ(resolve(*local.btf, relocation(local.s, "0", CoreKind::type_size), *target.btf)->value, 24U);
  EXPECT_EQ(resolve(*local.btf, relocation(local.s, "0", CoreKind::type_id_target), *target.btf)->value, target.s);
  EXPECT_EQ(resolve(*local.btf, relocation(local.s, "0", CoreKind::type_id_local), *target.btf)->value, local.s);
}

TEST(Core, WidthMayChangeForUnsignedNumbersOnly) {
  const auto local = plain();
  const auto wider = plain(0, 8);
  auto value = resolve(*local.btf, relocation(local.s, "0:1", CoreKind::field_byte_offset), *wider.btf);
  EXPECT_EQ(value->original_size, 4U);
  EXPECT_EQ(value->size, 8U);
  EXPECT_TRUE(value->resizable);
  const auto is_signed = plain(0, 8, Encoding::signed_);
  value = resolve(*local.btf, relocation(local.s, "0:1", CoreKind::field_byte_offset), *is_signed.btf);
  EXPECT_FALSE(value->resizable);
  EXPECT_EQ(resolve(*local.btf, relocation(local.s, "0:1", CoreKind::field_byte_size), *wider.btf)->value, 8U);
}

TEST(Core, WhatIsMissingIsPoisonOrZero) {
  const auto local = plain();
  Builder other;
  other.add_struct("unrelated", 4, {});
  const auto target = *other.build();
  const auto offset = resolve(*local.btf, relocation(local.s, "0:1", CoreKind::field_byte_offset), *target);
  EXPECT_TRUE(offset->poison);
  EXPECT_FALSE(offset->found);
  for (const auto kind :
       {CoreKind::type_exists, CoreKind::type_matches, CoreKind::type_size, CoreKind::type_id_target}) {
    const auto value = resolve(*local.btf, relocation(local.s, "0", kind), *target);
    EXPECT_EQ(value->value, 0U);
    EXPECT_FALSE(value->poison);
  }
  const auto exists = resolve(*local.btf, relocation(local.s, "0:1", CoreKind::field_exists), *target);
  EXPECT_EQ(exists->value, 0U);
  EXPECT_FALSE(exists->poison);
}

TEST(Core, CandidatesThatDisagreeAreAmbiguous) {
  const auto local = plain();
  Builder b;
  const u32 int_id = b.add_int("int", 4, Encoding::signed_);
  const Builder::NewMember here[] = {{"a", int_id, 0}};
  const Builder::NewMember there[] = {{"a", int_id, 64}};
  b.add_struct("s", 16, here);
  b.add_struct("s", 16, there);
  const auto target = *b.build();
  const auto refused = resolve(*local.btf, relocation(local.s, "0:0", CoreKind::field_byte_offset), *target);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::rejected);
  EXPECT_NE(refused.error().message.find("struct s.a"), std::string::npos) << refused.error().message;
  EXPECT_TRUE(resolve(*local.btf, relocation(local.s, "0:0", CoreKind::field_exists), *target).has_value() == false)
      << "even existence is ambiguous when the places differ";
}

TEST(Core, AnonymousMembersAreTransparent) {
  const auto local = plain();
  Builder b;
  const u32 int_id = b.add_int("int", 4, Encoding::signed_);
  const u32 u32_id = b.add_int("u32", 4);
  const Builder::NewMember inner[] = {{"pad", int_id, 0}, {"b", u32_id, 32}};
  const u32 anonymous = b.add_struct("", 8, inner);
  const Builder::NewMember in_union[] = {{"", anonymous, 0}, {"a", int_id, 0}};
  const u32 union_id = b.add_union("", 8, in_union);
  const Builder::NewMember outer[] = {{"first", int_id, 0}, {"", union_id, 32}};
  b.add_struct("s", 12, outer);
  const auto target = *b.build();
  EXPECT_EQ(resolve(*local.btf, relocation(local.s, "0:1", CoreKind::field_byte_offset), *target)->value, 8U);
  EXPECT_EQ(resolve(*local.btf, relocation(local.s, "0:0", CoreKind::field_byte_offset), *target)->value, 4U);
}

TEST(Core, ArraysAndFlexibleEnds) {
  auto make = [](u32 count, u32 padding, u32& struct_id) {
    Builder b;
    const u32 int_id = b.add_int("int", 4, Encoding::signed_);
    const u32 array = b.add_array(int_id, int_id, count);
    const Builder::NewMember members[] = {{"values", array, padding * 8}};
    struct_id = b.add_struct("s", padding + 4 * count, members);
    return *b.build();
  };
  u32 id = 0, ignored = 0;
  const auto local = make(8, 0, id);
  const auto longer = make(32, 8, ignored);
  const auto shorter = make(4, 8, ignored);
  const auto flexible = make(0, 8, ignored);
  const auto wanted = relocation(id, "0:0:5", CoreKind::field_byte_offset);
  EXPECT_EQ(resolve(*local, wanted, *longer)->value, 28U);
  EXPECT_TRUE(resolve(*local, wanted, *shorter)->poison) << "element 5 of 4";
  EXPECT_EQ(resolve(*local, wanted, *flexible)->value, 28U);
}

TEST(Core, BitFields) {
  auto make = [](u32 offset, u32 width, u32& struct_id) {
    Builder b;
    const u32 u32_id = b.add_int("u32", 4);
    const Builder::NewMember members[] = {{"bits", u32_id, offset, width}};
    struct_id = b.add_struct("s", 8, members);
    return *b.build();
  };
  u32 id = 0, ignored = 0;
  const auto local = make(3, 5, id);
  const auto target = make(37, 7, ignored);
  auto value = [&](CoreKind kind) { return *resolve(*local, relocation(id, "0:0", kind), *target); };
  EXPECT_EQ(value(CoreKind::field_byte_offset).value, 4U);
  EXPECT_FALSE(value(CoreKind::field_byte_offset).validate);
  EXPECT_EQ(value(CoreKind::field_byte_size).value, 4U);
  EXPECT_EQ(value(CoreKind::field_lshift_u64).value, 64U - (37 + 7 - 32));
  EXPECT_EQ(value(CoreKind::field_rshift_u64).value, 64U - 7);
  EXPECT_EQ(value(CoreKind::field_rshift_u64).original, 64U - 5);
}

TEST(Core, EnumeratorsByName) {
  Builder l, t;
  const Enumerator ours[] = {{"one", 1}, {"two___new", 2}, {"gone", 3}};
  const Enumerator theirs[] = {{"one", 10}, {"two", 1LL << 33}};
  const u32 id = l.add_enum("e", 4, false, ours);
  t.add_enum64("e", false, theirs);
  const auto local = *l.build();
  const auto target = *t.build();
  EXPECT_EQ(resolve(*local, relocation(id, "0", CoreKind::enumval_value), *target)->value, 10U);
  EXPECT_EQ(resolve(*local, relocation(id, "1", CoreKind::enumval_value), *target)->value, 1ULL << 33);
  EXPECT_EQ(resolve(*local, relocation(id, "2", CoreKind::enumval_exists), *target)->value, 0U);
  EXPECT_TRUE(resolve(*local, relocation(id, "2", CoreKind::enumval_value), *target)->poison);
}

TEST(Core, MatchingLooksAtEveryMember) {
  const auto local = plain();
  EXPECT_EQ(resolve(*local.btf, relocation(local.s, "0", CoreKind::type_matches), *plain(8).btf)->value, 1U)
      << "offsets do not matter";
  Builder b;
  const u32 int_id = b.add_int("int", 4, Encoding::signed_);
  const Builder::NewMember members[] = {{"a", int_id, 0}};
  b.add_struct("s", 4, members);
  const auto fewer = *b.build();
  EXPECT_EQ(resolve(*local.btf, relocation(local.s, "0", CoreKind::type_matches), *fewer)->value, 0U);
  EXPECT_EQ(resolve(*local.btf, relocation(local.s, "0", CoreKind::type_exists), *fewer)->value, 1U);
}

TEST(Core, RecordsThatContradictTheTypesAreErrors) {
  const auto local = plain();
  auto code = [&](const char* access, CoreKind kind, u32 id) {
    const auto result = resolve(*local.btf, relocation(id, access, kind), *local.btf);
    return result ? Code::io : result.error().code;
  };
  EXPECT_EQ(code("0:7", CoreKind::field_byte_offset, local.s), Code::malformed);
  EXPECT_EQ(code("0:0:0", CoreKind::field_byte_offset, local.s), Code::malformed);
  EXPECT_EQ(code("", CoreKind::field_byte_offset, local.s), Code::malformed);
  EXPECT_EQ(code("0:x", CoreKind::field_byte_offset, local.s), Code::malformed);
  EXPECT_EQ(code("4294967295:1", CoreKind::field_byte_offset, local.s), Code::malformed);
  EXPECT_EQ(code("1", CoreKind::type_exists, local.s), Code::malformed);
  EXPECT_EQ(code("0", CoreKind::enumval_value, local.s), Code::malformed);
  EXPECT_EQ(code("0", CoreKind::type_exists, 999), Code::malformed);
  EXPECT_EQ(code("0", static_cast<CoreKind>(13), local.s), Code::unsupported);
}

}  // namespace
}  // namespace skep::btf
