// bpf(2): the call, its retries, its errors as sentences.
#include "kernel/syscall.hpp"

#include <fmt/core.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "backend/names.hpp"
#include "kernel/access.hpp"

namespace skep::kernel {

namespace {
constexpr int eagain_retries = 5;  // the kernel's own advice; libbpf does the same number
}

int bpf_raw(uapi::Cmd cmd, void* attr, u32 size) noexcept {
  for (int attempt = 0;; ++attempt) {
    const long status = ::syscall(SYS_bpf, static_cast<u32>(cmd), attr, size);
    if (status >= 0) return static_cast<int>(status);
    if (errno != EAGAIN || attempt >= eagain_retries) return -errno;
  }
}

std::string_view name_of(uapi::Cmd cmd) noexcept {
  using uapi::Cmd;
  switch (cmd) {
#define SKEP_BPF_COMMAND(name, number, printed, needs) \
  case Cmd::name:                                      \
    return printed;
#include "kernel/commands.def"
#undef SKEP_BPF_COMMAND
  }
  return "bpf";
}

Error bpf_error(uapi::Cmd cmd, std::string_view what, int error_number, CapabilitySet more) {
  if (error_number == ENOSYS)
    return Error{
        Code::unsupported,
        fmt::format("{}: this kernel has no bpf(2) (CONFIG_BPF_SYSCALL is off); the user engine needs none", what),
        error_number};
  Error error = base::os_error(fmt::format("{}: {}", what, name_of(cmd)), error_number);
  if (error_number == EPERM) error.message += ". " + explain_refusal(cmd, more);
  return error;
}

void set_object_name(char (&field)[uapi::object_name_bytes], std::string_view name) {
  const std::string stored = backend::stored_name(name);
  std::memcpy(field, stored.c_str(), stored.size() + 1);
}

}  // namespace skep::kernel
