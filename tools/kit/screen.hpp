// Screens that are drawn again at every interval: what the top tools print.
#pragma once
#include <string>

#include "kit/kit.hpp"
#include "trace/output.hpp"

namespace skep::tools {

/// The load averages as /proc/loadavg has them; "" where it cannot be read.
std::string load_average();

/// What the top tools' options say of their screens.
struct Screen {
  bool keep = false;        ///< -C: a terminal is not cleared
  bool no_summary = false;  ///< without the line of load averages
  std::size_t rows = 20;    ///< -r: how many are printed

  void wants_keep(Kit& kit);
  void wants_rows(Kit& kit);
  /// Begins a screen: clears a terminal unless `keep`, an empty line elsewhere; then the time and load averages unless
  /// `no_summary`. Nothing in JSON.
  void begin(trace::Output& output) const;
};

}  // namespace skep::tools
