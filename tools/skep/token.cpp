// skep token: what mounted bpffs delegate, as bpftool 7.6 lists it. No rights are needed: it is read from the mounts.
#include <fmt/format.h>

#include "arguments.hpp"
#include "kernel/token.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep token show|list                           mounted bpffs from which BPF tokens can be made, and what\n"
    "                                                      they delegate: commands, types of maps and programs\n\n"
    "  Who lives in the user namespace of such a mount loads programs with its rights: with "
    "LIBBPF_BPF_TOKEN_PATH=PATH\n"
    "  where it is not mounted at /sys/fs/bpf.\n\n"
    "  -j, --json   JSON with bpftool's keys     -p, --pretty   the same, indented\n\n"
    "example:\n  skep token list\n";

using List = std::vector<std::string> kernel::Delegation::*;
constexpr std::pair<std::string_view, List> lists[] = {{"allowed_cmds", &kernel::Delegation::commands},
                                                       {"allowed_maps", &kernel::Delegation::maps},
                                                       {"allowed_progs", &kernel::Delegation::programs},
                                                       {"allowed_attachs", &kernel::Delegation::attachments}};

void print_text(const kernel::Delegation& one) {
  constexpr std::size_t in_a_line = 4;
  fmt::print("token_info  {}", one.path);
  for (const auto& [key, list] : lists) {
    fmt::print("\n\t{}:", key);
    for (std::size_t i = 0; i < (one.*list).size(); ++i)
      fmt::print("{}{:<20}", i % in_a_line == 0 ? "\n\t  " : "", (one.*list)[i]);
  }
  fmt::print("\n");
}

Result<int> show(Words& words) {
  if (!words.take("show") && !words.take("list"))
    return fail(Code::invalid_argument,
                fmt::format("token '{}': expected show or list (see `skep token --help`)", words.next()));
  SKEP_TRY(words.end());
  const auto found = SKEP_TRY(kernel::delegations());
  base::JsonWriter json(words.pretty);
  json.begin_array();
  for (const kernel::Delegation& one : found) {
    if (!words.json) print_text(one);
    json.begin_object();
    json.member("token_info", one.path);
    for (const auto& [key, list] : lists) {
      json.key(key);
      json.begin_array();
      for (const std::string& name : one.*list) json.string(name);
      json.end_array();
    }
    json.end_object();
  }
  json.end_array();
  if (words.json) print(json);
  return 0;
}

}  // namespace

int token_verb(const Arguments& arguments) { return run_words(arguments, usage, show); }

}  // namespace skep::tools
