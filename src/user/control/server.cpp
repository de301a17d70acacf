// The poll loop of the control socket. See server.hpp.
//
// A client is in one of three states, told by what it holds: idle (nothing), asking (part of a request), reading
// (an unsent rest of an answer). Only idle and asking clients are read from, so a client that does not read its
// answers cannot make us queue more of them.
#include "user/control/server.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "user/control/protocol.hpp"

namespace skep::user::control {

namespace {

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof address.sun_path - 1));
  return address;
}

/// Whether somebody accepts connections at `path`.
bool is_served(const std::string& path) {
  const base::Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_of(path);
  const int result = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  return result == 0 || errno == EAGAIN;
}

/// Only this user and root have business here.
bool may_connect(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == ::geteuid() || peer.uid == 0;
}

}  // namespace

struct Server::Client {
  base::Fd fd;
  std::vector<std::byte> request;  ///< header and body as far as they have come
  std::vector<std::byte> answer;
  std::size_t sent = 0;
  bool close_after_answer = false;
  bool readable = false;
  Clock::time_point since;  ///< when the present state began

  bool reading() const { return !answer.empty(); }
  bool idle() const { return request.empty() && answer.empty(); }
  /// Bytes that are still to come of the header, or of the request once the header is there.
  std::size_t missing() const {
    Header header;
    if (request.size() < sizeof header) return sizeof header - request.size();
    std::memcpy(&header, request.data(), sizeof header);
    return sizeof header + header.body_bytes - request.size();
  }
  bool complete() const { return missing() == 0; }
};

Server::Server(Inspector& inspector, Directory directory, const Limits& limits)
    : inspector_(inspector), directory_(std::move(directory)), limits_(limits), owner_pid_(::getpid()) {}

