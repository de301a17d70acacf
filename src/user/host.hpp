// This process as a host of loaded objects: one registry, one control socket, however many engines it opens.
//
// A process has one pid and one socket, so its engines share their host, as its threads share its descriptors.
// The host is there while an engine is; it is the one thing in the user engine that belongs to the process
// and not to a value that somebody passes on.
#pragma once
#include <memory>
#include <mutex>
#include <string>

#include "user/control/server.hpp"
#include "user/registry.hpp"

namespace skep::user {

class Host {
 public:
  /// The host of the calling process (a forked child gets its own).
  static std::shared_ptr<Host> of_this_process();

  explicit Host(std::shared_ptr<Registry> registry) : registry_(std::move(registry)) {}

  const std::shared_ptr<Registry>& registry() const { return registry_; }
  /// Starts the control socket unless it is there. Without one everything works, unseen: the reason is in
  /// invisible_because().
  void serve();
  /// Why `skep prog show` elsewhere cannot see this process, or "".
  std::string invisible_because() const;

 private:
  std::shared_ptr<Registry> registry_;
  mutable std::mutex mutex_;
  std::unique_ptr<control::Server> server_;  // goes before the registry it serves
  std::string failure_;
};

}  // namespace skep::user
