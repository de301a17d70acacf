// Mutated objects through the whole path: nothing crashes, and no accepted program leaves its memory.
//
// A bounded number in `make test`; SKEP_MUTANTS=100000 for the long run (`make check` sets it under the
// sanitizers). The seed is printed and can be given as SKEP_SEED.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "compile/compile.hpp"
#include "mutate.hpp"
#include "pipeline.hpp"

namespace skep::hostile {
namespace {

u64 from_environment(const char* name, u64 otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

/// The examples as objects: real programs with maps, types, line info and relocations.
std::vector<std::pair<std::string, std::vector<std::byte>>> seeds() {
  std::vector<std::pair<std::string, std::vector<std::byte>>> objects;
  for (const auto& entry : std::filesystem::directory_iterator("examples")) {
    if (!entry.path().native().ends_with(".bpf.c")) continue;
    auto compiled = compile::compile_file(entry.path());
    if (compiled) objects.emplace_back(entry.path().filename(), std::move(compiled->object));
  }
  return objects;
}

TEST(Hostile, MutatedObjectsNeitherCrashNorEscape) {
  const auto objects = seeds();
  if (objects.empty()) GTEST_SKIP() << "no clang to compile the examples with (Debian package clang)";
  const u64 mutants = from_environment("SKEP_MUTANTS", 20'000), seed = from_environment("SKEP_SEED", 20260801);
  std::mt19937_64 random(seed);
  u64 read = 0, verified = 0, ran = 0;
  for (u64 i = 0; i < mutants; ++i) {
    const auto& [name, bytes] = objects[i % objects.size()];
    const auto outcome = run_pipeline(mutate(bytes, random));
    ASSERT_EQ(outcome.violation, "") << name << ", mutant " << i << " of SKEP_SEED=" << seed;
    read += outcome.read;
    verified += outcome.verified;
    ran += outcome.ran;
  }
  fmt::print("{} mutants of {} objects (seed {}): {} read, {} programs accepted, {} ran\n", mutants, objects.size(),
             seed, read, verified, ran);
  EXPECT_GT(read, mutants / 50) << "mutants that die at the door test nothing";
  EXPECT_GT(ran, mutants / 50);
}

TEST(Hostile, EveryTruncationIsHandled) {
  const auto objects = seeds();
  if (objects.empty()) GTEST_SKIP() << "no clang to compile the examples with (Debian package clang)";
  for (const auto& [name, bytes] : objects)
    for (std::size_t size = 0; size < bytes.size(); size += 1 + size / 16)
      ASSERT_EQ(run_pipeline(std::span(bytes).first(size)).violation, "") << name << " cut at " << size;
}

TEST(Hostile, UndamagedObjectsRun) {
  const auto objects = seeds();
  if (objects.empty()) GTEST_SKIP() << "no clang to compile the examples with (Debian package clang)";
  for (const auto& [name, bytes] : objects) {
    const auto outcome = run_pipeline(bytes);
    EXPECT_TRUE(outcome.prepared) << name;
    EXPECT_GT(outcome.verified, 0u) << name;
    EXPECT_EQ(outcome.violation, "") << name;
  }
}

}  // namespace
}  // namespace skep::hostile
