// skep tools: what is built in.
#include <fmt/core.h>

#include "base/json_writer.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

int tools_verb(const Arguments& arguments) {
  bool json = false;
  Options app("Lists the built-in tools. `skep NAME --help` tells each one's options, with examples.", "tools");
  app.add_flag("-j,--json", json, "as JSON");
  app.footer("example:\n  skep tools");
  if (auto status = app.parse(arguments)) return *status;
  if (json) {
    base::JsonWriter writer(false);
    writer.begin_array();
    for (const Verb& tool : tools()) {
      writer.begin_object();
      writer.member("name", tool.name);
      writer.member("summary", tool.summary);
      writer.end_object();
    }
    writer.end_array();
    fmt::print("{}\n", writer.text());
    return 0;
  }
  if (tools().empty()) return complain("this binary was built without clang, and so without tools", 1);
  for (const Verb& tool : tools()) fmt::print("{:<14} {}\n", tool.name, tool.summary);
  return 0;
}

}  // namespace skep::tools
