// A program of these tests, running until the test has looked at it.
#pragma once
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <skep/types.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skep::symbols {

struct Landmark {
  std::string name;
  u64 address = 0;
};

/// A fixture that runs, and what it says of itself: lines of a name and a number in hex.
class RunningFixture {
 public:
  RunningFixture(const std::string& path, std::size_t lines_said) {
    int in[2], out[2];
    EXPECT_EQ(::pipe2(in, O_CLOEXEC) + ::pipe2(out, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      ::execl(path.c_str(), path.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    input_ = in[1];
    std::FILE* const lines = ::fdopen(out[0], "r");
    char line[256];
    while (landmarks.size() < lines_said && std::fgets(line, sizeof line, lines) != nullptr) {
      const std::string_view text(line);
      const auto space = text.rfind(' ');
      landmarks.push_back({std::string(text.substr(0, space)), std::strtoull(line + space + 1, nullptr, 16)});
    }
    std::fclose(lines);
  }
  ~RunningFixture() {
    ::close(input_);
    ::waitpid(pid_, nullptr, 0);
  }
  u32 pid() const { return static_cast<u32>(pid_); }
  std::vector<Landmark> landmarks;

 private:
  pid_t pid_ = -1;
  int input_ = -1;
};

}  // namespace skep::symbols
