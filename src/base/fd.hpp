// A file descriptor with an owner.
#pragma once
#include <unistd.h>

#include <skep/result.hpp>
#include <string_view>
#include <utility>

namespace skep::base {

/// Closes its descriptor when it goes; -1 is empty.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset() noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

/// Closes every descriptor of this process but one (-1: every one), for a child that is to live longer than what its
/// parent had open. A table that is shared with another process becomes its own first. Safe after fork().
void close_all_but(int kept) noexcept;

/// The error of the system call that just failed: "`what`: No such file or directory", os_error = errno.
/// EPERM and EACCES become Code::permission, ENOENT and ESRCH not_found, everything else io.
Error os_error(std::string_view what);
/// The same for an errno value at hand.
Error os_error(std::string_view what, int error_number);

}  // namespace skep::base
