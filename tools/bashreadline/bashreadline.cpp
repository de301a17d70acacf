// skep bashreadline: what is typed into running shells.
#include "bashreadline/bashreadline.h"

#include "kit/columns.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view bashreadline_summary = "command lines typed into running bash shells";

int bashreadline(const Arguments& arguments) {
  Kit kit({.name = "bashreadline",
           .about = "Traces the lines that bash reads from people.",
           .examples = "  skep bashreadline            # of every bash\n"
                       "  skep bashreadline -s /lib/x86_64-linux-gnu/libreadline.so.8   # where bash uses a library\n"
                       "  skep bashreadline -- bash    # of a shell, without privileges",
           .user_engine = true,
           .kernel_first = true});
  std::string library = "/bin/bash";
  kit.wants_pid();
  kit.options().add_option("-s,--shared", library, "the file that has readline()")->capture_default_str();
  if (auto status = kit.parse(arguments)) return *status;
  kit.on_attach([&](Object& object, std::vector<Link>& links) -> Result<void> {
    const auto target = SKEP_TRY(AttachTarget::from_text("uretprobe:" + library + ":readline"));
    auto program = SKEP_TRY(object.program("readline_returns"));
    links.push_back(SKEP_TRY(program.attach(target)));
    return {};
  });
  Columns columns(kit.output(), {{"TIME", "time", -9}, {"PID", "pid", -7}, {"COMMAND", "command"}});
  kit.on_record<line_event>("events",
                            [&](const line_event& event) { columns.row({clock_time(), event.pid, text(event.line)}); });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
