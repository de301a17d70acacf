// Errors of system calls as sentences.
#include "base/fd.hpp"

#include <cerrno>
#include <cstring>

namespace skep::base {

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
