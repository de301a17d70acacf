// Attach targets outside of the system call hooks. See refusal.hpp.
#include "user/refusal.hpp"

namespace skep::user {

namespace {

Error unsupported(std::string message) { return Error{Code::unsupported, std::move(message)}; }

}  // namespace

std::optional<Error> refuse_attach(ProgramType type, const AttachTarget& target) {
  const std::string name = target.text();
  const std::string_view section = name_of(target.kind);
  switch (type) {
    case ProgramType::xdp:
    case ProgramType::sched_cls:
    case ProgramType::sched_act:
    case ProgramType::socket_filter:
      return unsupported(std::string(name_of(type)) +
                         " programs attach with the packet hooks, which the user engine does not have yet: skep test "
                         "runs them on a packet, --backend kernel on a device");
    case ProgramType::kprobe:
    case ProgramType::tracepoint:
    case ProgramType::raw_tracepoint:
    case ProgramType::raw_tracepoint_writable:
    case ProgramType::tracing:
      break;
    default:
      return unsupported(name + ": hooks of " + std::string(name_of(type)) +
                         " programs exist in the kernel only: use --backend kernel");
  }
  if (target.kind == AttachKind::none)
    return Error{Code::invalid_argument,
                 "the program's section names no hook: say where it goes, for example --attach syscall:execve"};
  if (target.kind == AttachKind::uprobe_session)
    return unsupported(
        name +
        ": sessions, one program for call and return, exist in the kernel only: use --backend kernel, or "
        "a program each at uprobe.multi and uretprobe.multi");
  if (type == ProgramType::tracing && !section.starts_with("tp_btf"))
    return unsupported(name +
                       ": kernel functions exist in the kernel only: use --backend kernel, or ksyscall for a "
                       "system call");
  return std::nullopt;
}

}  // namespace skep::user
