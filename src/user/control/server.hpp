// The host's end of the control socket: one thread that answers requests about this process's objects.
//
// Clients are not trusted to behave, though only this user's and root's processes may connect. What each of
// them can cost is bounded: so many connections, one request at a time, a body no larger than the protocol's
// limit and kept only as far as it has arrived, an answer that must be taken within seconds, a common budget for
// answers nobody reads. When it is full, the connection that has been silent longest makes room. Nothing here
// ever waits for a client.
//
// The thread blocks all signals and never waits for children: both belong to the thread that traces.
#pragma once
#include <sys/stat.h>

#include <chrono>
#include <list>
#include <memory>
#include <skep/inspect.hpp>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "user/control/directory.hpp"

namespace skep::user::control {

struct Limits {
  std::size_t clients = 16;
  std::size_t unread_answer_bytes = 24u << 20;   ///< of all clients; no request is served beyond that
  std::chrono::milliseconds request_time{2000};  ///< from a request's first byte to its last
  std::chrono::milliseconds answer_time{2000};   ///< for a client to take its answer
  std::chrono::milliseconds idle_time{30000};    ///< between requests
};

class Server {
 public:
  /// Binds `<pid>.sock` in the directory and starts the thread. `inspector` must outlive the Server and be safe to
  /// use from its thread. Errors: permission, io; limit when another living process holds the name.
  static Result<std::unique_ptr<Server>> start(Inspector& inspector, Directory directory, const Limits& limits = {});
  /// Stops the thread and removes the socket (only in the process that made it, and only if it is still ours).
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::filesystem::path socket() const { return directory_.path / name_; }

 private:
  struct Client;
  using Clock = std::chrono::steady_clock;

  Server(Inspector& inspector, Directory directory, const Limits& limits);
  Result<void> bind_socket();
  void serve();
  int wait();
  void accept_clients();
  void make_room();
  bool receive(Client& client);
  void answer_next(Client& client);
  bool send(Client& client);
  bool expired(const Client& client, Clock::time_point now) const;
  std::size_t unread_bytes() const;

  Inspector& inspector_;
  Directory directory_;
  Limits limits_;
  std::string name_;
  int owner_pid_ = 0;
  struct stat identity_{};
  base::Fd listener_;
  base::Fd wake_;
  std::list<Client> clients_;
  Clock::time_point accept_again_{};
  std::thread thread_;
};

}  // namespace skep::user::control
