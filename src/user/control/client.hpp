// The client's end of the control socket: another process's objects as an Inspector.
//
// A host that does not answer must not hold up the list of all others: every request has a deadline, and the
// error names the host. Connections are made when needed and made again when the host closed an idle one.
// What the host sends is checked like any other foreign bytes.
#pragma once
#include <chrono>
#include <memory>
#include <skep/inspect.hpp>
#include <span>
#include <vector>

#include "user/control/directory.hpp"

namespace skep::user::control {

struct Timeouts {
  std::chrono::milliseconds silence{500};  ///< without a single byte
  std::chrono::milliseconds answer{3000};  ///< for a whole answer
};

/// The Inspector of the host that serves `name` in `directory`; it connects with the first request.
std::unique_ptr<Inspector> remote_inspector(std::shared_ptr<const Directory> directory, std::string name, int pid,
                                            const Timeouts& timeouts = {});

/// One Inspector for every living host in these directories; sockets nobody listens on are removed.
std::vector<std::unique_ptr<Inspector>> hosts_in(std::span<const std::filesystem::path> directories,
                                                 const Timeouts& timeouts = {});

}  // namespace skep::user::control
