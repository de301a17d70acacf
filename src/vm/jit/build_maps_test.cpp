// Look-ups in the intermediate form, on tables made by hand: every way through a chain, and what is not believed.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/run_helpers.hpp"
#include "isa/text.hpp"
#include "vm/jit/build.hpp"
#include "vm/jit/optimised.hpp"
#include "vm/jit/passes.hpp"

namespace skep::vm::jit {
namespace {

using base::HashView;
using base::MapView;

constexpr u64 map_address = 0x1234'5678'0000, asked_the_map = 0x5a5a;

u64 ask(void*, u64 map, u64, u64, u64, u64) noexcept { return map == map_address ? asked_the_map : 0; }

/// Sixteen buckets and elements; the chains are the test's own.
struct Table {
  struct Element {
    u32 next = 0, hash = 0, generation = 2, unused = 0;
    u64 key[2] = {}, value = 0, padding = 0;
  };
  std::array<u64, 16> buckets{};
  std::array<Element, 16> elements{};
  std::array<u8, 16> used{};
  MapView view;

  explicit Table(u32 key_size) {
    view.kind = MapView::Kind::hash;
    view.key_size = key_size;
    view.value_size = 8;
    view.stride = sizeof(Element);
    view.values = reinterpret_cast<u64>(&elements[0].value) - sizeof(Element);
    view.hash.buckets = reinterpret_cast<u64>(buckets.data());
    view.hash.elements = reinterpret_cast<u64>(elements.data()) - sizeof(Element);
    view.hash.element_stride = sizeof(Element);
    view.hash.hash_shift = 60;
    view.hash.seeds[0] = 0x9e3779b97f4a7c15;
    view.hash.seeds[1] = 0xd6e8feb86659fd93;
    view.lookup = ask;
  }
  u64& bucket(u64 first, u64 second) {
    const u64 hash = view.key_size > 8 ? HashView::hash_of_words(first, second, view.hash.seeds)
                                       : HashView::hash_of_word(first, view.hash.seeds[0]);
    return buckets[hash >> 60];
  }
  /// Number `ref` becomes the first of its chain.
  u64 put(u32 ref, u64 first, u64 second = 0) {
    Element& e = elements[ref - 1];
    e.key[0] = first;
    e.key[1] = second;
    u64& head = bucket(first, second);
    e.next = static_cast<u32>(head);
    head = ((head >> 32) + 1) << 32 | ref;
    return reinterpret_cast<u64>(&e.value);
  }
};

/// A program that looks up the key that r1 points to, through every pass, in the evaluator and as machine code.
struct Program {
  std::unique_ptr<const Bytecode> code;
  Built built;
  std::shared_ptr<CodeMemory> memory = CodeMemory::create();
  Placed placed;

  Program(const Table& table, bool key_in_registers) {
    const std::string text = key_in_registers
                                 ? "r2 = *(u64 *)(r1 + 0)\n*(u64 *)(r10 - 16) = r2\nr2 = *(u64 *)(r1 + 8)\n"
                                   "*(u64 *)(r10 - 8) = r2\nr2 = r10\nr2 += -16\nr1 = map[m]\ncall 1\nexit"
                                 : "r2 = r1\nr1 = map[m]\ncall 1\nexit";
    auto assembly = isa::parse(text, {});
    EXPECT_TRUE(assembly) << (assembly ? "" : assembly.error().message);
    Reference reference;
    reference.insn = assembly->maps.at(0).insn;
    Bindings bindings;
    bindings.maps = {map_address};
    bindings.map_views = {table.view};
    const HelperFn helpers[] = {nullptr, ask};
    bindings.helpers = helpers;
    proofs_.assign(assembly->insns.size(), {.reached = true, .jump_taken = true, .jump_passed = true});
    // The two stores and the helper's key.
    const auto key_end = static_cast<s16>(-16 + static_cast<s32>(table.view.key_size));
    touches_ = {{1, 0, -16, -8, 10}, {3, 0, -8, 0, 10}, {8, 0, -16, key_end, 2}};
    auto translated = translate({.insns = assembly->insns,
                                 .references = {&reference, 1},
                                 .context_loads = {},
                                 .proofs = key_in_registers ? proofs_ : std::span<const verify::InsnProof>{},
                                 .stack_touches = key_in_registers ? touches_ : std::span<const verify::StackTouch>{}},
                                bindings);
    EXPECT_TRUE(translated) << (translated ? "" : translated.error().message);
    code = std::move(*translated);
    built = build(*code, {}, {});
    EXPECT_EQ(ir::check(built.module.functions[0]), "");
    for (const auto& pass : ir::passes()) {
      pass.run(built.module.functions[0], {});
      EXPECT_EQ(ir::check(built.module.functions[0]), "") << pass.name;
    }
    if (auto made = compile_optimised(*code, nullptr, *memory); made) placed = std::move(*made);
  }

  /// The same in both; else a number that no test expects.
  u64 operator()(u64 first, u64 second = 0) const {
    const u64 key[2] = {first, second};
    const u64 parameters[] = {reinterpret_cast<u64>(key), 0, 0, 0, 0};
    base::Run run;
    const u64 evaluated = ir::evaluate(built.module, 0, &run, parameters);
    if (placed.code.bytes().empty()) return evaluated;
    const auto entry = reinterpret_cast<HelperFn>(reinterpret_cast<u64>(placed.code.data()));
    return entry(&run, parameters[0], 0, 0, 0, 0) == evaluated ? evaluated : 0xdead;
  }
  u32 count(ir::Op op) const {
    u32 found = 0;
    for (const auto& block : built.module.functions[0].blocks)
      for (const auto v : block.insns) found += built.module.functions[0].insns[v].op == op ? 1 : 0;
    return found;
  }

