// A flame graph as one SVG file: every function a box, as wide as the share of samples it was on the stack in.
//
// The file needs nothing else: it is drawn without scripts, boxes tell their share when the mouse rests on them, and a
// small script of its own lets a click enlarge a box. Colours follow from the names, so two graphs of one program look
// alike and the same samples give the same bytes. Names come from traced programs: all that XML gives a meaning is
// escaped, and what XML cannot hold is replaced.
// The form is Brendan Gregg's (https://www.brendangregg.com/flamegraphs.html); the code is not.
#pragma once
#include <string>

#include "symbols/stack_traces.hpp"

namespace skep::symbols {

struct FlameGraphOptions {
  std::string title = "Flame graph";
  std::string unit = "samples";  ///< what the counts are: "samples", "microseconds", "bytes"
  unsigned width = 1200;         ///< pixels
  double narrowest = 0.1;        ///< pixels; narrower boxes are left out
};

/// The picture; an empty one says so.
std::string flame_graph(const FoldedStacks& stacks, const FlameGraphOptions& options = {});

}  // namespace skep::symbols
