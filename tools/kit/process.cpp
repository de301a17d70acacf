// /proc is asked after the event: a process that has ended is no error, its columns stay empty.
#include "kit/process.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <charconv>
#include <cstring>

#include "base/mapped_file.hpp"

namespace skep::tools {
namespace {

int number_of(const std::string& text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && number > 0 ? number : 0;
}

}  // namespace

std::string comm_of(u32 pid) {
  auto name = base::read_text(fmt::format("/proc/{}/comm", pid));
  if (!name) return {};
  if (name->ends_with('\n')) name->pop_back();
  return *std::move(name);
}

std::string error_name(int number) {
  const char* name = ::strerrorname_np(number);
  return name != nullptr ? name : std::to_string(number);
}

std::string signal_name(int number) {
  const char* name = ::sigabbrev_np(number);
  return name != nullptr ? fmt::format("SIG{}", name) : std::to_string(number);
}

int signal_number(const std::string& text) {
  if (const int number = number_of(text)) return number;
  for (int number = 1; number < NSIG; ++number)
    if (const std::string name = signal_name(number); name == text || name == "SIG" + text) return number;
  return 0;
}

int error_number(const std::string& text) {
  if (const int number = number_of(text)) return number;
  for (int number = 1; number < 4096; ++number)
    if (const char* name = ::strerrorname_np(number); name != nullptr && text == name) return number;
  return 0;
}

}  // namespace skep::tools
