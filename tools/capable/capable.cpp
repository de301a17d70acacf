// skep capable: which capabilities processes are checked for.
#include <fmt/format.h>
#include <unistd.h>

#include "capable/capable.h"
#include "kit/columns.hpp"
#include "kit/containers.hpp"
#include "kit/kit.hpp"
#include "kit/stacks.hpp"

namespace skep::tools {

const std::string_view capable_summary = "capability checks: who was asked for which";

namespace {

constexpr std::string_view capability_names[] = {
#define SKEP_CAPABILITY(name) name,
#include "capable/capabilities.def"
};

std::string_view name_of(int capability) {
  const auto index = static_cast<std::size_t>(capability);
  return capability >= 0 && index < std::size(capability_names) ? capability_names[index] : "?";
}

std::string known(unsigned value) { return value == UNKNOWN ? "N/A" : fmt::format("{}", value); }

}  // namespace

int capable(const Arguments& arguments) {
  Kit kit({.name = "capable",
           .about = "Traces the kernel's checks of capabilities: user, process, capability.",
           .examples = "  skep capable            # checks that the audit log would show\n"
                       "  skep capable -v         # the others too\n"
                       "  skep capable -p 181     # of process 181\n"
                       "  skep capable -x         # with threads, and checks inside of set-user-ID calls\n"
                       "  skep capable -K -U      # with the stacks that led there\n"
                       "  skep capable --unique   # each process and capability once"});
  bool verbose = false, extra = false, unique = false, kernel_stack = false, user_stack = false;
  Stacks stacks({.offset = true, .module = true});
  kit.wants_pid();
  Containers containers(kit);
  kit.wants_uid("--uid");
  kit.wants_duration("--duration");
  kit.options().add_flag("-v,--verbose", verbose, "checks that are not audited too");
  kit.options().add_flag("-K,--kernel-stack", kernel_stack, "the stack in the kernel, below each line");
  kit.options().add_flag("-U,--user-stack", user_stack, "the stack in user space, below each line");
  kit.options().add_flag("-x,--extra", extra, "columns TID and INSETID");
  stacks.add_options(kit.options());
  kit.options().add_flag("--unique", unique, "each process and capability once");
  if (auto status = kit.parse(arguments)) return *status;
  if (auto opened = containers.open(); !opened) return kit.complain(opened.error());
  kit.set("with_unaudited", verbose);
  kit.set("only_once", unique);
  kit.set("own_pid", static_cast<u32>(::getpid()));
  if (!unique) kit.set_map_size("seen", 1);
  kit.set("with_kernel_stacks", kernel_stack);
  kit.set("with_user_stacks", user_stack);
  if (!kernel_stack && !user_stack) kit.set_map_size("stacks", 1);
  if (user_stack) kit.name_stacks_by(stacks.symbolizer());
  Columns columns(kit.output(), {{"TIME", "time", -9},
                                 {"UID", "uid", -6},
                                 {"PID", "pid", -6},
                                 {"TID", "tid", -6, extra},
                                 {"COMM", "comm", -16},
                                 {"CAP", "cap", -4},
                                 {"NAME", "name", -20},
                                 {"AUDIT", "audit", -6},
                                 {"INSETID", "insetid", 0, extra},
                                 {"", "stack", 0, false}});
  kit.on_record<capable_event>("events", [&](const capable_event& event) {
    StackLines inside, outside;
    if (kernel_stack) inside = stacks.kernel(stack_of(*kit.object().map("stacks"), event.kernel_stack));
    if (user_stack) outside = stacks.user(event.pid, stack_of(*kit.object().map("stacks"), event.user_stack));
    columns.row({clock_time(), event.uid, event.pid, event.tid, text(event.comm), event.capability,
                 name_of(event.capability), known(event.audit), known(event.in_set_id), folded("", outside, inside)});
    if (kit.json()) return;
    for (const auto* const lines : {&inside, &outside})
      for (const StackLine& line : *lines) kit.output().line("    " + line.name);
  });
  return kit.run([&] {
    if (kit.is_loaded("check__tracepoint"))
      note("the kernel's tracepoint does not tell which checks are audited: all are shown");
    columns.heading();
  });
}

}  // namespace skep::tools
