// Screens that are drawn again at every interval: what the top tools print.
#pragma once
#include <string>

#include "trace/output.hpp"

namespace skep::tools {

/// The load averages as /proc/loadavg has them; "" where it cannot be read.
std::string load_average();

/// Begins a screen: clears a terminal unless `keep`, an empty line elsewhere; then the time and load averages unless
/// `no_summary`. Nothing in JSON.
void begin_screen(trace::Output& output, bool keep, bool no_summary);

}  // namespace skep::tools
