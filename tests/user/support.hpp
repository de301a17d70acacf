// What the tests of the user engine share: compiled programs, records as values, processes of their own.
#pragma once
#include <gtest/gtest.h>
#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <skep/backend.hpp>
#include <string>
#include <vector>

namespace skep::test {

/// Where clang is, or "" (then tests that compile are skipped, naming it).
const std::string& clang();

/// programs/NAME.bpf.c, compiled and read. Fails the test when it does not compile.
ObjectSpec program_object(const std::string& name);

#define SKEP_NEED_CLANG() \
  if (::skep::test::clang().empty()) GTEST_SKIP() << "needs clang with the BPF target (package clang)"

/// The record that the test programs write (programs/common.h).
struct Event {
  u32 pid;
  s32 ret;
  char comm[16];
  char path[64];
};

/// A key or a value as bytes.
template <class T>
std::vector<std::byte> bytes(const T& value) {
  const auto* first = reinterpret_cast<const std::byte*>(&value);
  return {first, first + sizeof value};
}

/// Everything that waits in a reader now.
std::vector<Event> events(RingReader& reader);
std::vector<std::string> lines(RingReader& reader);

/// A private directory, removed at the end; XDG_RUNTIME_DIR points to it meanwhile, so that tests see only their
/// own hosts.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Runs `body` in a forked process (as user `uid` where that is not 0 and this is root) and returns what it wrote: ""
/// means that all went well. A crash or a hang is reported as text.
std::string in_process(uid_t uid, const std::function<std::string()>& body);

}  // namespace skep::test

/// In a body for in_process(): returns the failed condition as text.
#define SKEP_EXPECT(condition)                                                                       \
  do {                                                                                               \
    if (!(condition)) return std::string(__FILE__ ":") + std::to_string(__LINE__) + ": " #condition; \
  } while (false)
#define SKEP_EXPECT_OK(result)                                                                                    \
  do {                                                                                                            \
    if (!(result))                                                                                                \
      return std::string(__FILE__ ":") + std::to_string(__LINE__) + ": " #result ": " + (result).error().message; \
  } while (false)
