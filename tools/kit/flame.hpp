// A flame graph: stacks with their counts as one picture (SVG). Each frame is a box as wide as its share of all counts,
// above the frame that called it; the names of boxes too narrow for text are shown when one points at them.
// Source of the idea: Brendan Gregg, "The Flame Graph", CACM 59(6), 2016.
#pragma once
#include <map>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skep::tools {

class FlameGraph {
 public:
  /// Frames from the outermost on.
  void add(const std::vector<std::string>& frames, u64 count);
  /// `unit`: what is counted ("samples"). Errors: io.
  Result<void> write(const std::string& path, std::string_view title, std::string_view unit) const;

 private:
  struct Node {
    u64 count = 0;
    std::map<std::string, Node, std::less<>> callees;
  };
  struct Picture;
  static std::size_t depth_of(const Node& node);
  static void draw(Picture& picture, const Node& node, std::string_view name, double left, std::size_t depth);
  Node root_;
};

}  // namespace skep::tools
