// Programs of this folder, loaded into a tier of the user engine or into the kernel.
#pragma once
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <optional>
#include <skep/backend.hpp>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "compile/compile.hpp"
#include "user/loaded.hpp"
#include "user/prepare.hpp"
#include "user/registry.hpp"
#include "user/test_run.hpp"

namespace skep::test {

/// programs/NAME.bpf.c, compiled. Without a compiler: nothing, and the test is left out, saying so.
inline std::optional<ObjectSpec> program_object(const std::string& name) {
  auto spec = compile::load_program(std::string(SKEP_TEST_PROGRAMS "/") + name + ".bpf.c");
  if (!spec && spec.error().code == Code::not_found && spec.error().message.find("clang") != std::string::npos)
    return std::nullopt;
  EXPECT_TRUE(spec) << spec.error().message;
  return spec ? std::optional(std::move(*spec)) : std::nullopt;
}

#define SKEP_OBJECT(variable, name)                         \
  const auto variable = ::skep::test::program_object(name); \
  if (!variable) GTEST_SKIP() << "needs clang with the BPF target (package clang)"

inline constexpr vm::Tier tiers[] = {vm::Tier::interpreter, vm::Tier::baseline, vm::Tier::optimised};

/// What a run of a program is given: an Ethernet frame, or nothing.
inline TestRun input_for(ProgramType type) {
  TestRun run;
  if (type != ProgramType::syscall) run.data.resize(64);
  return run;
}

/// One tier of the user engine with an object in it.
struct Loaded {
  std::shared_ptr<user::LoadedObject> object;

  Loaded(const ObjectSpec& spec, vm::Tier tier) {
    auto prepared = user::prepare(spec);
    EXPECT_TRUE(prepared) << prepared.error().message;
    if (!prepared) return;
    auto loaded = user::load_object(*prepared, std::make_shared<user::Registry>(), {}, tier);
    EXPECT_TRUE(loaded) << loaded.error().message;
    if (loaded) object = std::move(*loaded);
  }
  const user::LoadedProgram* program(const std::string& name) const {
    for (const auto& each : object->programs)
      if (each->facts.name == name) return each.get();
    ADD_FAILURE() << "no program " << name;
    return nullptr;
  }
  s64 run(const std::string& name) const {
    const auto* found = program(name);
    if (found == nullptr) return -1;
    auto ran = user::test_run(*found->function, input_for(found->function->program().type()), nullptr);
    EXPECT_TRUE(ran) << name << ": " << ran.error().message;
    return ran ? static_cast<s64>(ran->result) : -1;
  }
  map::Map& map(const std::string& name) const {
    for (const auto& each : object->maps)
      if (each->map->spec().name == name) return *each->map;
    ADD_FAILURE() << "no map " << name;
    return *object->maps.front()->map;
  }
  u64 live_objects() const { return object->types->live_objects(); }
};

/// The kernel with an object in it; nothing where this process may not load it, or the kernel is too old.
inline std::optional<Object> in_kernel(const ObjectSpec& spec, std::string& why) {
  auto engine = kernel_backend();
  if (!engine) {
    why = engine.error().message;
    return std::nullopt;
  }
  auto object = (*engine)->load(spec, {});
  if (object) return std::move(*object);
  why = object.error().message;
  EXPECT_NE(object.error().code, Code::rejected) << why;
  return std::nullopt;
}

/// Runs each program once in the kernel, where it must give 0; skips the test where it cannot be loaded.
///
/// The kernel makes timers and objects without waiting for memory: on a busy machine there is none for a moment, and
/// the program says where. Then everything is loaded anew; a mistake of ours would stay.
inline void expect_zero_in_kernel(const ObjectSpec& spec, std::span<const char* const> names) {
  std::string failed = "not run";
  for (int attempt = 0; attempt < 10 && !failed.empty(); ++attempt) {
    if (attempt > 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::string why;
    auto kernel = in_kernel(spec, why);
    if (!kernel) GTEST_SKIP() << "not compared with the kernel: " << why;
    failed.clear();
    for (const char* name : names) {
      auto program = kernel->program(name);
      ASSERT_TRUE(program) << program.error().message;
      const auto ran = program->test_run(input_for(ProgramType::sched_cls));
      ASSERT_TRUE(ran) << ran.error().message;
      if (ran->result != 0) failed += std::string(name) + " says " + std::to_string(ran->result) + "; ";
    }
  }
  EXPECT_EQ(failed, "");
}

}  // namespace skep::test
