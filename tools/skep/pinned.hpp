// Pins that a command makes step by step: all of them or none.
#pragma once
#include <fmt/format.h>
#include <filesystem>
#include <skep/inspect.hpp>
#include <string>
#include <vector>

namespace skep::tools {

/// Removes what was pinned when a later step fails.
class Pinned {
 public:
  explicit Pinned(Inspector& inspector) : inspector_(inspector) {}
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  ~Pinned() {
    std::error_code ignored;
    for (auto path = paths_.rbegin(); path != paths_.rend(); ++path) std::filesystem::remove(*path, ignored);
  }
  Result<void> pin(ObjectKind kind, u32 id, const std::string& path) {
    SKEP_TRY(inspector_.pin(kind, id, path));
    paths_.push_back(path);
    return {};
  }
  /// Makes a directory unless it is there.
  Result<void> directory(const std::string& path) {
    std::error_code error;
    if (std::filesystem::create_directory(path, error)) paths_.push_back(path);
    if (error) return fail(Code::io, fmt::format("{}: {}", path, error.message()), error.value());
    return {};
  }
  void keep() { paths_.clear(); }

 private:
  Inspector& inspector_;
  std::vector<std::string> paths_;
};

}  // namespace skep::tools
