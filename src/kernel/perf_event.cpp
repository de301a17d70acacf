// perf_event_open(2) and /sys/bus/event_source/devices.
#include "kernel/perf_event.hpp"

#include <fmt/core.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "base/mapped_file.hpp"
#include "kernel/access.hpp"

namespace skep::kernel {

Result<base::Fd> open_perf_event(perf_event_attr& attr, int pid, int cpu) {
  const long fd = ::syscall(SYS_perf_event_open, &attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
  if (fd >= 0) return base::Fd(static_cast<int>(fd));
  const int reason = errno;
  Error error = base::os_error("perf_event_open", reason);
  if (reason == EPERM || reason == EACCES) error.message += ". " + explain_perf_refusal();
  if (reason == ENOSYS)
    error = {Code::unsupported, "this kernel has no perf_event_open(2) (CONFIG_PERF_EVENTS is off)", reason};
  return tl::unexpected(std::move(error));
}

std::optional<u32> perf_source_type(const std::string& name) {
  const auto text = base::read_text(fmt::format("/sys/bus/event_source/devices/{}/type", name), 64);
  u32 type = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), type).ec != std::errc()) return std::nullopt;
  return type;
}

std::optional<u32> perf_return_bit(const std::string& name) {
  const auto text = base::read_text(fmt::format("/sys/bus/event_source/devices/{}/format/retprobe", name), 64);
  constexpr std::string_view prefix = "config:";
  if (!text || text->rfind(prefix, 0) != 0) return std::nullopt;
  u32 bit = 0;
  if (std::from_chars(text->data() + prefix.size(), text->data() + text->size(), bit).ec != std::errc() || bit > 63)
    return std::nullopt;
  return bit;
}

}  // namespace skep::kernel
