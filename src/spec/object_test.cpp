// Objects written by hand, one convention at a time: how compilers name functions, maps, data and externs.
#include <gtest/gtest.h>

#include <ctime>

#include "btf/test_support.hpp"
#include "isa/isa.hpp"
#include "spec/test_object.hpp"
#include "spec/types_file.hpp"

namespace skep::spec {
namespace {

TEST(Object, ProgramsAreSplitBySymbols) {
  TestWriter w;
  const u32 section =
      w.add_data<Insn>("?tp/syscalls/sys_enter_openat", exec_flags, {mov(1), exit_insn, mov(2), exit_insn});
  w.add_symbol("first", elf::symbol_func, elf::bind_global, section, 0, 16);
  w.add_symbol("second", elf::symbol_func, elf::bind_global, section, 16, 16);
  w.add_section("license", elf::section_progbits, 3, text_bytes("GPL"));
  w.add_data<u32>("version", 3, {0x61200});
  const auto object = read(w);
  ASSERT_TRUE(object) << object.error().message;
  EXPECT_EQ(object->name, "sample");
  EXPECT_EQ(object->license, "GPL");
  EXPECT_EQ(object->kernel_version, 0x61200U);
  ASSERT_EQ(object->programs.size(), 2U);
  const auto* second = object->program("second");
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->insns, (std::vector<Insn>{mov(2), exit_insn}));
  EXPECT_EQ(second->type, ProgramType::tracepoint);
  EXPECT_EQ(second->attach.target, "syscalls/sys_enter_openat");
  EXPECT_FALSE(second->autoload);
  ASSERT_EQ(second->functions.size(), 1U);
  EXPECT_TRUE(second->functions[0].is_global);
  EXPECT_EQ(object->program("third"), nullptr);
}

/// Entry calls `global` by its symbol, which calls a static function by section and immediate, which calls `global`'s
/// neighbour without any relocation.
TEST(Object, SubprogramsAreAppendedDepthFirst) {
  TestWriter w;
  const u32 text = w.add_data<Insn>(".text", exec_flags,
                                    {mov(10), exit_insn,       // 0: static, last
                                     call(-4 + 1), exit_insn,  // 2: static, calls 0 (2 + -3 + 1)
                                     call(1), exit_insn});     // 4: global, calls 2 by section: imm + 1
  const u32 entry = w.add_data<Insn>("xdp", exec_flags, {call(-1), call(-1), exit_insn});
  const u32 text_symbol = w.add_symbol("", elf::symbol_section, elf::bind_local, text, 0, 0);
  w.add_symbol("leaf", elf::symbol_func, elf::bind_local, text, 0, 16);
  w.add_symbol("middle", elf::symbol_func, elf::bind_local, text, 16, 16);
  const u32 global = w.add_symbol("shared", elf::symbol_func, elf::bind_global, text, 32, 16, elf::visibility_hidden);
  w.add_symbol("entry", elf::symbol_func, elf::bind_global, entry, 0, 24);
  w.add_relocation(entry, 0, global, 10);
  w.add_relocation(entry, 8, global, 10);
  w.add_relocation(text, 32, text_symbol, 10);
  const auto object = read(w);
  ASSERT_TRUE(object) << object.error().message;
  ASSERT_EQ(object->programs.size(), 1U);
  const auto& program = object->programs[0];
  // entry 0..2, shared 3..4, middle 5..6, leaf 7..8
  ASSERT_EQ(program.functions.size(), 4U);
  EXPECT_EQ(program.functions[1].name, "shared");
  EXPECT_EQ(program.functions[1].insn, 3U);
  EXPECT_FALSE(program.functions[1].is_global) << "hidden: verified where it is called";
  EXPECT_EQ(program.functions[3].name, "leaf");
  EXPECT_EQ(program.insns[0].imm, 3 - 0 - 1);
  EXPECT_EQ(program.insns[1].imm, 3 - 1 - 1);
  EXPECT_EQ(program.insns[3].imm, 5 - 3 - 1);
  EXPECT_EQ(program.insns[5].imm, 7 - 5 - 1);
}

TEST(Object, FunctionPointersBecomeReferences) {
  TestWriter w;
  const u32 text = w.add_data<Insn>(".text", exec_flags, {mov(1), exit_insn, mov(2), exit_insn});
  const u32 entry = w.add_data<Insn>("tc", exec_flags, {insn(code::ld_imm64, 2, 0, 0, 16), insn(0), exit_insn});
  const u32 text_symbol = w.add_symbol("", elf::symbol_section, elf::bind_local, text, 0, 0);
  w.add_symbol("one", elf::symbol_func, elf::bind_local, text, 0, 16);
  w.add_symbol("callback", elf::symbol_func, elf::bind_local, text, 16, 16);
  w.add_symbol("entry", elf::symbol_func, elf::bind_global, entry, 0, 24);
  w.add_relocation(entry, 0, text_symbol);
  const auto object = read(w);
  ASSERT_TRUE(object) << object.error().message;
  const auto& program = object->programs[0];
  ASSERT_EQ(program.references.size(), 1U);
  EXPECT_EQ(program.references[0].kind, Reference::Kind::function);
  EXPECT_EQ(program.references[0].name, "callback");
  EXPECT_EQ(program.references[0].addend, 3U);
  EXPECT_EQ(program.insns[0].src, code::src_function);
  EXPECT_EQ(program.insns[0].imm, 3 - 0 - 1);
}

TEST(Object, GlobalDataIsAMapPerSection) {
  TestWriter w;
  const u32 data = w.add_data<u32>(".data", elf::flag_alloc | elf::flag_write, {1, 2, 3});
  w.add_section(".bss", elf::section_nobits, elf::flag_alloc | elf::flag_write, {}, 20);
  w.add_data<u32>(".rodata", elf::flag_alloc, {7});
  w.add_data<u32>(".rodata.strings", elf::flag_alloc, {8});
  const u32 entry = w.add_data<Insn>("xdp", exec_flags, {insn(code::ld_imm64, 1, 0, 0, 4), insn(0), exit_insn});
  const u32 data_symbol = w.add_symbol("", elf::symbol_section, elf::bind_local, data, 0, 0);
  w.add_symbol("entry", elf::symbol_func, elf::bind_global, entry, 0, 24);
  w.add_relocation(entry, 0, data_symbol);
  const auto object = read(w);
  ASSERT_TRUE(object) << object.error().message;
  ASSERT_EQ(object->maps.size(), 4U);
  const auto* map = object->map("sample.data");
  ASSERT_NE(map, nullptr);
  EXPECT_TRUE(map->is_global_data);
  EXPECT_FALSE(map->frozen);
  EXPECT_EQ(map->value_size, 12U);
  EXPECT_EQ(map->initial_value[4], std::byte{2});
  EXPECT_EQ(object->map("sample.bss")->initial_value, std::vector<std::byte>(20));
  EXPECT_TRUE(object->map("sample.rodata")->frozen);
  EXPECT_NE(object->map(".rodata.strings"), nullptr) << "sections with a name of their own keep it";
  const auto& reference = object->programs[0].references.at(0);
  EXPECT_EQ(reference.kind, Reference::Kind::map_value);
  EXPECT_EQ(object->maps[reference.map].name, "sample.data");
  EXPECT_EQ(reference.addend, 4U);
}

TEST(Object, AJumpTableIsTheTroubleOfItsProgramAlone) {
  TestWriter w;
  const u32 tables = w.add_data<u64>(".jumptables", elf::flag_alloc, {16, 24});
  const u32 jumps = w.add_data<Insn>("xdp", exec_flags, {insn(code::ld_imm64, 1), insn(0), exit_insn});
  const u32 other = w.add_data<Insn>("tc", exec_flags, {mov(0), exit_insn});
  const u32 table = w.add_symbol("jt0", elf::symbol_object, elf::bind_local, tables, 0, 16);
  w.add_symbol("jumps", elf::symbol_func, elf::bind_global, jumps, 0, 24);
  w.add_symbol("other", elf::symbol_func, elf::bind_global, other, 0, 16);
  w.add_relocation(jumps, 0, table);
  const auto object = read(w);
  ASSERT_TRUE(object) << object.error().message;
  ASSERT_EQ(object->programs.size(), 2U);
  const Insn& load = object->program("jumps")->insns[0];
  EXPECT_FALSE(isa::decode(load));
  EXPECT_NE(isa::why_undecodable(load).find("-fno-jump-tables"), std::string::npos);
  EXPECT_TRUE(isa::decode(object->program("other")->insns[0]));
}

TEST(Object, LegacyMapsOfThreeLoaders) {
  for (const u32 words : {5U, 7U, 9U}) {
    TestWriter w;
    std::vector<u32> records;
    auto record = [&](std::vector<u32> values) {
      values.resize(words);
      records.insert(records.end(), values.begin(), values.end());
    };
    record({1, 4, 8, 100, 0, 5, 0, 0, 0});
    if (words == 5) record({2, 4, 4, 10, 0});
    if (words == 7) record({12, 4, 4, 10, 0, 0, 0});        // samples: the template is map 0
    if (words == 9) record({12, 4, 4, 10, 0, 6, 2, 5, 0});  // iproute2: the template is the map of id 5; pinned
    const u32 maps = w.add_data<u32>("maps", 3, records);
    const u32 entry = w.add_data<Insn>("xdp", exec_flags, {insn(code::ld_imm64, 1), insn(0), exit_insn});
    w.add_symbol("table", elf::symbol_object, elf::bind_global, maps, 0, 4 * words);
    const u32 outer = w.add_symbol("outer", elf::symbol_object, elf::bind_global, maps, 4 * words, 4 * words);
    w.add_symbol("entry", elf::symbol_func, elf::bind_global, entry, 0, 24);
    w.add_relocation(entry, 0, outer);
    const auto object = read(w);
    ASSERT_TRUE(object) << object.error().message;
    ASSERT_EQ(object->maps.size(), 2U);
    EXPECT_EQ(object->maps[0].name, "table");
    EXPECT_EQ(object->maps[0].type, MapType::hash);
    EXPECT_EQ(object->maps[0].value_size, 8U);
    EXPECT_EQ(object->maps[0].max_entries, 100U);
    EXPECT_EQ(object->maps[1].pin_by_name, words == 9);
    if (words > 5) {
      ASSERT_NE(object->maps[1].inner, nullptr) << words;
      EXPECT_EQ(object->maps[1].inner->value_size, 8U);
    }
    EXPECT_EQ(object->programs[0].references.at(0).map, 1U);
    EXPECT_EQ(object->programs[0].insns[0].src, code::src_map);
  }
}

/// Types of `.maps` definitions, as libbpf's macros spell them.
struct MapTypes {
  btf::Builder b;
  u32 int_id = b.add_int("int", 4, Encoding::signed_);
  u32 u64_id = b.add_int("unsigned long long", 8);
  u32 number(u32 value) { return b.add_pointer(b.add_array(int_id, int_id, value)); }
  u32 of(u32 type) { return b.add_pointer(type); }
};

TEST(Object, MapsDefinedByTypes) {
  MapTypes t;
  const btf::Builder::NewMember inner[] = {{"type", t.number(2), 0},
                                           {"max_entries", t.number(3), 64},
                                           {"key", t.of(t.int_id), 128},
                                           {"value", t.of(t.u64_id), 192}};
  const u32 inner_id = t.b.add_struct("", 32, inner);
  const u32 values = t.b.add_array(t.b.add_pointer(inner_id), t.int_id, 0);
  const btf::Builder::NewMember outer[] = {{"type", t.number(13), 0},
                                           {"max_entries", t.number(8), 64},
                                           {"key", t.of(t.int_id), 128},
                                           {"values", values, 192}};
  const u32 outer_id = t.b.add_struct("", 24, outer);
  const btf::Builder::NewMember plain[] = {{"type", t.number(1), 0},       {"key_size", t.number(4), 64},
                                           {"value", t.of(t.u64_id), 128}, {"max_entries", t.number(10), 192},
                                           {"pinning", t.number(1), 256},  {"map_flags", t.number(1), 320}};
  const u32 plain_id = t.b.add_struct("", 48, plain);
  const btf::SecVar entries[] = {{t.b.add_var("inner_one", inner_id, 1), 0, 32},
                                 {t.b.add_var("outer", outer_id, 1), 32, 40},
                                 {t.b.add_var("skep_map_counts", plain_id, 1), 72, 48}};
  t.b.add_datasec(".maps", 0, entries);
  TestWriter w;
  const u32 maps = w.add_section(".maps", elf::section_progbits, 3, std::vector<std::byte>(120));
  w.add_section(".BTF", elf::section_progbits, 0, t.b.bytes());
  const u32 inner_one = w.add_symbol("inner_one", elf::symbol_object, elf::bind_global, maps, 0, 32);
  w.add_symbol("outer", elf::symbol_object, elf::bind_global, maps, 32, 40);
  w.add_symbol("skep_map_counts", elf::symbol_object, elf::bind_global, maps, 72, 48);
  w.add_relocation(maps, 32 + 24 + 8, inner_one, 2);
  const auto object = read(w);
  ASSERT_TRUE(object) << object.error().message;
  const auto* counts = object->map("counts");
  ASSERT_NE(counts, nullptr) << "the BCC dialect's prefix is no part of the name";
  EXPECT_EQ(counts->key_size, 4U);
  EXPECT_EQ(counts->value_size, 8U);
  EXPECT_EQ(counts->btf_value_type_id, t.u64_id);
  EXPECT_EQ(counts->btf_key_type_id, 0U);
  EXPECT_EQ(counts->flags, 1U);
  EXPECT_TRUE(counts->pin_by_name);
  const auto* outer_map = object->map("outer");
  ASSERT_NE(outer_map, nullptr);
  EXPECT_EQ(outer_map->value_size, 4U);
  ASSERT_NE(outer_map->inner, nullptr);
  EXPECT_EQ(outer_map->inner->max_entries, 3U);
  EXPECT_EQ(outer_map->inner->value_size, 8U);
  ASSERT_EQ(outer_map->slots.size(), 1U);
  EXPECT_EQ(outer_map->slots[0].index, 1U);
  EXPECT_EQ(outer_map->slots[0].name, "inner_one");
  const auto section = *object->btf->find(".maps", btf::Kind::datasec);
  EXPECT_EQ(object->btf->type(section).size(), 120U) << "what the compiler left open is filled in";
}

TEST(Object, MapDefinitionsThatMakeNoSenseAreExplained) {
  auto message = [](std::vector<btf::Builder::NewMember> members, MapTypes& t) {
    const btf::SecVar entries[] = {{t.b.add_var("m", t.b.add_struct("", 64, members), 1), 0, 64}};
    t.b.add_datasec(".maps", 0, entries);
    TestWriter w;
    const u32 maps = w.add_section(".maps", elf::section_progbits, 3, std::vector<std::byte>(64));
    w.add_section(".BTF", elf::section_progbits, 0, t.b.bytes());
    w.add_symbol("m", elf::symbol_object, elf::bind_global, maps, 0, 64);
    const auto object = read(w);
    return object ? std::string("accepted") : object.error().message;
  };
  MapTypes a, b, c, d;
  EXPECT_EQ(message({}, a).substr(0, 38), "section .maps: map m: map type is 0; e");
  EXPECT_EQ(message({{"type", b.int_id, 0}}, b),
            "section .maps: map m: member type: a INT, expected __uint(NAME, NUMBER)");
  EXPECT_NE(message({{"type", c.number(1), 0}, {"colour", c.number(1), 64}}, c).find("no such member"),
            std::string::npos);
  EXPECT_NE(message({{"type", d.number(1), 0}, {"key_size", d.number(8), 64}, {"key", d.of(d.int_id), 128}}, d)
                .find("4 bytes, but the size was given as 8"),
            std::string::npos);
}

TEST(Object, TheBccDialectsPrograms) {
  TestWriter w;
  const u32 section = w.add_data<Insn>("skep.bcc", exec_flags, {call(1), exit_insn, mov(1), exit_insn});
  w.add_symbol("kprobe__sys_clone", elf::symbol_func, elf::bind_global, section, 0, 16);
  w.add_symbol("helper", elf::symbol_func, elf::bind_local, section, 16, 16);
  const auto object = read(w);
  ASSERT_TRUE(object) << object.error().message;
  ASSERT_EQ(object->programs.size(), 1U);
  EXPECT_EQ(object->programs[0].type, ProgramType::unspec);
  EXPECT_EQ(object->programs[0].attach.kind, AttachKind::none);
  EXPECT_EQ(object->programs[0].insns.size(), 4U) << "the static function comes along";
}

TEST(TypesFile, ReadsBothForms) {
  const test::TemporaryDirectory directory;
  btf::Builder b;
  b.add_int("int", 4);
  auto write = [&](const char* name, const std::vector<std::byte>& bytes) {
    return directory.write(name, std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  };
  TestWriter with, without;
  with.add_section(".BTF", elf::section_progbits, 0, b.bytes());
  EXPECT_EQ((*types_of_file(write("raw", b.bytes())))->type_count(), 2U);
  EXPECT_EQ((*types_of_file(write("with.o", with.finish())))->type_count(), 2U);
  EXPECT_EQ(types_of_file(write("without.o", without.finish())).error().code, Code::not_found);
  EXPECT_EQ(types_of_file(write("empty", {})).error().code, Code::malformed);
}

TEST(Object, LinesAreFoundByInstruction) {
  ProgramSpec program;
  program.lines = {{.insn = 0, .line = 10}, {.insn = 2, .line = 0}, {.insn = 4, .line = 12}};
  EXPECT_EQ(program.line_at(0)->line, 10U);
  EXPECT_EQ(program.line_at(3)->line, 10U);
  EXPECT_EQ(program.line_at(400)->line, 12U);
  EXPECT_EQ(ProgramSpec{}.line_at(0), nullptr);
  program.lines = {{.insn = 0, .line = 0}};
  EXPECT_EQ(program.line_at(0), nullptr);
}

/// What a few bytes name again and again: before each bound, seconds to minutes or gigabytes for an object of 1 MiB.
TEST(Object, WhatIsNamedAgainAndAgainCostsNoMoreThanItWeighs) {
  constexpr u32 many = 60'000;
  const auto refused = [](TestWriter& w, btf::Builder& types) -> std::string {
    w.add_section(".BTF", elf::section_progbits, 0, types.bytes());
    const auto before = std::clock();
    const auto object = read(w);
    EXPECT_LT(std::clock() - before, 5 * CLOCKS_PER_SEC);
    return object ? "" : object.error().message;
  };
  {
    SCOPED_TRACE("sections of one name, each described by many entries of one variable of no bytes");
    TestWriter w;
    btf::Builder b;
    const u32 variable = b.add_var("v", b.add_struct("s", 0, {}), 1);
    b.add_datasec(".struct_ops", 0, std::vector<btf::SecVar>(many, {variable, 0, 0}));
    for (int i = 0; i < 20; i++) {
      const u32 section = w.add_data<u8>(".struct_ops", 3, {0});
      w.add_symbol("v", elf::symbol_object, elf::bind_global, section, 0, 0);
    }
    EXPECT_NE(refused(w, b).find("maps"), std::string::npos);
  }
  {
    SCOPED_TRACE("data sections of one name");
    TestWriter w;
    btf::Builder b;
    const u32 variable = b.add_var("v", b.add_int("char", 1), 0);
    b.add_datasec(".data.x", 1, std::vector<btf::SecVar>(many, {variable, 0, 1}));
    for (int i = 0; i < 10'000; i++) w.add_data<u8>(".data.x", 3, {0});
    EXPECT_EQ(refused(w, b), "");
  }
  const auto definition = [](btf::Builder& b, u32 members) {
    const u32 number = b.add_pointer(b.add_array(b.add_int("int", 4), 1, 2));
    return b.add_struct("definition", 8, std::vector<btf::Builder::NewMember>(members, {"type", number, 0}));
  };
  {
    SCOPED_TRACE("one map, many times");
    TestWriter w;
    btf::Builder b;
    const u32 variable = b.add_var("v", definition(b, 1), 1);
    b.add_datasec(".maps", 8, std::vector<btf::SecVar>(many, {variable, 0, 8}));
    w.add_symbol("v", elf::symbol_object, elf::bind_global, w.add_data<u64>(".maps", 3, {0}), 0, 8);
    EXPECT_NE(refused(w, b).find("more than 16384 maps"), std::string::npos);
  }
  {
    SCOPED_TRACE("a definition that says one thing many times");
    TestWriter w;
    btf::Builder b;
    const u32 variable = b.add_var("v", definition(b, many), 1);
    b.add_datasec(".maps", 8, std::vector<btf::SecVar>(1, {variable, 0, 8}));
    w.add_symbol("v", elf::symbol_object, elf::bind_global, w.add_data<u64>(".maps", 3, {0}), 0, 8);
    EXPECT_NE(refused(w, b).find("60000 members"), std::string::npos);
  }
  {
    SCOPED_TRACE("configuration values");
    TestWriter w;
    btf::Builder b;
    const u32 variable = b.add_var("CONFIG_HZ", b.add_int("int", 4), 2);
    b.add_datasec(".kconfig", 0, std::vector<btf::SecVar>(many, {variable, 0, 4}));
    EXPECT_NE(refused(w, b).find("60000 values"), std::string::npos);
  }
  {
    SCOPED_TRACE("sections of externs without an int, and functions of one long prototype");
    TestWriter w;
    btf::Builder b;
    const u32 pointer = b.add_pointer(0);
    const u32 proto = b.add_func_proto(0, std::vector<btf::Param>(many, {"", pointer}));
    const u32 function = b.add_func("f", proto, 2);
    b.add_datasec(".ksyms", 0, std::vector<btf::SecVar>(many, {function, 0, 0}));
    for (u32 i = 0; i < many; i++) b.add_datasec(".ksyms", 0, {});
    EXPECT_EQ(refused(w, b), "");
  }
}

TEST(Object, RefusalsNameThePlace) {
  auto message = [](const TestWriter& w) {
    const auto object = read(w);
    return object ? std::string("accepted") : object.error().message;
  };
  TestWriter odd;
  u32 section = odd.add_data<u8>("xdp", exec_flags, std::vector<u8>(12));
  odd.add_symbol("entry", elf::symbol_func, elf::bind_global, section, 0, 12);
  EXPECT_NE(message(odd).find("function entry: 12 bytes"), std::string::npos) << message(odd);
  TestWriter lost;
  section = lost.add_data<Insn>("xdp", exec_flags, {call(5), exit_insn});
  lost.add_symbol("entry", elf::symbol_func, elf::bind_global, section, 0, 16);
  EXPECT_EQ(message(lost),
            "program entry: section xdp offset 0x0: refers to instruction 6 of section xdp, where no function begins");
  TestWriter inside;
  section = inside.add_data<Insn>("xdp", exec_flags, {insn(code::ld_imm64), insn(0), exit_insn});
  inside.add_symbol("entry", elf::symbol_func, elf::bind_global, section, 0, 24);
  inside.add_relocation(section, 8, 0);
  EXPECT_NE(message(inside).find("offset 0x8: a relocation inside an instruction"), std::string::npos);
  TestWriter other;
  EXPECT_NE(ObjectSpec::from_bytes(other.finish(62), "x").error().message.find("clang -target bpf"), std::string::npos);
  TestWriter huge;
  huge.add_section(".bss", elf::section_nobits, 3, {}, ~0ULL);
  EXPECT_EQ(read(huge).error().code, Code::limit);
  EXPECT_EQ(ObjectSpec::from_file("/nonexistent/x.o").error().code, Code::not_found);
}

}  // namespace
}  // namespace skep::spec
