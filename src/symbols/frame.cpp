// Frames as text.
#include "symbols/frame.hpp"

#include <fmt/core.h>

#include "base/printable.hpp"
#include "symbols/demangle.hpp"

namespace skep::symbols {

namespace {

std::string_view last_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

std::string text(const Frame& frame, FrameStyle style) {
  const std::string module =
      base::printable(frame.is_kernel && frame.module.empty() ? "kernel" : last_name(frame.module));
  std::string text;
  if (!frame.name.empty()) {
    text = base::printable(style.demangled ? demangle(frame.name) : frame.name);
    if (frame.is_inlined && !style.folded) text += " (inlined)";
    if (!frame.is_inlined && style.offset) text += fmt::format("+0x{:x}", frame.offset);
    if (style.module && !module.empty()) text += fmt::format(" [{}]", module);
    if (style.source && frame.line != 0)
      text += fmt::format(" ({}:{})", base::printable(last_name(frame.source)), frame.line);
  } else if (frame.module.empty() || frame.is_kernel) {
    text = "[unknown]";
  } else {
    text = fmt::format("[unknown] [{}+0x{:x}]", module, frame.module_offset);
  }
  if (frame.is_inlined && style.folded) text += "_[i]";
  if (frame.is_kernel && style.kernel) text += "_[k]";
  return text;
}

}  // namespace skep::symbols
