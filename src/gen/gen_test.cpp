// Types merged, layouts computed, objects linked: by hand-made inputs, so that no compiler is needed.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "btf/builder.hpp"
#include "btf/test_support.hpp"
#include "elf/test_writer.hpp"
#include "gen/cpp_types.hpp"
#include "gen/link.hpp"
#include "gen/skeleton.hpp"
#include "gen/type_merge.hpp"

namespace skep::gen {
namespace {

using btf::Builder;
using btf::Kind;
using NewMember = Builder::NewMember;

/// struct node { struct node* next; struct other* other; int value; }, where `other` is declared or complete.
TypesOf list_types(bool complete, std::string_view value_name = "value") {
  Builder builder;
  const u32 number = builder.add_int("int", 4, Builder::Encoding::signed_);
  const NewMember only[] = {{"x", number, 0}};
  const u32 other = complete ? builder.add_struct("other", 4, only) : builder.add_forward("other", false);
  const u32 node = builder.type_count() + 2;  // after the two pointers
  const u32 next = builder.add_pointer(node);
  const u32 to_other = builder.add_pointer(other);
  const NewMember members[] = {{"next", next, 0}, {"other", to_other, 64}, {value_name, number, 128}};
  builder.add_struct("node", 24, members);
  return *builder.build();
}

u32 count_of(const btf::Btf& types, Kind kind) {
  u32 count = 0;
  for (u32 id = 1; id < types.type_count(); id++) count += types.type(id).kind == kind;
  return count;
}

TypesOf merged(std::vector<TypesOf> inputs) {
  TypeMerge merge(inputs);
  BtfBytes out;
  merge.write(out);
  auto built = btf::Btf::parse(out.finish());
  EXPECT_TRUE(built) << built.error().message;
  return *built;
}

TEST(TypeMerge, CyclesAndForwardsBecomeOne) {
  const auto types = merged({list_types(true), list_types(false), list_types(true)});
  EXPECT_EQ(types->type_count(), 6U);  // void, int, other, two pointers, node
  EXPECT_EQ(count_of(*types, Kind::fwd), 0U);
  const auto node = types->type(*types->find("node", Kind::struct_));
  EXPECT_EQ(types->type(types->member(node, 0).type_id).type_id(), node.id);
}

TEST(TypeMerge, ADifferenceFarAwayKeepsTypesApart) {
  const auto types = merged({list_types(true), list_types(true, "number")});
  EXPECT_EQ(count_of(*types, Kind::struct_), 3U);  // two nodes, one other
  EXPECT_EQ(count_of(*types, Kind::ptr), 3U);      // to each node, to other
}

TEST(TypeMerge, DeclarationsFitDefinitions) {
  const auto a = list_types(true), b = list_types(false), c = list_types(true, "number");
  const auto node = [](const TypesOf& types) { return *types->find("node", Kind::struct_); };
  EXPECT_TRUE(same_type(*a, node(a), *b, node(b)));
  EXPECT_FALSE(same_type(*a, node(a), *c, node(c)));
}

TEST(CppTypes, LayoutsThatNoCompilerGivesAreBytes) {
  Builder builder;
  const u32 number = builder.add_int("int", 4, Builder::Encoding::signed_);
  const NewMember overlapping[] = {{"a", number, 0}, {"b", number, 16}};
  const u32 bytes = builder.add_struct("overlap", 8, overlapping);
  const NewMember odd[] = {{"a", number, 8}, {"class", number, 40}};
  const u32 packed = builder.add_struct("odd", 9, odd);
  const auto types = *builder.build();
  CppTypes cpp(*types, "skeleton", {});
  EXPECT_EQ(cpp.value_type(bytes, 8, "v"), "skeleton::overlap");
  EXPECT_EQ(cpp.value_type(packed, 9, "v"), "skeleton::odd");
  EXPECT_EQ(cpp.value_type(packed, 10, "v"), "std::array<std::byte, 10>") << "the map's values have another size";
  EXPECT_NE(cpp.text().find("unsigned char bytes[8];"), std::string::npos) << cpp.text();
  EXPECT_NE(cpp.text().find(
                "__attribute__((packed)) odd {\n    unsigned char _pad[1];\n    skep::s32 a;\n    skep::s32 class_;"),
            std::string::npos)
      << cpp.text();
}

TEST(Skeleton, NamesOfFiles) {
  EXPECT_EQ(class_name("/some/where/count-execs.bpf.o"), "count_execs");
  EXPECT_EQ(class_name("class.o"), "class_");
  EXPECT_EQ(class_name("7.o"), "_7");
}

/// `int answer(void)` or `long answer(void)` in .text, called by program `main` of its own section where `calls`.
std::vector<std::byte> object(std::string_view function, bool weak, u32 result_bytes, std::string_view licence) {
  elf::TestWriter writer;
  const u64 code[] = {0x2a000000b7, 0x95};  // r0 = 42; exit
  const u32 text = writer.add_data(".text", elf::flag_alloc | elf::flag_exec, std::vector<u64>(code, code + 2));
  const std::string text_of_licence = std::string(licence) + '\0';
  const auto licence_section =
      writer.add_data("license", elf::flag_alloc, std::vector<char>(text_of_licence.begin(), text_of_licence.end()));
  writer.add_symbol("_license", elf::symbol_object, elf::bind_global, licence_section, 0, text_of_licence.size());
  writer.add_symbol(std::string(function), elf::symbol_func, weak ? elf::bind_weak : elf::bind_global, text, 0, 16);
  Builder builder;
  const u32 result = builder.add_int(result_bytes == 4 ? "int" : "long", result_bytes, Builder::Encoding::signed_);
  builder.add_func(function, builder.add_func_proto(result, {}), 1);
  const auto types = builder.bytes();
  writer.add_section(".BTF", elf::section_progbits, 0, types);
  return writer.finish();
}

Result<std::vector<std::byte>> link_two(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
  const LinkInput inputs[] = {{"a.o", a}, {"b.o", b}};
  return link_objects(inputs);
}

TEST(Link, SectionsFollowEachOtherAndWeakGivesWay) {
  const auto linked = link_two(object("f", true, 4, "GPL"), object("f", false, 4, "GPL"));
  ASSERT_TRUE(linked) << linked.error().message;
  const auto file = *elf::File::parse(*linked);
  EXPECT_EQ(file.section(".text")->size, 32U);
  const auto symbols = *file.symbols(*file.section(".symtab"));
  u32 found = 0;
  for (u32 i = 1; i < symbols.size(); i++)
    if (const auto symbol = symbols.at(i); symbols.name(symbol) == "f") {
      found++;
      EXPECT_EQ(symbol.value, 16U) << "the strong definition lies in the second file";
      EXPECT_EQ(symbol.binding, elf::bind_global);
    }
  EXPECT_EQ(found, 1U);
}

TEST(Link, DisagreementNamesBothFiles) {
  const auto message = [](const Result<std::vector<std::byte>>& result) {
    return result ? std::string() : result.error().message;
  };
  for (const auto& text : {message(link_two(object("f", false, 4, "GPL"), object("f", false, 4, "GPL"))),
                           message(link_two(object("f", true, 4, "GPL"), object("f", true, 8, "GPL")))}) {
    EXPECT_NE(text.find("'f'"), std::string::npos) << text;
    EXPECT_NE(text.find("a.o"), std::string::npos) << text;
    EXPECT_NE(text.find("b.o"), std::string::npos) << text;
  }
  EXPECT_NE(message(link_two(object("f", false, 4, "GPL"), object("g", false, 4, "MIT"))).find("'MIT'"),
            std::string::npos);
  EXPECT_EQ(link_objects({}).error().code, Code::invalid_argument);
}

TEST(Link, ChangedBytesAreErrorsOrObjects) {
  const auto good = object("f", false, 4, "GPL"), other = object("g", false, 4, "GPL");
  std::mt19937 random(20261128);
  u32 linked = 0;
  constexpr u32 rounds = 5000;
  for (u32 i = 0; i < rounds; i++) {
    auto bad = good;
    for (u32 changes = 1 + random() % 6; changes > 0; changes--)
      bad[random() % bad.size()] = static_cast<std::byte>(random() % 3 == 0 ? 0xff : random());
    if (random() % 16 == 0) bad.resize(random() % bad.size());
    const auto result = link_two(bad, other);
    linked += result.has_value();
    if (!result) {
      EXPECT_FALSE(result.error().message.empty());
    }
  }
  EXPECT_GT(linked, rounds / 50) << "too few get far enough to matter";
  EXPECT_LT(linked, rounds);
}

}  // namespace
}  // namespace skep::gen