 private:
  std::vector<verify::InsnProof> proofs_;
  std::vector<verify::StackTouch> touches_;
};

TEST(BuildMaps, AHashMapIsWalkedInTheProgram) {
  for (const u32 key_size : {4u, 8u, 12u, 16u})
    for (const bool in_registers : {false, true}) {
      SCOPED_TRACE(testing::Message() << "key of " << key_size << (in_registers ? ", in registers" : ", in memory"));
      Table table(key_size);
      const Program look_up(table, in_registers);
      EXPECT_EQ(look_up(1, 2), 0u) << "an empty bucket";
      // Three keys of one chain, and one that would be in it.
      std::vector<std::array<u64, 2>> keys;
      for (u64 k = 0; keys.size() < 4; k++) {
        const std::array<u64, 2> key{key_size == 4 ? k : k << 20, key_size > 8 ? k * 7 % 1000 : 0};
        if (&table.bucket(key[0], key[1]) == &table.buckets[5]) keys.push_back(key);
      }
      std::vector<u64> values;
      for (u32 i = 0; i < 3; i++) values.push_back(table.put(i + 1, keys[i][0], keys[i][1]));
      for (u32 i = 0; i < 3; i++) EXPECT_EQ(look_up(keys[i][0], keys[i][1]), values[i]) << "place " << 3 - i;
      EXPECT_EQ(look_up(keys[3][0], keys[3][1]), 0u) << "not in the chain";
      if (key_size > 8) {
        EXPECT_EQ(look_up(keys[0][0], keys[0][1] + 1), 0u) << "half a key";
      }
      // An element that is being written is not believed: the map is asked.
      table.elements[1].generation = 3;
      EXPECT_EQ(look_up(keys[1][0], keys[1][1]), asked_the_map);
      EXPECT_EQ(look_up(keys[0][0], keys[0][1]), values[0]) << "behind it in the chain";
      EXPECT_EQ(look_up.count(ir::Op::call), 1u);
      EXPECT_GT(look_up.count(ir::Op::load_acquire), 3u);
      EXPECT_EQ(look_up.count(ir::Op::mulh), key_size > 8 ? 1u : 0u);
    }
}

TEST(BuildMaps, KeysInRegistersNeedNoMemoryOnTheUsualWay) {
  Table table(16);
  const Program look_up(table, true);
  const auto& f = look_up.built.module.functions[0];
  for (ir::BlockId b = 0; b < f.blocks.size(); b++)
    for (const auto v : f.blocks[b].insns) {
      if (f.insns[v].op != ir::Op::store) continue;
      const auto& last = f.blocks[b].insns;
      const bool is_before_the_call =
          std::ranges::any_of(last, [&](ir::Value other) { return f.insns[other].op == ir::Op::call; });
      EXPECT_TRUE(is_before_the_call) << ir::print(f);
    }
}

TEST(BuildMaps, UsedElementsOfAnLruAreMarked) {
  Table table(8);
  table.view.hash.used = reinterpret_cast<u64>(table.used.data()) - 1;
  const Program look_up(table, true);
  const u64 value = table.put(3, 77);
  EXPECT_EQ(look_up(78), 0u);
  EXPECT_EQ(table.used[2], 0);
  EXPECT_EQ(look_up(77), value);
  EXPECT_EQ(table.used[2], 1);
  table.used[2] = 9;
  EXPECT_EQ(look_up(77), value);
  EXPECT_EQ(table.used[2], 9) << "no second write";
}

TEST(BuildMaps, PerCpuValuesLieApart) {
  Table table(8);
  std::array<u64, 64> values{};
  table.view.stride = 8;
  table.view.values = reinterpret_cast<u64>(values.data()) - 8;
  table.view.cpu_stride = 128;
  const Program look_up(table, true);
  table.put(3, 77);
  EXPECT_EQ(look_up(77), reinterpret_cast<u64>(&values[2]));
  base::current_cpu = 3;
  EXPECT_EQ(look_up(77), reinterpret_cast<u64>(&values[2 + 3 * 16]));
  base::current_cpu = 0;
}

TEST(BuildMaps, TheCpuIsReadFromTheRun) {
  const auto insns = isa::assemble("r6 = r1\ncall 2\nr0 += r6\ncall 1\nexit");
  ASSERT_TRUE(insns);
  const HelperFn helpers[] = {nullptr, base::cpu_of_run, ask};
  for (const bool is_known : {true, false}) {
    Bindings bindings;
    const HelperFn others[] = {nullptr, ask, ask};
    bindings.helpers = is_known ? helpers : others;
    const auto code = translate({*insns, {}, {}}, bindings);
    ASSERT_TRUE(code);
    const Built built = build(**code, {}, {});
    EXPECT_EQ(ir::check(built.module.functions[0]), "");
    u32 calls = 0;
    for (const auto& inst : built.module.functions[0].insns) calls += inst.op == ir::Op::call;
    EXPECT_EQ(calls, is_known ? 1u : 2u);
    base::Run run;
    run.cpu = 7;
    const u64 parameters[5] = {};
    EXPECT_EQ(ir::evaluate(built.module, 0, &run, parameters), is_known ? 7u : 0u);
  }
}

}  // namespace
}  // namespace skep::vm::jit
