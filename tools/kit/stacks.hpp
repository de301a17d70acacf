// Stacks as lines: from addresses to names, one below the other or folded for flame graphs.
#pragma once
#include <span>
#include <string>
#include <vector>

#include <skep/backend.hpp>

#include "kit/kit.hpp"
#include "symbols/stack_traces.hpp"

namespace skep::tools {

struct StackLine {
  u64 address = 0;  ///< the same for functions that are inlined at it and the one that holds its code
  std::string name;
};
using StackLines = std::vector<StackLine>;

class Stacks {
 public:
  explicit Stacks(symbols::FrameStyle style = {}) : style_(style) {}
  /// --no-inlined and --lines, for tools that show stacks of programs.
  void add_options(Options& app);
  /// -s as well, for those that do not always show offsets.
  void add_offset_option(Options& app) { app.add_flag("-s,--offset", style_.offset, "offsets into functions"); }
  /// Marks instead of words: the names stand in folded lines or in a graph.
  void fold() { style_.folded = true; }
  /// "_[k]" behind functions of the kernel.
  void mark_kernel() { style_.kernel = true; }

  /// Names from the innermost frame outwards; addresses behind the first 0 are left out.
  StackLines kernel(std::span<const u64> addresses);
  StackLines user(u32 pid, std::span<const u64> addresses);
  std::string text(const symbols::Frame& frame) const { return symbols::text(frame, style_); }
  StackLines lines(const std::vector<symbols::Frame>& frames);
  symbols::Symbolizer& symbolizer() {
    symbolizer_.show_inlined(!no_inlined_);
    return symbolizer_;
  }

 private:
  symbols::FrameStyle style_;
  bool no_inlined_ = false;
  bool tell_of_lines_ = true;  ///< that they cannot be had, once
  symbols::Symbolizer symbolizer_;
};

/// "comm;outermost;...;innermost"; without `comm` where it is "".
std::string folded(std::string_view comm, const StackLines& user, const StackLines& kernel);

/// Draws a flame graph into a file (SVG). `unit`: what the counts are ("samples"). Errors: io.
Result<void> draw(const symbols::FoldedStacks& stacks, const std::string& path, std::string title,
                  std::string_view unit);

/// The addresses of stack `id` in a stack trace map; empty where it is gone or never was.
std::vector<u64> stack_of(const Map& map, s64 id);

}  // namespace skep::tools
