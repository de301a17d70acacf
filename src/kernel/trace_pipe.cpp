// trace_printk lines out of tracefs' trace_pipe.
//
// bpf_trace_printk() writes an event into the kernel's global trace buffer, and into each other one where that event is
// enabled (Linux 5.9). The global pipe is taken where nobody reads it; who comes second has a buffer made for himself,
// so that nobody takes another's lines. The global pipe carries whatever else is traced on this machine, so only lines
// of the bpf_trace_printk event are handed out, each followed by its continuation lines (a program may print a
// newline). "[LOST 12 EVENTS]" is counted.
// Source: Documentation/trace/ftrace.rst, trace_pipe; kernel/trace/bpf_trace.h.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>

#include <atomic>
#include <cerrno>
#include <charconv>

#include "base/fd.hpp"
#include "kernel/mapping.hpp"
#include "kernel/rings.hpp"
#include "kernel/trace_instance.hpp"
#include "kernel/trace_lines.hpp"

namespace skep::kernel {

namespace {

class TracePipeReader final : public RingReader::Impl {
 public:
  explicit TracePipeReader(base::Fd pipe, std::optional<TraceInstance> instance = {})
      : instance_(std::move(instance)), pipe_(std::move(pipe)) {}

  Result<std::size_t> poll(std::chrono::milliseconds timeout,
                           const std::function<void(const Record&)>& on_record) override {
    if (const auto got = drain(on_record); !got || *got != 0) return got;
    SKEP_TRY(wait_readable(pipe_.get(), timeout));
    return drain(on_record);
  }
  u64 lost() const override { return lines_.lost(); }
  int wait_fd() const override { return pipe_.get(); }

 private:
  Result<std::size_t> drain(const std::function<void(const Record&)>& on_record) {
    std::size_t count = 0;
    char buffer[16384];
    for (;;) {
      const ssize_t got = ::read(pipe_.get(), buffer, sizeof buffer);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return count;
      if (got < 0) return tl::unexpected(base::os_error("trace_pipe"));
      if (got == 0) return count;
      lines_.feed({buffer, static_cast<std::size_t>(got)}, [&](std::string_view line) {
        on_record({std::as_bytes(std::span(line)), 0});
        ++count;
      });
    }
  }

  std::optional<TraceInstance> instance_;  // before the pipe, which is closed first: an open one keeps it
  base::Fd pipe_;
  TraceLines lines_;
};

}  // namespace

void TraceLines::feed(std::string_view text, const std::function<void(std::string_view)>& on_line) {
  pending_ += text;
  std::size_t begin = 0;
  for (std::size_t end; (end = pending_.find('\n', begin)) != std::string::npos; begin = end + 1)
    line(std::string_view(pending_).substr(begin, end - begin), on_line);
  pending_.erase(0, begin);
  if (pending_.size() > longest_line) pending_.clear();  // not a trace line: the kernel's are shorter than a page
}

void TraceLines::line(std::string_view text, const std::function<void(std::string_view)>& on_line) {
  if (const auto at = text.find("[LOST "); at != std::string_view::npos && text.rfind("CPU:", 0) == 0) {
    u64 events = 0;
    std::from_chars(text.data() + at + 6, text.data() + text.size(), events);
    lost_ += events;
    return;
  }
  if (starts_event(text)) ours_ = text.find(": bpf_trace_printk: ") != std::string_view::npos;
  if (ours_ && !text.empty()) on_line(text);
}

bool TraceLines::starts_event(std::string_view text) {
  // "            bash-1234    [001] d..31   123.456789: event: ...": a CPU in brackets, later a time and a colon.
  // The command may hold brackets itself, so every pair is looked at.
  for (auto open = text.find(" ["); open != std::string_view::npos; open = text.find(" [", open + 1)) {
    const auto digits_end = text.find_first_not_of("0123456789", open + 2);
    if (digits_end == std::string_view::npos || digits_end == open + 2) continue;
    if (text.substr(digits_end, 2) == "] ") return text.find(": ", digits_end) != std::string_view::npos;
  }
  return false;
}

Result<RingReader> open_kernel_trace_pipe(const Tracefs& tracefs) {
  auto pipe = tracefs.open_file("trace_pipe", O_RDONLY | O_NONBLOCK);
  // Kernels before 6.6 let several read; there skep's own readers know of each other by a lock.
  const bool is_taken =
      pipe ? ::flock(pipe->get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK : pipe.error().os_error == EBUSY;
  if (!is_taken)
    return pipe ? Result<RingReader>(RingReader(std::make_unique<TracePipeReader>(*std::move(pipe))))
                : tl::unexpected(std::move(pipe).error());
  auto instance = TraceInstance::make(tracefs, "bpf_trace/bpf_trace_printk");
  if (!instance)
    return fail(
        instance.error().code,
        fmt::format("another process reads the kernel's trace pipe, which has one reader at a time, and a trace "
                    "buffer of our own could not be made: {}. End the other one (`fuser "
                    "/sys/kernel/tracing/trace_pipe` names it)",
                    instance.error().message),
        instance.error().os_error);
  auto own = instance->take_pipe();
  return RingReader(std::make_unique<TracePipeReader>(std::move(own), *std::move(instance)));
}

}  // namespace skep::kernel
