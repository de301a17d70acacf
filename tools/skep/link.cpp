// skep link: what is attached where, on either engine.
#include <fmt/format.h>

#include "arguments.hpp"
#include "show.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep link show|list [id N]\n\n"
    "  -j, --json   JSON with bpftool's keys     -p, --pretty   the same, indented\n\n"
    "example:\n  skep link show\n";

}  // namespace

int link_verb(const Arguments& arguments) {
  Words words(arguments);
  if (words.help || words.done()) {
    fmt::print("{}", usage);
    return words.help ? 0 : 2;
  }
  if (!words.take("show") && !words.take("list"))
    return complain(fmt::format("link '{}': expected show (see `skep link --help`)", words.next()));
  auto status = show<LinkInfo>(words, "link", &inspect::World::links);
  return status ? *status : complain(status.error());
}

}  // namespace skep::tools
