// Where everything a program says is written: standard output, whole lines, from more than one thread.
#pragma once
#include <cstdio>
#include <mutex>
#include <string>
#include <string_view>

namespace skep::trace {

/// Collects lines and writes them in large pieces; json() tells writers which form to produce.
class Output {
 public:
  explicit Output(bool json, std::FILE* to = stdout) : to_(to), json_(json) {}
  ~Output() { flush(); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  bool json() const noexcept { return json_; }

  /// Adds one line; the newline is ours. Written at the next flush(), or when much has gathered.
  void line(std::string_view text);
  /// Writes what has gathered. A closed pipe or a full disk is remembered: later lines are dropped.
  void flush();
  bool failed() const noexcept { return failed_; }

 private:
  std::mutex mutex_;
  std::string gathered_;
  std::FILE* to_;
  bool json_;
  bool failed_ = false;
};

}  // namespace skep::trace
