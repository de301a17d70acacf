// Sending a request and waiting for its answer, no longer than agreed. See connection.hpp.
#include "user/control/connection.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "base/mapped_file.hpp"

namespace skep::user::control {

namespace {

std::string comm_of(int pid) {
  auto text = base::read_text("/proc/" + std::to_string(pid) + "/comm", 64);
  if (!text) return "?";
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *text;
}

}  // namespace

Result<base::Fd> connect_to(const std::string& path) {
  base::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return tl::unexpected<Error>(base::os_error("socket"));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail(Code::invalid_argument, path + ": too long for a socket");
  std::memcpy(address.sun_path, path.data(), path.size());
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  if (errno == ECONNREFUSED || errno == ENOENT) return fail(Code::closed, "nobody listens", errno);
  if (errno == EAGAIN) return fail(Code::timed_out, "its queue of connections is full", errno);
  return tl::unexpected<Error>(base::os_error("connect"));
}

Connection::Connection(std::shared_ptr<const Directory> directory, std::string name, int pid, const Timeouts& timeouts)
    : directory_(std::move(directory)), name_(std::move(name)), pid_(pid), comm_(comm_of(pid)), timeouts_(timeouts) {
  who_ = "host " + std::to_string(pid_) + " (" + comm_ + ")";
}

Result<void> Connection::connect() {
  const auto deadline = Clock::now() + timeouts_.silence;
  auto attempt = connect_to(directory_->socket_path(name_));
  // A crowd at the door: the kernel does not queue us without blocking, so try again shortly.
  for (; !attempt && attempt.error().code == Code::timed_out && Clock::now() < deadline;
       attempt = connect_to(directory_->socket_path(name_)))
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  auto fd = SKEP_TRY(std::move(attempt));
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return tl::unexpected<Error>(base::os_error("credentials of the host"));
  if (peer.uid != ::geteuid() && peer.uid != 0)
    return fail(Code::permission, "its socket is served by user " + std::to_string(peer.uid));
  fd_ = std::move(fd);
  return {};
}

Result<Connection::Answer> Connection::exchange(const Request& request) {
  const std::lock_guard lock(mutex_);
  const auto frame = encode(request);
  if (frame.size() > sizeof(Header) + max_request_bytes)
    return fail(Code::limit, "key and value have " + std::to_string(frame.size()) + " bytes, a request carries " +
                                 std::to_string(max_request_bytes));
  const bool was_open = static_cast<bool>(fd_);
  bool nothing_came = true;
  auto answer = exchange_once(frame, nothing_came);
  // The host closes connections that were silent for long: ask again on a new one.
  if (!answer && answer.error().code == Code::closed && nothing_came && was_open)
    answer = exchange_once(frame, nothing_came);
  return answer;
}

Result<Connection::Answer> Connection::exchange_once(std::span<const std::byte> frame, bool& nothing_came) {
  const auto deadline = Clock::now() + timeouts_.answer;
  const auto attempt = [&]() -> Result<Answer> {
    if (!fd_) SKEP_TRY(connect());
    SKEP_TRY(send_all(frame, deadline));
    const auto head = SKEP_TRY(receive(sizeof(Header), deadline, nothing_came));
    Header header;
    std::memcpy(&header, head.data(), sizeof header);
    if (header.magic != magic || header.version != protocol_version || header.body_bytes > max_answer_bytes)
      return fail(Code::malformed,
                  "its answer is not of the control protocol, version " + std::to_string(protocol_version));
    return Answer{header.kind, SKEP_TRY(receive(header.body_bytes, deadline, nothing_came))};
  };
  auto answer = attempt();
  if (!answer) fd_.reset();  // half a conversation is of no use
  return answer;
}

Result<void> Connection::wait(short events, Clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    const auto patience = std::min(timeouts_.silence, left);
    pollfd fd{fd_.get(), events, 0};
    const int ready = ::poll(&fd, 1, static_cast<int>(std::max<s64>(0, patience.count())));
    if (ready > 0) return {};
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return tl::unexpected<Error>(base::os_error("poll"));
    return fail(Code::timed_out, "no answer within " + std::to_string(timeouts_.silence.count()) + " ms");
  }
}

Result<void> Connection::send_all(std::span<const std::byte> bytes, Clock::time_point deadline) {
  while (!bytes.empty()) {
    const ssize_t put = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(put));
    } else if (errno == EAGAIN) {
      SKEP_TRY(wait(POLLOUT, deadline));
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return fail(Code::closed, "it closed the connection", errno);
    } else if (errno != EINTR) {
      return tl::unexpected<Error>(base::os_error("send"));
    }
  }
  return {};
}

Result<std::vector<std::byte>> Connection::receive(std::size_t size, Clock::time_point deadline, bool& nothing_came) {
  std::vector<std::byte> bytes;
  std::byte chunk[65536];
  while (bytes.size() < size) {
    const ssize_t got = ::recv(fd_.get(), chunk, std::min(sizeof chunk, size - bytes.size()), MSG_DONTWAIT);
    if (got > 0) {
      nothing_came = false;
      bytes.insert(bytes.end(), chunk, chunk + got);
    } else if (got == 0 || errno == ECONNRESET) {
      return fail(Code::closed, "it closed the connection");
    } else if (errno == EAGAIN) {
      SKEP_TRY(wait(POLLIN, deadline));
    } else if (errno != EINTR) {
      return tl::unexpected<Error>(base::os_error("receive"));
    }
    if (Clock::now() > deadline && bytes.size() < size)
      return fail(Code::timed_out, "its answer took longer than " + std::to_string(timeouts_.answer.count()) + " ms");
  }
  return bytes;
}

}  // namespace skep::user::control
