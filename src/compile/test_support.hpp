// Shared by this room's tests: a private cache directory, and every clang that is installed.
#pragma once
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "compile/compile.hpp"

namespace skep::compile::test {

namespace fs = std::filesystem;

/// A directory that goes with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (fs::temp_directory_path() / "skep-test-XXXXXX").native();
    path_ = ::mkdtemp(name.data());
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }
  fs::path write(const std::string& name, std::string_view text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << text;
    return path_ / name;
  }

 private:
  fs::path path_;
};

/// Sets an environment variable until the end of the scope.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* old = ::getenv(name)) old_ = old, had_ = true;
    ::setenv(name, value.c_str(), 1);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() { had_ ? ::setenv(name_, old_.c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::string old_;
  bool had_ = false;
};

inline std::vector<std::string> installed_clangs() {
  std::vector<std::string> out;
  for (int n = 14; n <= 25; ++n)
    for (const char* directory : {"/usr/bin/", "/usr/local/bin/"}) {
      const std::string path = directory + std::string("clang-") + std::to_string(n);
      if (::access(path.c_str(), X_OK) == 0) out.push_back(path);
    }
  if (out.empty() && ::access("/usr/bin/clang", X_OK) == 0) out.push_back("/usr/bin/clang");
  return out;
}

/// A test that runs once for each installed clang. The cache holds headers only, written once for all tests.
class EachClang : public ::testing::TestWithParam<std::string> {
 protected:
  EachClang() : clang_("SKEP_CLANG", GetParam()) {
    static const TemporaryDirectory headers;
    options_.cache_dir = headers.path() / "cache";
    options_.use_cache = false;
  }

  Result<ObjectSpec> load(std::string_view text) { return load_text(text, "test.c", options_); }

  TemporaryDirectory directory_;
  CompileOptions options_;

 private:
  Environment clang_;
};

inline std::string clang_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string out = fs::path(info.param).filename().native();
  for (char& c : out)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return out;
}

}  // namespace skep::compile::test

// Where no clang is installed there is nothing to instantiate; the room's first test says so.
#define SKEP_EACH_CLANG(suite)                                                                           \
  GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(suite);                                                  \
  INSTANTIATE_TEST_SUITE_P(Clang, suite, ::testing::ValuesIn(::skep::compile::test::installed_clangs()), \
                           ::skep::compile::test::clang_name)
