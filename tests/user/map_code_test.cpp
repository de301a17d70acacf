// Look-ups that the JITs write into programs, beside the maps' own: every kind of map and size of key, keys in
// registers and in memory, and while other threads change the map.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>

#include "helper/call.hpp"
#include "helper/helpers.hpp"
#include "helper/local_task.hpp"
#include "isa/text.hpp"
#include "map/map.hpp"
#include "user/prepare.hpp"
#include "verify/verify.hpp"
#include "vm/function.hpp"

namespace skep {
namespace {

constexpr u32 possible_key_bytes = 24;

MapSpec map_spec(std::string name, MapType type, u32 key_size, u32 value_size, u32 max_entries) {
  MapSpec spec;
  spec.name = std::move(name);
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  return spec;
}

/// A program over two maps: `input`, whose one value it is given, and `table`, the one it works on.
struct Subject {
  std::shared_ptr<map::Map> input, table;
  std::shared_ptr<const vm::Function> function;
  std::string problem;

  Subject(const MapSpec& table_spec, const std::string& text, vm::Tier tier) : problem(make(table_spec, text, tier)) {}

  /// Empty, or what went wrong.
  std::string make(const MapSpec& table_spec, const std::string& text, vm::Tier tier) {
    ObjectSpec object;
    object.license = "GPL";
    object.maps = {map_spec("input", MapType::array, 4, possible_key_bytes, 1), table_spec};
    auto assembly = isa::parse(text, {});
    if (!assembly) return assembly.error().message;
    ProgramSpec program;
    program.name = "subject";
    program.type = ProgramType::socket_filter;
    program.functions.push_back({0, 0, "entry", false});
    for (const auto& map : assembly->maps) {
      Reference reference;
      reference.insn = map.insn;
      reference.kind = map.name == "input" ? Reference::Kind::map_value : Reference::Kind::map;
      reference.map = map.name == "input" ? 0 : 1;
      program.references.push_back(reference);
    }
    program.insns = std::move(assembly->insns);
    object.programs.push_back(program);
    const auto outcome = verify::verify(program, object, user::engine_rules());
    if (!outcome) return outcome.error().message;
    if (!outcome->program) return verify::explain(outcome->report, program);
    vm::Bindings bindings;
    bindings.helpers = helper::table();
    for (auto* into : {&input, &table}) {
      auto made = map::Map::create(object.maps[bindings.maps.size()]);
      if (!made) return made.error().message;
      *into = *made;
      bindings.maps.push_back(reinterpret_cast<u64>(into->get()));
      bindings.map_values.push_back(reinterpret_cast<u64>((*into)->direct_value()));
      bindings.map_views.push_back((*into)->inline_view());
    }
    auto linked = vm::Function::link(*outcome->program, bindings, {.tier = tier});
    if (!linked) return linked.error().message;
    function = *linked;
    return "";
  }

