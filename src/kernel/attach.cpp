// perf events, BPF links and raw tracepoints.
#include "kernel/attach.hpp"

#include <fmt/core.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <charconv>

#include "kernel/perf_event.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

/// Ties the program to the event: by a link (5.15), else by ioctl(2), which every kernel with BPF has.
Result<std::unique_ptr<Attachment>> attach_to_event(int program_fd, base::Fd event, std::string_view what) {
  uapi::LinkCreate attr;
  attr.prog_fd = static_cast<u32>(program_fd);
  attr.target_fd = static_cast<u32>(event.get());
  attr.attach_type = static_cast<u32>(AttachType::perf_event);
  if (const int link = bpf(uapi::Cmd::link_create, attr); link >= 0)
    return std::make_unique<Attachment>(std::move(event), base::Fd(link));
  if (::ioctl(event.get(), PERF_EVENT_IOC_SET_BPF, program_fd) != 0) {
    Error error = base::os_error(fmt::format("{}: attach to the event", what));
    if (error.os_error == EINVAL)
      error.message += " (the program's type does not fit this event, or it reads beyond the event's context)";
    if (error.os_error == EEXIST) error.message += " (another program is attached to it; this kernel allows one)";
    return tl::unexpected(std::move(error));
  }
  if (::ioctl(event.get(), PERF_EVENT_IOC_ENABLE, 0) != 0)
    return tl::unexpected(base::os_error(fmt::format("{}: enable the event", what)));
  return std::make_unique<Attachment>(std::move(event), base::Fd());
}

}  // namespace

Result<std::unique_ptr<Attachment>> attach_tracepoint(int program_fd, const Tracefs& tracefs, std::string_view target) {
  const std::string place = fmt::format("tracepoint {}", target);
  const auto slash = target.find('/');
  if (slash == std::string_view::npos)
    return fail(Code::invalid_argument,
                fmt::format("{}: expected CATEGORY/NAME, such as syscalls/sys_enter_execve", place));
  perf_event_attr attr{};
  attr.size = sizeof attr;
  attr.type = PERF_TYPE_TRACEPOINT;
  attr.config = SKEP_TRY(tracefs.event_id(target.substr(0, slash), target.substr(slash + 1)));
  attr.sample_period = 1;
  attr.wakeup_events = 1;
  // One event on one CPU is enough: the program hangs on the tracepoint itself and runs wherever it fires.
  auto event = SKEP_TRY_AT(place, open_perf_event(attr, -1, 0));
  return attach_to_event(program_fd, std::move(event), place);
}

Result<std::unique_ptr<Attachment>> attach_raw_tracepoint(int program_fd, std::string_view name) {
  const std::string text(name);
  const std::string place = text.empty() ? "attach" : fmt::format("raw tracepoint {}", text);
  uapi::RawTracepointOpen attr;
  attr.name = text.empty() ? 0 : address_of(text.c_str());
  attr.prog_fd = static_cast<u32>(program_fd);
  const int link = bpf(uapi::Cmd::raw_tracepoint_open, attr);
  if (link >= 0) return std::make_unique<Attachment>(base::Fd(), base::Fd(link));
  if (link == -ENOENT)
    return fail(Code::not_found, fmt::format("this kernel has no raw tracepoint \"{}\"", text), ENOENT);
  Error error = bpf_error(uapi::Cmd::raw_tracepoint_open, place, -link);
  if (link == -EINVAL)
    error.message += " (the program reads more arguments than the tracepoint has, or its type does not fit)";
  return tl::unexpected(std::move(error));
}

Result<std::unique_ptr<Attachment>> attach_kprobe(int program_fd, std::string_view target, bool at_return) {
  const std::string place = fmt::format("{} {}", at_return ? "kretprobe" : "kprobe", target);
  const auto type = perf_source_type("kprobe");
  if (!type)
    return fail(Code::unsupported,
                fmt::format("{}: this kernel has no kprobes (CONFIG_KPROBES, CONFIG_KPROBE_EVENTS)", place));
  const auto plus = target.find('+');
  const std::string function(target.substr(0, plus));
  u64 offset = 0;
  if (plus != std::string_view::npos) {
    const std::string_view digits = target.substr(plus + 1);
    const bool hex = digits.starts_with("0x");
    const char* end = digits.data() + digits.size();
    const auto parsed = std::from_chars(digits.data() + (hex ? 2 : 0), end, offset, hex ? 16 : 10);
    if (parsed.ec != std::errc() || parsed.ptr != end)
      return fail(Code::invalid_argument, fmt::format("{}: \"{}\" is not an offset", place, digits));
  }
  if (at_return && offset != 0)
    return fail(Code::invalid_argument, fmt::format("{}: a return probe takes no offset", place));
  perf_event_attr attr{};
  attr.size = sizeof attr;
  attr.type = *type;
  attr.config1 = address_of(function.c_str());  // kprobe_func
  attr.config2 = offset;                        // probe_offset
  if (at_return) {
    const auto bit = perf_return_bit("kprobe");
    if (!bit) return fail(Code::unsupported, fmt::format("{}: this kernel's kprobes have no return probes", place));
    attr.config |= u64{1} << *bit;
  }
  auto event = open_perf_event(attr, -1, 0);
  if (!event && event.error().os_error == ENOENT)
    return fail(Code::not_found,
                fmt::format("{}: the kernel has no such function to probe (it may be inlined, renamed or not "
                            "traceable; see /proc/kallsyms)",
                            place),
                ENOENT);
  if (!event) return tl::unexpected(std::move(event).error().within(place));
  return attach_to_event(program_fd, *std::move(event), place);
}

}  // namespace skep::kernel
