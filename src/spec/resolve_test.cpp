// What depends on the machine goes into the instructions: externs, kernel configuration, CO-RE.
#include "spec/resolve.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <ctime>

#include "spec/test_object.hpp"

namespace skep::spec {
namespace {

/// An object with one kconfig value, one typed symbol and one kernel function.
Result<ObjectSpec> with_externs(bool weak) {
  btf::Builder b;
  const u32 int_id = b.add_int("int", 4, Encoding::signed_);
  const u32 bool_id = b.add_int("_Bool", 1, Encoding::bool_);
  const u32 version = b.add_var("LINUX_KERNEL_VERSION", int_id, 2);
  const u32 flag = b.add_var("CONFIG_FLAG", bool_id, 2);
  const btf::SecVar kconfig[] = {{flag, 0, 1}, {version, 0, 4}};
  b.add_datasec(".kconfig", 0, kconfig);
  const u32 proto = b.add_func_proto(int_id, {});
  const u32 func = b.add_func("bpf_task_acquire", proto, 2);
  const btf::Param unnamed[] = {{"", int_id}};
  b.add_func("bpf_task_from_pid", b.add_func_proto(int_id, unnamed), 2);  // declared without its section
  const u32 symbol = b.add_var("runqueues", int_id, 2);
  const btf::SecVar ksyms[] = {{symbol, 0, 0}, {func, 0, 0}};
  b.add_datasec(".ksyms", 0, ksyms);
  TestWriter w;
  w.add_section(".BTF", elf::section_progbits, 0, b.bytes());
  const Insn load = insn(code::ld_imm64, 1);
  const u32 entry =
      w.add_data<Insn>("tp_btf/x", exec_flags, {load, insn(0), load, insn(0), load, insn(0), call(-1), exit_insn});
  w.add_symbol("entry", elf::symbol_func, elf::bind_global, entry, 0, 64);
  const u8 binding = weak ? elf::bind_weak : elf::bind_global;
  w.add_relocation(entry, 0, w.add_symbol("CONFIG_FLAG", elf::symbol_notype, binding, 0, 0, 0));
  w.add_relocation(entry, 16, w.add_symbol("LINUX_KERNEL_VERSION", elf::symbol_notype, binding, 0, 0, 0));
  w.add_relocation(entry, 32, w.add_symbol("runqueues", elf::symbol_notype, binding, 0, 0, 0));
  w.add_relocation(entry, 48, w.add_symbol("bpf_task_acquire", elf::symbol_notype, binding, 0, 0, 0), 10);
  return read(w);
}

TEST(Object, ExternsAreReferences) {
  auto object = with_externs(false);
  ASSERT_TRUE(object) << object.error().message;
  const auto& references = object->programs[0].references;
  ASSERT_EQ(references.size(), 4U);
  EXPECT_EQ(references[0].kind, Reference::Kind::kconfig);
  EXPECT_EQ(references[0].name, "CONFIG_FLAG");
  EXPECT_EQ(references[0].addend, 4U) << "after the more strictly aligned one";
  EXPECT_EQ(references[1].addend, 0U);
  EXPECT_EQ(references[2].kind, Reference::Kind::ksym);
  EXPECT_NE(references[2].type_id, 0U);
  EXPECT_EQ(references[3].kind, Reference::Kind::kfunc);
  EXPECT_EQ(object->btf->type(references[3].type_id).name, "bpf_task_acquire");
  EXPECT_EQ(object->programs[0].insns[6].src, code::call_kfunc);
  // The types can go to the kernel: no externs, places for everything.
  const auto ksyms = object->btf->type(*object->btf->find(".ksyms", btf::Kind::datasec));
  EXPECT_EQ(ksyms.size(), 8U);
  EXPECT_EQ(object->btf->linkage(object->btf->type(references[3].type_id)), 1U);
  const auto elsewhere = object->btf->type(*object->btf->find("bpf_task_from_pid", btf::Kind::func));
  EXPECT_EQ(object->btf->linkage(elsewhere), 1U);
  EXPECT_FALSE(object->btf->params(object->btf->type(elsewhere.type_id())).at(0).name.empty()) << "no kernel takes it";
}

TEST(Resolve, KconfigValuesFillTheirMap) {
  auto object = with_externs(false);
  ASSERT_TRUE(object) << object.error().message;
  const auto done = resolve_kconfig(*object, [](std::string_view name) -> std::optional<std::string> {
    return name == "CONFIG_FLAG" ? "y" : "0x61200";
  });
  ASSERT_TRUE(done) << done.error().message;
  const auto& reference = object->programs[0].references[0];
  EXPECT_EQ(reference.kind, Reference::Kind::map_value);
  const auto& map = object->maps[reference.map];
  EXPECT_EQ(map.name, "sample.kconfig");
  EXPECT_TRUE(map.frozen);
  u32 version = 0;
  std::memcpy(&version, map.initial_value.data(), 4);
  EXPECT_EQ(version, 0x61200U);
  EXPECT_EQ(map.initial_value[4], std::byte{1});
}

TEST(Resolve, MissingKconfigValuesAreZeroWhenWeak) {
  auto nothing = [](std::string_view) -> std::optional<std::string> { return std::nullopt; };
  auto strong = with_externs(false);
  auto weak = with_externs(true);
  ASSERT_TRUE(strong && weak);
  const auto refused = resolve_kconfig(*strong, nothing);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::not_found);
  EXPECT_TRUE(resolve_kconfig(*weak, nothing));
  auto typed = with_externs(true);
  EXPECT_NE(resolve_kconfig(*typed, [](std::string_view) { return "\"text\""; }).error().message.find("array of char"),
            std::string::npos);
}

TEST(Resolve, InstructionsFollowTheTarget) {
  auto types = [](u32 padding, u32 size) {
    btf::Builder b;
    const u32 number = b.add_int("number", size);
    const btf::Builder::NewMember members[] = {{"x", number, padding * 8}};
    b.add_struct("s", padding + size, members);
    return *b.build();
  };
  const auto local = types(4, 4);
  const CoreRelocation offset{.insn = 0, .type_id = 2, .access = "0:0", .kind = 0};
  auto patched = [&](Insn first, std::shared_ptr<const btf::Btf> target, u32 kind = 0) {
    ProgramSpec program;
    program.insns = {first, insn(0), exit_insn};
    program.relocations = {offset};
    program.relocations[0].kind = kind;
    const std::shared_ptr<const btf::Btf> targets[] = {std::move(target)};
    btf::CoreBudget budget;
    const auto done = apply_core(program, *local, targets, budget);
    return done ? program.insns[0] : insn(0xff);
  };
  const Insn load = insn(0x61, 1, 2, 4);  // r1 = *(u32 *)(r2 + 4)
  EXPECT_EQ(patched(load, types(12, 4)), insn(0x61, 1, 2, 12));
  EXPECT_EQ(patched(load, types(16, 8)), insn(0x79, 1, 2, 16)) << "wider in the target";
  EXPECT_EQ(patched(load, types(16, 1)), insn(0x71, 1, 2, 16));
  EXPECT_EQ(patched(insn(0x07, 1, 0, 0, 4), types(70000, 4)), insn(0x07, 1, 0, 0, 70000));
  EXPECT_EQ(patched(load, types(70000, 4)).code, 0xff) << "no load reaches so far";
  EXPECT_EQ(patched(insn(0x61, 1, 2, 5), types(12, 4)).code, 0xff) << "the instruction contradicts the types";
  btf::Builder empty;
  empty.add_int("int", 4);
  EXPECT_TRUE(is_poisoned(patched(load, *empty.build())));
  EXPECT_EQ(patched(insn(0xb7, 1, 0, 0, 1), *empty.build(), 2), insn(0xb7, 1, 0, 0, 0)) << "field_exists";
  EXPECT_EQ(patched(insn(code::ld_imm64, 1, 0, 0, 4), types(9, 4)).imm, 9);
  ProgramSpec program;
  program.insns = {load};
  program.relocations = {offset};
  btf::CoreBudget budget;
  EXPECT_EQ(apply_core(program, *local, {}, budget).error().code, Code::unsupported);
}

/// A structure of many members, compared with itself member by member
/// by each of many relocations: each is within its own bounds, all of them together would take minutes.
TEST(Resolve, RelocationsOfAnObjectHaveOneBudget) {
  btf::Builder b;
  const u32 number = b.add_int("number", 4);
  std::vector<btf::Builder::NewMember> members;
  std::vector<std::string> names;
  constexpr u32 count = 600;
  for (u32 i = 0; i < count; ++i) names.push_back("member" + std::to_string(i));
  for (u32 i = 0; i < count; ++i) members.push_back({names[i], number, 32 * i});
  const u32 record = b.add_struct("s", 4 * count, members);
  const std::shared_ptr<const btf::Btf> types = *b.build();
  ProgramSpec program;
  program.insns.assign(20'000, insn(0xb7, 1, 0, 0, 1));
  for (u32 i = 0; i < program.insns.size(); ++i)
    program.relocations.push_back(
        {.insn = i, .type_id = record, .access = "0", .kind = static_cast<u32>(btf::CoreKind::type_matches)});
  btf::CoreBudget budget;
  ProgramSpec small = program;
  small.relocations.resize(50);
  EXPECT_TRUE(apply_core(small, *types, {&types, 1}, budget));
  const std::clock_t began = std::clock();  // of this process, whatever else runs
  const auto done = apply_core(program, *types, {&types, 1}, budget);
  EXPECT_LT((std::clock() - began) / CLOCKS_PER_SEC, 10);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::limit);
  EXPECT_NE(done.error().message.find("look at more than"), std::string::npos) << done.error().message;
}

}  // namespace
}  // namespace skep::spec