Result<std::unique_ptr<Server>> Server::start(Inspector& inspector, Directory directory, const Limits& limits) {
  std::unique_ptr<Server> server(new Server(inspector, std::move(directory), limits));
  server->wake_ = base::Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!server->wake_) return tl::unexpected<Error>(base::os_error("control socket: eventfd"));
  SKEP_TRY(server->bind_socket());

  // The new thread inherits this mask: signals stay with the threads that expect them.
  sigset_t every, before;
  ::sigfillset(&every);
  ::pthread_sigmask(SIG_SETMASK, &every, &before);
  server->thread_ = std::thread([raw = server.get()] { raw->serve(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::pthread_setname_np(server->thread_.native_handle(), "skep-control");
  return server;
}

Server::~Server() {
  if (owner_pid_ != ::getpid()) {
    // A forked child: the thread does not exist here and the socket is the parent's.
    if (thread_.joinable()) thread_.detach();
    return;
  }
  if (thread_.joinable()) {
    const u64 one = 1;
    [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
    thread_.join();
  }
  struct stat present{};
  if (listener_ && ::fstatat(directory_.fd.get(), name_.c_str(), &present, AT_SYMLINK_NOFOLLOW) == 0 &&
      present.st_ino == identity_.st_ino && present.st_dev == identity_.st_dev)
    ::unlinkat(directory_.fd.get(), name_.c_str(), 0);
}

Result<void> Server::bind_socket() {
  name_ = socket_name(owner_pid_);
  if (is_served(directory_.socket_path(name_)))
    return fail(Code::limit, socket().string() + " is served by another process (of another pid namespace?)");
  base::Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!listener) return tl::unexpected<Error>(base::os_error("control socket"));
  // Bound under another name and renamed when it listens: clients take a socket without a listener for stale.
  const std::string draft = name_ + ".new";
  ::unlinkat(directory_.fd.get(), draft.c_str(), 0);
  const sockaddr_un address = address_of(directory_.socket_path(draft));
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return tl::unexpected<Error>(base::os_error("control socket " + socket().string()));
  if (::fchmodat(directory_.fd.get(), draft.c_str(), 0600, 0) != 0 || ::listen(listener.get(), 64) != 0 ||
      ::fstatat(directory_.fd.get(), draft.c_str(), &identity_, AT_SYMLINK_NOFOLLOW) != 0 ||
      ::renameat(directory_.fd.get(), draft.c_str(), directory_.fd.get(), name_.c_str()) != 0) {
    Error error = base::os_error("control socket " + socket().string());
    ::unlinkat(directory_.fd.get(), draft.c_str(), 0);
    return tl::unexpected<Error>(std::move(error));
  }
  listener_ = std::move(listener);
  return {};
}

void Server::serve() {
  while (true) {
    if (wait() < 0) return;
    const auto now = Clock::now();
    for (auto client = clients_.begin(); client != clients_.end();) {
      bool alive = !expired(*client, now);
      if (alive && client->reading()) alive = send(*client);
      if (alive && !client->reading() && client->readable) alive = receive(*client);
      if (alive && !client->reading()) {
        answer_next(*client);
        if (client->reading()) alive = send(*client);
      }
      client = alive ? std::next(client) : clients_.erase(client);
    }
    accept_clients();
  }
}

/// Waits until somebody wants something or somebody's time is up. -1: the host ends.
int Server::wait() {
  std::vector<pollfd> fds;
  fds.push_back({wake_.get(), POLLIN, 0});
  const auto now = Clock::now();
  const bool accepting = now >= accept_again_;
  fds.push_back({accepting ? listener_.get() : -1, POLLIN, 0});
  const bool serving = unread_bytes() < limits_.unread_answer_bytes;
  for (const Client& client : clients_) {
    const short wanted = client.reading() ? POLLOUT : serving && !client.complete() ? POLLIN : short{0};
    fds.push_back({client.fd.get(), wanted, 0});
  }
  const int timeout_ms = clients_.empty() && accepting ? -1 : 100;
  const int ready = ::poll(fds.data(), fds.size(), timeout_ms);
  if (ready < 0 && errno != EINTR) return -1;
  if ((fds[0].revents & POLLIN) != 0) return -1;
  std::size_t i = 2;
  for (Client& client : clients_) {
    const short events = fds[i++].revents;
    client.readable = !client.reading() && (events & (POLLIN | POLLHUP | POLLERR)) != 0;
  }
  return ready;
}

void Server::accept_clients() {
  if (Clock::now() < accept_again_) return;
  // A few at a time: everyone accepted before is served once in between.
  for (int i = 0; i < 8; ++i) {
    base::Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      // Out of descriptors or memory: the connection stays in the queue, and polling it would spin.
      if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        accept_again_ = Clock::now() + std::chrono::milliseconds(100);
      return;
    }
    if (!may_connect(fd.get())) continue;
    if (clients_.size() >= limits_.clients) make_room();
    Client& client = clients_.emplace_back();
    client.fd = std::move(fd);
    client.since = Clock::now();
  }
}

/// Closes the connection that has been silent longest; one in the middle of something only if all are.
void Server::make_room() {
  auto victim = clients_.end();
  for (auto client = clients_.begin(); client != clients_.end(); ++client) {
    const bool better = victim == clients_.end() || (client->idle() && !victim->idle()) ||
                        (client->idle() == victim->idle() && client->since < victim->since);
    if (better) victim = client;
  }
  if (victim != clients_.end()) clients_.erase(victim);
}

/// Takes what has come, at most to the end of the request. False: the client is gone or speaks nonsense.
bool Server::receive(Client& client) {
  std::byte chunk[16384];
  const ssize_t got = ::recv(client.fd.get(), chunk, std::min(client.missing(), sizeof chunk), 0);
  if (got == 0) return false;
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (client.request.empty()) client.since = Clock::now();
  client.request.insert(client.request.end(), chunk, chunk + got);
  Header header;
  if (client.request.size() != sizeof header) return true;
  std::memcpy(&header, client.request.data(), sizeof header);
  return header.magic == magic && header.body_bytes <= max_request_bytes;
}

/// Answers the request if it is complete.
void Server::answer_next(Client& client) {
  if (client.request.size() < sizeof(Header) || unread_bytes() >= limits_.unread_answer_bytes) return;
  Header header;
  std::memcpy(&header, client.request.data(), sizeof header);
  if (header.version != protocol_version) {
    client.answer = encode_error(
        Error{Code::unsupported, "this host speaks version " + std::to_string(protocol_version) +
                                     " of the control protocol, the client version " + std::to_string(header.version)});
    client.close_after_answer = true;
  } else if (client.complete()) {
    client.answer = answer(inspector_, header.kind, std::span(client.request).subspan(sizeof header));
  } else {
    return;
  }
  client.request = {};
  client.since = Clock::now();
}

/// Sends as much of the answer as the socket takes. False: the client is gone, or done for.
bool Server::send(Client& client) {
  while (client.sent < client.answer.size()) {
    const ssize_t put = ::send(client.fd.get(), client.answer.data() + client.sent, client.answer.size() - client.sent,
                               MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put < 0) return errno == EAGAIN || errno == EINTR;
    client.sent += static_cast<std::size_t>(put);
  }
  client.answer = {};
  client.sent = 0;
  client.since = Clock::now();
  return !client.close_after_answer;
}

bool Server::expired(const Client& client, Clock::time_point now) const {
  const auto limit = client.idle() ? limits_.idle_time : client.reading() ? limits_.answer_time : limits_.request_time;
  return now - client.since > limit;
}

std::size_t Server::unread_bytes() const {
  std::size_t bytes = 0;
  for (const Client& client : clients_) bytes += client.answer.size() - client.sent;
  return bytes;
}

}  // namespace skep::user::control
