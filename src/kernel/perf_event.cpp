// perf_event_open(2) and /sys/bus/event_source/devices.
#include "kernel/perf_event.hpp"

#include <fmt/core.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>

#include "base/mapped_file.hpp"
#include "kernel/access.hpp"

namespace skep::kernel {

namespace {

/// A counter of the caches: which one, of reads, how they ended.
constexpr u64 cache_config(u64 cache, u64 result) noexcept {
  return cache | u64{PERF_COUNT_HW_CACHE_OP_READ} << 8 | result << 16;
}

constexpr PerfCounter counters[] = {
#define SKEP_PERF_EVENT(name, type, config) {name, type, config},
#include "kernel/perf_events.def"
#undef SKEP_PERF_EVENT
};

constexpr const char* sources = "/sys/bus/event_source/devices";

/// The source of the CPU's own counters: "cpu", "cpu_core", "armv8_pmuv3"; "" where there is none.
std::string cpu_source() {
  std::error_code error;
  for (std::filesystem::directory_iterator at(sources, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().native();
    if (name == "cpu" || name.starts_with("cpu_") || name.starts_with("armv")) return name;
  }
  return {};
}

/// Samples a second that the kernel takes; no limit where it does not say.
u64 most_samples() {
  const auto text = base::read_text("/proc/sys/kernel/perf_event_max_sample_rate", 64);
  u64 most = ~u64{0};
  if (text) std::from_chars(text->data(), text->data() + text->size(), most);
  return most;
}

}  // namespace

bool PerfCounter::is_hardware() const noexcept { return type == PERF_TYPE_HARDWARE || type == PERF_TYPE_HW_CACHE; }

Result<PerfCounter> perf_counter(std::string_view name) {
  std::string known;
  for (const PerfCounter& counter : counters) {
    if (counter.name == name) return counter;
    known.append(known.empty() ? "" : ", ").append(counter.name);
  }
  return fail(Code::not_found, fmt::format("\"{}\" is no counter; there are: {}", name, known));
}

std::string why_no_counter(const PerfCounter& counter) {
  if (!counter.is_hardware()) return fmt::format("this kernel does not count {}", counter.name);
  const std::string source = cpu_source();
  if (source.empty())
    return fmt::format(
        "this machine has no hardware counters, which {} is one of: {} lists no cpu (virtual machines "
        "often get none); cpu-clock and task-clock work without them",
        counter.name, sources);
  return fmt::format("this CPU's counters ({}/{}) do not have {}", sources, source, counter.name);
}

Result<base::Fd> open_perf_event(perf_event_attr& attr, int pid, int cpu) {
  const long fd = ::syscall(SYS_perf_event_open, &attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
  if (fd >= 0) return base::Fd(static_cast<int>(fd));
  const int reason = errno;
  Error error = base::os_error("perf_event_open", reason);
  if (reason == EPERM || reason == EACCES) error.message += ". " + explain_perf_refusal();
  if (const u64 most = most_samples(); reason == EINVAL && attr.freq != 0 && attr.sample_freq > most)
    error.message += fmt::format(": {} samples a second; at most {} here (sysctl kernel.perf_event_max_sample_rate)",
                                 attr.sample_freq, most);
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