  /// r0 of a run on `cpu` with this key in `input`.
  u64 run(const void* key, u32 bytes, u32 cpu = 0) const {
    const map::RunSection section(cpu);
    std::memcpy(input->direct_value(), key, bytes);
    std::array<u64, 64> context{};
    helper::LocalTask task;
    helper::Call call;
    call.task = &task;
    call.context = context.data();
    return function->run(call, context.data());
  }
};

/// The address of the value of the key in `input`. `in_memory`: the helper is given the map value's own address; else
/// the key is copied to the stack in pieces of `piece` bytes.
std::string look_up(u32 key_size, bool in_memory, u32 piece) {
  std::string text = "r6 = map[input][0]+0\n";
  if (in_memory) {
    text += "r2 = r6\n";
  } else {
    for (u32 at = 0; at < key_size;) {
      u32 size = piece;
      while (size > key_size - at) size /= 2;
      text += fmt::format("r1 = *(u{0} *)(r6 + {1})\n*(u{0} *)(r10 - {2}) = r1\n", size * 8, at, 24 - at);
      at += size;
    }
    text += "r2 = r10\nr2 += -24\n";
  }
  return text + "r1 = map[table]\ncall 1\n";
}

constexpr const char* hand_out = "if r0 == 0 goto none\nr0 = *(u64 *)(r0 + 0)\nexit\nnone: r0 = -1\nexit\n";

std::array<u64, 3> key_of(u64 number, u32 key_size) {
  std::array<u64, 3> key{};
  const u64 words[] = {number * 0x0123456789abcdef, ~number, number << 56};
  std::memcpy(key.data(), words, key_size);
  std::memcpy(key.data(), &number, std::min<u32>(key_size, 2));
  return key;
}

TEST(MapCode, FindsWhatTheMapFinds) {
  const u32 last_cpu = map::possible_cpus() - 1;
  for (const MapType type : {MapType::hash, MapType::percpu_hash, MapType::lru_hash, MapType::lru_percpu_hash})
    for (const u32 key_size : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 12u, 13u, 16u, 17u, 24u})
      for (const u32 entries : {1u, 200u})
        for (const u32 piece : {0u, 1u, 4u, 8u}) {
          SCOPED_TRACE(fmt::format("{}, key of {} bytes, {} entries, {}", name_of(type), key_size, entries,
                                   piece == 0 ? "in memory" : fmt::format("in pieces of {}", piece)));
          const Subject subject(map_spec("table", type, key_size, 8, entries),
                                look_up(key_size, piece == 0, piece) + hand_out, vm::Tier::optimised);
          ASSERT_EQ(subject.problem, "");
          for (u64 number = 0; number < entries; number++) {
            const map::RunSection section(last_cpu);
            const u64 value = number * 3;
            ASSERT_EQ(subject.table->update(key_of(number, key_size).data(), &value, 0), 0);
          }
          for (u64 number = 0; number < entries + 20; number++) {
            const auto key = key_of(number, key_size);
            const u64 found = subject.run(key.data(), key_size, last_cpu);
            ASSERT_EQ(found, number < entries ? number * 3 : ~u64{0}) << number;
            const bool is_percpu = type == MapType::percpu_hash || type == MapType::lru_percpu_hash;
            if (is_percpu && last_cpu != 0 && number < entries) {
              ASSERT_EQ(subject.run(key.data(), key_size, 0), 0u) << "another CPU's value";
            }
          }
        }
}

TEST(MapCode, ArraysOfEveryCpu) {
  for (const MapType type : {MapType::array, MapType::percpu_array}) {
    const Subject subject(map_spec("table", type, 4, 24, 5), look_up(4, false, 4) + hand_out, vm::Tier::optimised);
    ASSERT_EQ(subject.problem, "");
    for (u32 cpu = 0; cpu < map::possible_cpus(); cpu++) {
      const map::RunSection section(cpu);
      for (u32 index = 0; index < 5; index++) {
        const u64 value[3] = {index * 100 + (type == MapType::array ? 0 : cpu)};
        ASSERT_EQ(subject.table->update(&index, value, 0), 0);
      }
    }
    for (u32 cpu = 0; cpu < map::possible_cpus(); cpu++)
      for (const u32 index : {0u, 4u, 5u, 0x80000000u, 0xffffffffu})
        EXPECT_EQ(subject.run(&index, 4, cpu), index < 5 ? index * 100 + (type == MapType::array ? 0 : cpu) : ~u64{0});
  }
}

/// Keys and values that are registers until the helper is called.
TEST(MapCode, UpdatesAndRemovalsTakeKeysFromRegisters) {
  const std::string update =
      "r6 = map[input][0]+0\nr1 = *(u32 *)(r6 + 0)\n*(u32 *)(r10 - 24) = r1\nr1 = *(u32 *)(r6 + 4)\n"
      "*(u32 *)(r10 - 20) = r1\nr1 = *(u64 *)(r6 + 8)\n*(u64 *)(r10 - 16) = r1\n*(u32 *)(r10 - 8) = 77\n"
      "*(u32 *)(r10 - 4) = r1\n"
      "r1 = map[table]\nr2 = r10\nr2 += -24\nr3 = r10\nr3 += -16\nr4 = 0\ncall 2\nr7 = r0\n"
      "*(u64 *)(r10 - 16) = r7\n"
      "r1 = map[table]\nr2 = r10\nr2 += -24\ncall 1\nif r0 == 0 goto none\nr8 = *(u64 *)(r0 + 8)\n"
      "r1 = map[table]\nr2 = r10\nr2 += -24\ncall 3\nr7 += r0\n"
      "r1 = map[table]\nr2 = r10\nr2 += -24\ncall 1\nif r0 != 0 goto none\n"
      "r0 = r8\nr0 += r7\nexit\nnone: r0 = -1\nexit\n";
  for (const vm::Tier tier : {vm::Tier::interpreter, vm::Tier::baseline, vm::Tier::optimised}) {
    const Subject subject(map_spec("table", MapType::hash, 8, 16, 4), update, tier);
    ASSERT_EQ(subject.problem, "");
    const u64 key[2] = {0x1122334455667788, 0x99aabbccddeeff00};
    EXPECT_EQ(subject.run(key, 16), 0xddeeff00'0000004d) << name_of(tier);
  }
}

/// Compilers keep the address of a key in a register over a loop, or on the stack.
TEST(MapCode, AddressesOfKeysAreFollowedThroughRegistersAndTheStack) {
  for (const char* again : {"r2 = *(u64 *)(r10 - 40)\n", "r2 = r7\n"}) {
    const std::string text =
        std::string("r6 = map[input][0]+0\nr7 = r10\nr7 += -24\n*(u64 *)(r10 - 40) = r7\nr8 = 0\n") +
        "r9 = 0\nagain: r1 = *(u32 *)(r6 + 0)\nr1 += r8\n*(u32 *)(r10 - 24) = r1\n" + again +
        "r1 = map[table]\ncall 1\nif r0 == 0 goto next\nr0 = *(u64 *)(r0 + 0)\nr9 += r0\n"
        "next: r8 += 1\nif r8 < 5 goto again\nr2 = r7\nr1 = map[table]\ncall 3\nr0 += r9\nexit\n";
    for (const vm::Tier tier : {vm::Tier::interpreter, vm::Tier::baseline, vm::Tier::optimised}) {
      const Subject subject(map_spec("table", MapType::hash, 4, 8, 8), text, tier);
      ASSERT_EQ(subject.problem, "");
      for (u32 key = 10; key < 15; key++) {
        const u64 value = key;
        if (key != 12) {
          ASSERT_EQ(subject.table->update(&key, &value, 0), 0);
        }
      }
      const u32 first = 10, last = 14;
      EXPECT_EQ(subject.run(&first, 4), 10u + 11 + 13 + 14) << name_of(tier) << again;
      EXPECT_EQ(subject.table->lookup(&last), nullptr) << "the last key was removed";
    }
  }
}

/// Keys that stay are found and keys that never were are not, whatever happens to the others in their chains. Keys of
/// 16 bytes are drawn so that half of one and half of another make a third.
TEST(MapCode, ThatOtherThreadsDisturbIsRight) {
  for (const MapType type : {MapType::hash, MapType::lru_hash})
    for (const u32 key_size : {4u, 8u, 16u}) {
      SCOPED_TRACE(fmt::format("{}, key of {} bytes", name_of(type), key_size));
      const auto made_key = [&](u64 number) {
        return key_size == 16 ? std::array{number % 8, number / 8} : std::array{number, u64{0}};
      };
      // 0..7 stay; 8..71 come and go; those from 72 on never are.
      const u32 entries = type == MapType::hash ? 64 : 4096;
      const Subject subject(map_spec("table", type, key_size, 8, entries), look_up(key_size, false, 4) + hand_out,
                            vm::Tier::optimised);
      ASSERT_EQ(subject.problem, "");
      for (u64 number = 0; number < 8; number++)
        ASSERT_EQ(subject.table->update(made_key(number).data(), &number, 0), 0);
      std::atomic<bool> stop = false;
      std::thread writer([&] {
        std::mt19937 random(key_size);
        while (!stop) {
          const u64 comes = 8 + random() % 64, stays = random() % 8;
          if (random() % 2 == 0)
            subject.table->update(made_key(comes).data(), &comes, 0);
          else
            subject.table->erase(made_key(comes).data());
          subject.table->update(made_key(stays).data(), &stays, map::update_exist);
        }
      });
      u64 missed = 0, invented = 0;
      std::mt19937 random(1);
      for (int i = 0; i < 30000; i++) {
        const u64 stays = random() % 8, never = 72 + random() % 8 + (key_size == 16 ? 0 : random() % 1000);
        missed += subject.run(made_key(stays).data(), key_size) == ~u64{0};
        invented += subject.run(made_key(never).data(), key_size) != ~u64{0};
      }
      stop = true;
      writer.join();
      EXPECT_EQ(missed, 0u);
      EXPECT_EQ(invented, 0u);
    }
}

}  // namespace
}  // namespace skep
