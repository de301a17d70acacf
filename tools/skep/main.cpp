// skep: the one binary. Finds the verb, hands it its arguments, returns its status.
#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "kit/kit.hpp"
#include "verb.hpp"

namespace skep::tools {
namespace {

void print_usage(std::FILE* to) {
  fmt::print(to,
             "skep: eBPF, whole: compile, verify, run, attach and inspect, in user space or in the kernel\n\n"
             "usage: skep VERB ...        `skep VERB --help` tells each one's options, with an example\n\n");
  for (const auto& verb : verbs()) fmt::print(to, "  {:<10} {}\n", verb.name, verb.summary);
  fmt::print(to,
             "\nexample:\n"
             "  skep run hello.bpf.c --program hello --attach syscall:execve -- sh -c 'ls; date'\n");
}

bool is_common_option(std::string_view word) {
  constexpr std::string_view options[] = {"-j", "--json", "-p", "--pretty", "-f", "--bpffs", "-n", "--nomount"};
  return std::find(std::begin(options), std::end(options), word) != std::end(options);
}

/// A full disk must not look like success. A reader that left (`skep map dump | head`) is no error.
int finish_output(int status) {
  const bool failed = std::fflush(stdout) != 0 || std::ferror(stdout) != 0;
  if (!failed || errno == EPIPE) return status;
  return complain(fmt::format("standard output: {}", strerrordesc_np(errno)), status == 0 ? 1 : status);
}

}  // namespace
}  // namespace skep::tools

int main(int argc, char** argv) {
  using namespace skep::tools;
  if (argc < 2) {
    print_usage(stderr);
    return 2;
  }
  // bpftool's place for options that hold for every verb: `skep -j prog show`.
  int at = 1;
  while (at < argc - 1 && is_common_option(argv[at])) ++at;
  const std::string_view name = argv[at];
  Arguments arguments(argv + at + 1, argv + argc);
  arguments.insert(arguments.end(), argv + 1, argv + at);
  if (name == "--help" || name == "-h" || name == "help") {
    print_usage(stdout);
    return 0;
  }
  if (name == "--version" || name == "-V" || name == "version") {
    fmt::print("skep {}\n", SKEP_VERSION);
    return 0;
  }
  for (const auto& verb : verbs())
    if (verb.name == name) return finish_output(verb.run(arguments));
  for (const auto& tool : tools())
    if (tool.name == name) return finish_output(tool.run(arguments));
  std::string names;
  for (const auto& verb : verbs()) names.append(names.empty() ? "" : ", ").append(verb.name);
  return complain(fmt::format("no verb '{}'; there are: {}; and the tools that `skep tools` lists", name, names), 2,
                  form_of(arguments));
}
