// What can be read off a C source without compiling it.
//
// Some things must be known before clang runs: which dialect the source is written in, which tracepoints
// it names (their records must be declared), and which map each `.perf_submit` sends through (a macro
// cannot see what stands to its left). Comments and strings are blanked first; then words are enough.
#pragma once
#include <optional>
#include <skep/types.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "compile/compile.hpp"

namespace skep::compile {

struct TracepointName {
  std::string category;
  std::string event;
  friend auto operator<=>(const TracepointName&, const TracepointName&) = default;
};

/// A call such as `events.perf_submit(...)`: the map, and the line of its closing parenthesis (what the
/// preprocessor calls __LINE__ there).
struct RecordCall {
  u32 line = 0;
  std::string map;
};

/// BPF_ARRAY_OF_MAPS(outer, "inner", ...): which map is the pattern.
struct MapOfMaps {
  std::string outer;
  std::string inner;
};

struct Scan {
  Dialect dialect = Dialect::bcc;           ///< bcc or libbpf, never automatic
  std::vector<TracepointName> tracepoints;  ///< sorted, each once
  std::vector<RecordCall> record_calls;     ///< one a line; a line with calls through two maps is left out
  std::vector<MapOfMaps> maps_of_maps;
  std::vector<std::string> called;     ///< functions with a body here that are called here, sorted
  std::optional<std::string> license;  ///< of `#define BPF_LICENSE ...`
  bool defines_license = false;        ///< has a variable in section "license"
  bool names_uapi = false;             ///< uses packets, verdicts or other things of <linux/bpf.h>
  bool may_include_vmlinux = false;    ///< names vmlinux.h, or includes a file of its own that may
};

Scan scan_source(std::string_view source);

/// The source with comments, strings and character literals blanked; same length, same lines.
std::string blank_comments_and_strings(std::string_view source);

}  // namespace skep::compile
