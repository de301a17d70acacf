// The corpora of real objects, for tests: found beside the project, unpacked into a directory that goes with its owner.
#pragma once
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "btf/test_support.hpp"

namespace skep::test {

namespace fs = std::filesystem;

inline fs::path corpus() {
  const char* named = std::getenv("SKEP_CORPUS");
  return named != nullptr ? fs::path(named) : fs::path("../shared/corpus");
}

/// Unpacks an archive of the corpus for the life of this object.
class Unpacked {
 public:
  explicit Unpacked(const std::string& archive) {
    const auto path = corpus() / archive;
    if (!fs::exists(path)) return;
    const auto command = fmt::format("tar -xJf '{}' -C '{}'", path.string(), directory_.path().string());
    if (std::system(command.c_str()) != 0) return;
    for (const auto& entry : fs::recursive_directory_iterator(directory_.path()))
      if (entry.path().extension() == ".o") objects.push_back(entry.path());
    std::sort(objects.begin(), objects.end());
  }
  std::vector<fs::path> objects;

 private:
  TemporaryDirectory directory_;
};

inline constexpr const char* samples_archive = "ebpf-samples-objects.tar.xz";
inline constexpr const char* selftests_archive = "selftests-6.12-progs-objects.tar.xz";
inline constexpr const char* relocated_archive = "selftests-6.12-progs-relocated-insns.jsonl.xz";

#define SKEP_NEED_CORPUS(archive)                                   \
  if (!std::filesystem::exists(::skep::test::corpus() / (archive))) \
  GTEST_SKIP() << "left out: " << (::skep::test::corpus() / (archive)).string() << " is absent"

}  // namespace skep::test
