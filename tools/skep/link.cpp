// skep link: what is attached where, on either engine; pinned and detached in the kernel.
#include <fmt/format.h>

#include "arguments.hpp"
#include "show.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep link show|list [LINK]                     facts of all links, or of one\n"
    "       skep link pin LINK PATH                        kernel: give it a path in bpffs, which keeps it\n"
    "       skep link detach LINK                          kernel: off its hook, whoever holds it\n\n"
    "  LINK: [id] N | pinned PATH\n"
    "  -j, --json   JSON with bpftool's keys     -p, --pretty   the same, indented\n\n"
    "example:\n  skep link show\n  skep link pin id 17 /sys/fs/bpf/exec_link\n";

Result<int> change(Words& words, bool pin) {
  const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "link"));
  auto world = inspect::World::open();
  const auto found = SKEP_TRY(world.link(handle));
  if (pin) {
    const std::string path = words.next();
    if (path.empty()) return fail(Code::invalid_argument, "expected the path in bpffs after the link");
    SKEP_TRY(words.end());
    SKEP_TRY(found.where->pin(ObjectKind::link, found.info.id, path));
  } else {
    SKEP_TRY(words.end());
    SKEP_TRY(found.where->detach_link(found.info.id));
  }
  if (words.json) fmt::print("null\n");
  return 0;
}

Result<int> act(Words& words) {
  if (words.take("show") || words.take("list")) return show<LinkInfo>(words, "link", &inspect::World::links);
  if (words.take("pin")) return change(words, true);
  if (words.take("detach")) return change(words, false);
  return fail(Code::invalid_argument,
              fmt::format("link '{}': expected show, list, pin or detach (see `skep link --help`)", words.next()));
}

}  // namespace

int link_verb(const Arguments& arguments) { return run_words(arguments, usage, act); }

}  // namespace skep::tools
