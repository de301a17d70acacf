// One conversation with a host: requests out, answers in, deadlines kept. The client's transport.
#pragma once
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "user/control/client.hpp"
#include "user/control/protocol.hpp"

namespace skep::user::control {

/// A connection to the socket `path`. Errors: closed (nobody listens), timed_out (its queue is full), io.
Result<base::Fd> connect_to(const std::string& path);

/// Thread-safe; shared by an inspector and the maps it opened.
class Connection {
 public:
  Connection(std::shared_ptr<const Directory> directory, std::string name, int pid, const Timeouts& timeouts);

  template <class T>
  Result<T> ask(const Request& request) {
    auto answer = SKEP_TRY_AT(who_, exchange(request));
    auto decoded = decode_answer<T>(answer.kind, answer.body);
    if (!decoded) return tl::unexpected<Error>(std::move(decoded).error().within(who_));
    return decoded;
  }

  int pid() const { return pid_; }
  const std::string& comm() const { return comm_; }

 private:
  struct Answer {
    u8 kind = 0;
    std::vector<std::byte> body;
  };
  using Clock = std::chrono::steady_clock;
  Result<Answer> exchange(const Request& request);
  Result<Answer> exchange_once(std::span<const std::byte> frame, bool& nothing_came);
  Result<void> connect();
  Result<void> wait(short events, Clock::time_point deadline);
  Result<void> send_all(std::span<const std::byte> bytes, Clock::time_point deadline);
  Result<std::vector<std::byte>> receive(std::size_t size, Clock::time_point deadline, bool& nothing_came);

  std::shared_ptr<const Directory> directory_;
  std::string name_;
  int pid_;
  std::string comm_;
  std::string who_;  ///< "host 4711 (skep)"
  Timeouts timeouts_;
  std::mutex mutex_;
  base::Fd fd_;
};

}  // namespace skep::user::control
