// Objects for tests of the registry and the control socket: no engine behind them, every field set.
#pragma once
#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <skep/backend.hpp>

#include "user/registry.hpp"

namespace skep::user::testing {

using Bytes = std::vector<std::byte>;

inline u32 number_of(std::span<const std::byte> bytes) {
  u32 number = 0;
  __builtin_memcpy(&number, bytes.data(), std::min(bytes.size(), sizeof number));
  return number;
}

inline Bytes bytes_of(u32 number) {
  Bytes bytes(sizeof number);
  __builtin_memcpy(bytes.data(), &number, sizeof number);
  return bytes;
}

/// A hash of u32 to any value, with the kernel's next_key order rule: the first key where `key` is gone.
struct FakeMap final : RegisteredMap {
  MapInfo info{.type = MapType::hash, .name = "numbers", .key_size = 4, .value_size = 4, .max_entries = 100000};
  mutable std::mutex mutex;
  mutable std::map<u32, Bytes> elements;
  mutable std::atomic<int> lookups{0};
  mutable std::atomic<bool> frozen{false};

  struct Handle final : Map::Impl {
    explicit Handle(std::shared_ptr<const FakeMap> m) : map(std::move(m)) {}
    std::shared_ptr<const FakeMap> map;
    const MapInfo& info() const override { return map->info; }
    Result<Bytes> lookup(std::span<const std::byte> key) override {
      const std::lock_guard lock(map->mutex);
      ++map->lookups;
      const auto found = map->elements.find(number_of(key));
      if (found == map->elements.end()) return fail(Code::not_found, "no such key", 2);
      return found->second;
    }
    Result<void> update(std::span<const std::byte> key, std::span<const std::byte> value, u64) override {
      const std::lock_guard lock(map->mutex);
      if (key.size() != 4) return fail(Code::invalid_argument, "key size");
      map->elements[number_of(key)] = Bytes(value.begin(), value.end());
      return {};
    }
    Result<void> erase(std::span<const std::byte> key) override {
      const std::lock_guard lock(map->mutex);
      if (map->elements.erase(number_of(key)) == 0) return fail(Code::not_found, "no such key", 2);
      return {};
    }
    Result<std::optional<Bytes>> next_key(std::optional<std::span<const std::byte>> key) override {
      const std::lock_guard lock(map->mutex);
      auto next = map->elements.begin();
      if (key)
        if (auto found = map->elements.find(number_of(*key)); found != map->elements.end()) next = std::next(found);
      if (next == map->elements.end()) return std::nullopt;
      return bytes_of(next->first);
    }
    Result<RingReader> open_ring() override { return fail(Code::unsupported, "not a ring"); }
    Result<Bytes> take(std::span<const std::byte> key) override {
      auto value = SKEP_TRY(lookup(key));
      SKEP_TRY(erase(key));
      return value;
    }
    Result<void> freeze() override {
      map->frozen = true;
      return {};
    }
  };

  MapInfo describe() const override { return info; }
  std::shared_ptr<Map::Impl> open(std::shared_ptr<const RegisteredMap> self) const override {
    return std::make_shared<Handle>(std::static_pointer_cast<const FakeMap>(self));
  }
};

struct FakeProgram final : RegisteredProgram {
  ProgramInfo info{.type = ProgramType::kprobe,
                   .name = "hello",
                   .tag = "0123456789abcdef",
                   .gpl_compatible = true,
                   .loaded_at = 1700000000,
                   .uid = 1000,
                   .bytes_xlated = 16,
                   .map_ids = {7, 8, 9},
                   .run_count = 42,
                   .pinned = {"/a", "/b"}};
  u32 code_insns = 2;
  ProgramInfo describe() const override { return info; }
  Result<ProgramCode> code() const override {
    ProgramCode code;
    code.insns.assign(code_insns, Insn{0xb7, 0, 0, 0, 1});
    code.lines = {{.insn = 0, .file = "hello.c", .text = "return 0;", .line = 3, .column = 5}};
    code.functions = {{.insn = 0, .type_id = 4, .name = "hello", .is_global = true}};
    code.jited = {std::byte{0xc3}};
    return code;
  }
  /// Adds the sizes of its inputs, and hands the packet back.
  Result<TestRunResult> test_run(const TestRun& run) const override {
    return TestRunResult{.result = run.data.size() + run.context.size(), .data = run.data, .duration_ns = run.repeat};
  }
};

struct FakeLink final : RegisteredLink {
  LinkInfo info{.type = "perf_event", .target = "syscall:execve", .program_id = 3};
  LinkInfo describe() const override { return info; }
};

/// A registry with one of each, published.
struct FakeObjects {
  std::shared_ptr<Registry> registry = std::make_shared<Registry>();
  std::shared_ptr<FakeProgram> program = std::make_shared<FakeProgram>();
  std::shared_ptr<FakeMap> map = std::make_shared<FakeMap>();
  std::shared_ptr<FakeLink> link = std::make_shared<FakeLink>();
  Table<const RegisteredProgram>::Lease program_id = registry->program_table->reserve().value();
  Table<const RegisteredMap>::Lease map_id = registry->map_table->reserve().value();
  Table<const RegisteredLink>::Lease link_id = registry->link_table->reserve().value();

  FakeObjects() {
    program->info.id = program_id.id();
    map->info.id = map_id.id();
    link->info.id = link_id.id();
    program_id.publish(program);
    map_id.publish(map);
    link_id.publish(link);
  }
};

}  // namespace skep::user::testing
