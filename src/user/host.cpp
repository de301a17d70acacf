// Finding the host of this process, and opening its socket. See host.hpp.
#include "user/host.hpp"

#include <unistd.h>

namespace skep::user {

std::shared_ptr<Host> Host::of_this_process() {
  static std::mutex mutex;
  static std::weak_ptr<Host> current;
  const std::lock_guard lock(mutex);
  auto host = current.lock();
  if (!host || host->registry()->pid() != ::getpid()) {
    host = std::make_shared<Host>(std::make_shared<Registry>());
    current = host;
  }
  return host;
}

void Host::serve() {
  const std::lock_guard lock(mutex_);
  if (server_) return;
  auto directory = control::host_directory();
  if (directory) {
    auto server = control::Server::start(*registry_, std::move(*directory));
    if (server) {
      server_ = std::move(*server);
      failure_.clear();
      return;
    }
    failure_ = std::move(server).error().message;
  } else {
    failure_ = std::move(directory).error().message;
  }
}

std::string Host::invisible_because() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

}  // namespace skep::user
