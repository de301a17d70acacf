// Closing what a child has inherited; errors of system calls as sentences.
#include "base/fd.hpp"

#include <sched.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>

namespace skep::base {

void close_all_but(int kept) noexcept {
  const auto close_span = [](unsigned first, unsigned last) {
    if (first > last || ::syscall(SYS_close_range, first, last, 0u) == 0) return;
    for (unsigned fd = first; fd <= last && fd < 65536; ++fd) ::close(static_cast<int>(fd));  // before 5.9
  };
  ::unshare(CLONE_FILES);
  if (kept < 0) return close_span(0, ~0u);
  if (kept > 0) close_span(0, static_cast<unsigned>(kept) - 1);
  close_span(static_cast<unsigned>(kept) + 1, ~0u);
}

Error os_error(std::string_view what) { return os_error(what, errno); }

Error os_error(std::string_view what, int error_number) {
  Code code = Code::io;
  if (error_number == EPERM || error_number == EACCES) code = Code::permission;
  if (error_number == ENOENT || error_number == ESRCH) code = Code::not_found;
  // strerrordesc_np is thread-safe and not translated: messages are the same on every machine.
  const char* text = ::strerrordesc_np(error_number);
  return Error{code, std::string(what) + ": " + (text ? text : "unknown error"), error_number};
}

}  // namespace skep::base
