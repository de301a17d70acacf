// /sys/devices/system/cpu/{possible,online}.
#include "base/cpus.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <charconv>

#include "base/mapped_file.hpp"

namespace skep::base {

namespace {
constexpr u32 most_cpus = 8192;  // CONFIG_NR_CPUS is at most this
}

Result<std::vector<u32>> parse_cpu_list(std::string_view text) {
  std::vector<u32> cpus;
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto bad = [&] {
    return fail(Code::malformed, fmt::format("CPU list \"{}\": expected a form like 0-3,8", text));
  };
  while (at != end && *at != '\n') {
    u32 first = 0;
    auto parsed = std::from_chars(at, end, first);
    if (parsed.ec != std::errc()) return bad();
    u32 last = first;
    if (parsed.ptr != end && *parsed.ptr == '-') {
      parsed = std::from_chars(parsed.ptr + 1, end, last);
      if (parsed.ec != std::errc()) return bad();
    }
    if (last < first || last >= most_cpus) return bad();
    for (u32 cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
    at = parsed.ptr;
    if (at != end && *at == ',')
      ++at;
    else if (at != end && *at != '\n')
      return bad();
  }
  return cpus;
}

u32 possible_cpus() {
  static const u32 count = [] {  // a kernel decides it when it boots
    if (const auto text = read_text("/sys/devices/system/cpu/possible", 4096))
      if (const auto cpus = parse_cpu_list(*text); cpus && !cpus->empty()) return cpus->back() + 1;
    return static_cast<u32>(std::max(1L, ::sysconf(_SC_NPROCESSORS_CONF)));
  }();
  return count;
}

std::vector<u32> online_cpus() {
  if (const auto text = read_text("/sys/devices/system/cpu/online", 4096))
    if (auto cpus = parse_cpu_list(*text); cpus && !cpus->empty()) return *std::move(cpus);
  std::vector<u32> cpus;
  for (u32 cpu = 0; cpu < possible_cpus(); ++cpu) cpus.push_back(cpu);
  return cpus;
}

}  // namespace skep::base
