// Types and values as text: against what bpftool prints, and C that two compilers read back to the same layout.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "btf/builder.hpp"
#include "btf/dump_c.hpp"
#include "btf/dump_raw.hpp"
#include "btf/format_value.hpp"
#include "btf/test_support.hpp"

namespace skep::btf {
namespace {

using Encoding = Builder::Encoding;

/// One of everything, and a value of it; the expectations below are bpftool 7.1's output for the same bytes.
struct Everything {
  std::shared_ptr<const Btf> btf;
  u32 id = 0;
  std::vector<std::byte> value;
};

Everything everything() {
  Builder b;
  const u32 s32_id = b.add_int("int", 4, Encoding::signed_);
  const u32 u32_id = b.add_int("unsigned int", 4);
  const u32 s64_id = b.add_int("long long", 8, Encoding::signed_);
  const u32 u64_id = b.add_int("unsigned long long", 8);
  const u32 bool_id = b.add_int("_Bool", 1, Encoding::bool_);
  const u32 char_id = b.add_int("char", 1, Encoding::signed_);
  const u32 byte_id = b.add_int("unsigned char", 1);
  const u32 wide_id = b.add_int("__int128", 16, Encoding::signed_);
  const u32 name_id = b.add_array(char_id, u32_id, 8);
  const u32 bytes_id = b.add_array(byte_id, u32_id, 3);
  const Enumerator colours[] = {{"RED", 0}, {"GREEN", 5}, {"NEG", -2}};
  const u32 colour_id = b.add_enum("color", 4, true, colours);
  const Builder::NewMember inner[] = {{"anon_x", s32_id, 0}};
  const u32 inner_id = b.add_struct("", 4, inner);
  const Builder::NewMember parts[] = {{"i", s32_id, 0}, {"b", bytes_id, 0}};
  const u32 union_id = b.add_union("uu", 4, parts);
  const u32 pointer_id = b.add_pointer(0);
  const u32 none_id = b.add_array(u64_id, u32_id, 0);
  const u32 float_id = b.add_float("double", 8);
  const Builder::NewMember members[] = {{"i", s32_id, 0},        {"u", u32_id, 32},       {"ll", s64_id, 64},
                                        {"ull", u64_id, 128},    {"b", bool_id, 192},     {"c", char_id, 200},
                                        {"name", name_id, 208},  {"bin", name_id, 272},   {"bf1", s32_id, 352, 3},
                                        {"bf2", u32_id, 355, 7}, {"col", colour_id, 384}, {"bad", colour_id, 416},
                                        {"un", union_id, 448},   {"", inner_id, 480},     {"p", pointer_id, 512},
                                        {"wide", wide_id, 640},  {"f", float_id, 768},    {"z", none_id, 832}};
  Everything out;
  out.id = b.add_struct("val", 112, members);
  out.btf = *b.build();
  out.value.resize(112);
  auto put = [&](std::size_t at, auto value) { std::memcpy(out.value.data() + at, &value, sizeof value); };
  put(0, s32{-5});
  put(4, u32{4000000000});
  put(8, s64{-9});
  put(16, u64{9223372036854775809ULL});
  put(24, u8{1});
  put(25, u8{65});
  std::memcpy(out.value.data() + 26, "bob", 4);
  std::memcpy(out.value.data() + 34,
              "\x01\x02"
              "ab",
              4);
  put(44, u32{6 | 100 << 3});
  put(48, s32{5});
  put(52, s32{77});
  put(56, s32{-1});
  put(60, s32{11});
  put(64, u64{0xffff888000001234ULL});
  put(80, u64{5});
  put(88, u64{1});
  put(96, 1.5);
  return out;
}

TEST(FormatValue, PrintsAsBpftoolDoes) {
  const auto e = everything();
  const auto json = format_value(*e.btf, e.id, e.value);
  ASSERT_TRUE(json) << json.error().message;
  EXPECT_EQ(*json, R"({"i":-5,"u":4000000000,"ll":-9,"ull":9223372036854775809,"b":true,"c":65,"name":"bob",)"
                   R"("bin":[1,2,97,98,0,0,0,0],"bf1":"0x6","bf2":"0x64","col":"GREEN","bad":77,)"
                   R"("un":{"i":-1,"b":[255,255,255]},"":{"anon_x":11},"p":18446612682070037044,)"
                   R"("wide":"0x10000000000000005","f":1.5,"z":[]})");
  const auto plain = format_value(*e.btf, e.id, e.value, ValueStyle::plain);
  EXPECT_NE(plain->find(R"("bf1":0x6,"bf2":0x64)"), std::string::npos) << *plain;
  EXPECT_NE(plain->find(R"("p":0xffff888000001234,"wide":0x10000000000000005)"), std::string::npos) << *plain;
}

TEST(FormatValue, ValuesThatAreTooShortAreErrors) {
  const auto e = everything();
  for (std::size_t size = 0; size < 104; size += 5) {
    const auto result = format_value(*e.btf, e.id, std::span(e.value).first(size));
    ASSERT_FALSE(result) << size;
    EXPECT_EQ(result.error().code, Code::malformed);
  }
  EXPECT_FALSE(format_value(*e.btf, 1000, e.value));
}

TEST(FormatValue, SectionsAndVariables) {
  Builder b;
  const u32 int_id = b.add_int("int", 4, Encoding::signed_);
  const u32 first = b.add_var("first", int_id, 1);
  const u32 second = b.add_var("second", int_id, 1);
  const SecVar entries[] = {{first, 0, 4}, {second, 4, 4}};
  const u32 section = b.add_datasec(".bss", 8, entries);
  const auto btf = *b.build();
  const std::vector<std::byte> value(8);
  EXPECT_EQ(*format_value(*btf, section, value), R"({".bss":[{"first":0},{"second":0}]})");
}

TEST(DumpRaw, LinesOfEveryKind) {
  Builder b;
  const u32 int_id = b.add_int("int", 4, Encoding::signed_);
  const Builder::NewMember members[] = {{"x", int_id, 0}, {"", int_id, 32, 3}};
  b.add_struct("s", 8, members);
  const Enumerator values[] = {{"A", -1}};
  b.add_enum("", 4, true, values);
  b.add_forward("later", true);
  const Param params[] = {{"p", int_id}};
  const u32 proto = b.add_func_proto(0, params);
  const u32 func = b.add_func("f", proto, 1);
  const u32 var = b.add_var("v", int_id, 0);
  const SecVar entries[] = {{var, 0, 4}};
  b.add_datasec(".data", 4, entries);
  b.add_decl_tag("bpf_kfunc", func, -1);
  b.add_array(int_id, int_id, 3);
  EXPECT_EQ(dump_raw(**b.build()),
            "[1] INT 'int' size=4 bits_offset=0 nr_bits=32 encoding=SIGNED\n"
            "[2] STRUCT 's' size=8 vlen=2\n"
            "\t'x' type_id=1 bits_offset=0\n"
            "\t'(anon)' type_id=1 bits_offset=32 bitfield_size=3\n"
            "[3] ENUM '(anon)' encoding=SIGNED size=4 vlen=1\n"
            "\t'A' val=-1\n"
            "[4] FWD 'later' fwd_kind=union\n"
            "[5] FUNC_PROTO '(anon)' ret_type_id=0 vlen=1\n"
            "\t'p' type_id=1\n"
            "[6] FUNC 'f' type_id=5 linkage=global\n"
            "[7] VAR 'v' type_id=1, linkage=static\n"
            "[8] DATASEC '.data' size=4 vlen=1\n"
            "\ttype_id=7 offset=0 size=4 (VAR 'v')\n"
            "[9] DECL_TAG 'bpf_kfunc' type_id=6 component_idx=-1\n"
            "[10] ARRAY '(anon)' type_id=1 index_type_id=1 nr_elems=3\n");
}

TEST(DumpRaw, TheKernelsTypesAsBpftoolPrintsThem) {
  if (!test::has_kernel_btf()) GTEST_SKIP() << "no " << test::kernel_btf;
  const auto version = test::output_of("bpftool version 2>/dev/null");
  if (!version || version->find("bpftool v7.") == std::string::npos) GTEST_SKIP() << "no bpftool 7";
  const auto theirs =
      test::output_of(std::string("bpftool btf dump file ") + test::kernel_btf + " format raw 2>/dev/null");
  ASSERT_TRUE(theirs);
  const auto ours = dump_raw(**Btf::from_file(test::kernel_btf));
  const auto differs = std::mismatch(ours.begin(), ours.end(), theirs->begin(), theirs->end());
  EXPECT_EQ(ours.size(), theirs->size());
  EXPECT_EQ(differs.first, ours.end()) << "first difference at byte " << differs.first - ours.begin();
}

TEST(DumpC, Declarators) {
  Builder b;
  const u32 int_id = b.add_int("int", 4, Encoding::signed_);
  const Param params[] = {{"", int_id}, {"name", b.add_pointer(b.add_modifier(Kind::const_, {}, int_id))}};
  const u32 proto = b.add_func_proto(b.add_pointer(0), params);
  const u32 callback = b.add_pointer(proto);
  const u32 table = b.add_array(b.add_array(callback, int_id, 3), int_id, 2);
  const u32 to_array = b.add_modifier(Kind::const_, {}, b.add_pointer(b.add_array(int_id, int_id, 4)));
  const auto btf = *b.build();
  EXPECT_EQ(*declaration(*btf, table, "f"), "void *(*f[2][3])(int, const int *name)");
  EXPECT_EQ(*declaration(*btf, to_array, "p"), "int (*const p)[4]");
  EXPECT_EQ(*declaration(*btf, int_id, ""), "int");
}

/// Asserts on the size of every record and the offset of every plain member that C can name.
std::string layout_assertions(const Btf& btf) {
  std::map<std::string_view, int> names;
  for (u32 id = 1; id < btf.type_count(); id++) {
    const auto t = btf.type(id);
    if (is_composite(t.kind) || is_enumeration(t.kind)) names[t.name]++;
  }
  std::string out;
  for (u32 id = 1; id < btf.type_count(); id++) {
    const auto t = btf.type(id);
    if (!is_composite(t.kind) || t.name.empty() || names[t.name] > 1) continue;
    std::string type = t.kind == Kind::struct_ ? "struct " : "union ";
    type += t.name;
    out += "_Static_assert(sizeof(" + type + ") == " + std::to_string(t.size()) + ", \"size\");\n";
    for (const auto& m : btf.members(t))
      if (!m.name.empty() && m.bit_size == 0)
        out += "_Static_assert(__builtin_offsetof(" + type + ", " + std::string(m.name) +
               ") == " + std::to_string(m.bit_offset / 8) + ", \"" + std::string(m.name) + "\");\n";
  }
  return out;
}

void expect_layouts(const Btf& btf, const std::string& compiler) {
  const auto text = dump_c(btf);
  ASSERT_TRUE(text) << text.error().message;
  const auto assertions = layout_assertions(btf);
  const test::TemporaryDirectory directory;
  directory.write("vmlinux.h", *text);
  const auto source =
      directory.write("layout.c", "#define BPF_NO_PRESERVE_ACCESS_INDEX\n#include \"vmlinux.h\"\n" + assertions);
  const auto log = directory.path() / "log";
  const int status = std::system((compiler + " -target bpf -Wall -Werror -fsyntax-only -std=gnu11 " + source.string() +
                                  " >" + log.string() + " 2>&1")
                                     .c_str());
  std::ifstream in(log);
  const std::string errors((std::istreambuf_iterator<char>(in)), {});
  EXPECT_EQ(status, 0) << errors.substr(0, 4000);
}

TEST(DumpC, AFloatsNameIsNoCode) {
  Builder b;
  const u32 id = b.add_float("double x; }; int taken(void) { return 1; } struct y { double", 8);
  const Builder::NewMember members[] = {{"f", id, 0}};
  b.add_struct("s", 8, members);
  const auto text = dump_c(**b.build());
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(text->find("int taken"), std::string::npos) << *text;
}

TEST(DumpC, LayoutsSurviveTheCompiler) {
  const auto clang = test::any_clang();
  if (clang.empty()) GTEST_SKIP() << "no clang";
  Builder b;
  const u32 u8_id = b.add_int("unsigned char", 1);
  const u32 u16_id = b.add_int("unsigned short", 2);
  const u32 u32_id = b.add_int("unsigned int", 4);
  const u32 u64_id = b.add_int("unsigned long long", 8);
  const u32 rust_id = b.add_int("usize", 8);
  const Builder::NewMember packed[] = {{"a", u8_id, 0}, {"b", u32_id, 8}, {"c", u64_id, 40}};
  const u32 packed_id = b.add_struct("is_packed", 13, packed);
  const Builder::NewMember gaps[] = {{"a", u8_id, 0}, {"b", u32_id, 256}, {"c", u8_id, 512}};
  b.add_struct("has_gaps", 128, gaps);
  const Builder::NewMember bits[] = {
      {"a", u32_id, 3, 5}, {"b", u32_id, 8, 20}, {"c", u16_id, 48, 3}, {"d", u64_id, 64, 40}, {"e", u8_id, 104}};
  b.add_struct("has_bits", 16, bits);
  const Builder::NewMember outer[] = {
      {"a", u8_id, 0}, {"p", packed_id, 8}, {"self", b.add_pointer(11), 128}, {"r", rust_id, 192}};
  b.add_struct("outer", 32, outer);
  const Builder::NewMember either[] = {{"a", u8_id, 0}, {"b", u32_id, 0}};
  b.add_union("large_union", 64, either);
  const auto btf = *b.build();
  expect_layouts(*btf, clang);
}

TEST(DumpC, TheKernelsTypesCompileToTheirLayouts) {
  if (!test::has_kernel_btf()) GTEST_SKIP() << "no " << test::kernel_btf;
  const auto clang = test::any_clang();
  if (clang.empty()) GTEST_SKIP() << "no clang";
  expect_layouts(**Btf::from_file(test::kernel_btf), clang);
}

}  // namespace
}  // namespace skep::btf
