// Stacks as lines: from addresses to names, one below the other or folded for flame graphs.
#pragma once
#include <span>
#include <string>
#include <vector>

#include <skep/backend.hpp>

#include "symbols/symbolizer.hpp"
#include "trace/output.hpp"

namespace skep::tools {

class Stacks {
 public:
  explicit Stacks(symbols::FrameStyle style = {}) : style_(style) {}
  /// Names from the innermost frame outwards; addresses behind the first 0 are left out.
  std::vector<std::string> kernel(std::span<const u64> addresses);
  std::vector<std::string> user(u32 pid, std::span<const u64> addresses);
  /// Looks at a process while it lives. See symbols::Symbolizer::remember.
  void remember(u32 pid) { symbolizer_.remember(pid); }
  symbols::Symbolizer& symbolizer() { return symbolizer_; }

 private:
  std::vector<std::string> texts(const std::vector<symbols::Frame>& frames) const;
  symbols::FrameStyle style_;
  symbols::Symbolizer symbolizer_;
};

/// "comm;outermost;...;innermost"
std::string folded(std::string_view comm, const std::vector<std::string>& user, const std::vector<std::string>& kernel);

/// The addresses of stack `id` in a stack trace map; empty where it is gone or never was.
std::vector<u64> stack_of(const Map& map, s64 id);

}  // namespace skep::tools
