// Maps of sockets: sockmap, sockhash, reuseport_sockarray.
//
// A slot names a socket of the host by descriptor and cookie. The map keeps no socket open, as the kernel's does not:
// a slot whose descriptor was closed, or means another socket by now, is empty. What may be stored is what the kernel
// stores: TCP sockets that are connected or listen, bound UDP sockets, UNIX and VSOCK sockets; for a reuseport array
// sockets that are bound with SO_REUSEPORT. The host reads cookies back (value_size 8). Redirecting between sockets is
// work of kernel program types (sk_skb, sk_msg), which this engine refuses by name. Source: net/core/sock_map.c,
// kernel/bpf/reuseport_array.c.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <mutex>

#include "map/hash_table.hpp"
#include "map/memory.hpp"
#include "map/spin_lock.hpp"
#include "map/types.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

struct Socket {
  u64 cookie = 0;  ///< 0: empty
  u64 fd = 0;
};

template <class T>
s64 option(int fd, int level, int name, T& value) noexcept {
  socklen_t size = sizeof value;
  return ::getsockopt(fd, level, name, &value, &size) == 0 ? 0 : -errno;
}

/// Whether the slot's socket is still there.
bool is_open(const Socket& socket) noexcept {
  u64 cookie = 0;
  return socket.cookie != 0 && option(static_cast<int>(socket.fd), SOL_SOCKET, SO_COOKIE, cookie) == 0 &&
         cookie == socket.cookie;
}

/// The socket that a value of 4 or 8 bytes names.
s64 open_socket(const void* value, u32 value_size, Socket& socket) noexcept {
  u64 fd = 0;
  std::memcpy(&fd, value, value_size);
  if (fd > 0x7fffffff) return -EINVAL;
  socket.fd = fd;
  return option(static_cast<int>(fd), SOL_SOCKET, SO_COOKIE, socket.cookie);
}

/// Whether an internet socket has a port.
bool is_bound(int fd) noexcept {
  sockaddr_in6 address{};
  socklen_t size = sizeof address;
  return ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0 && address.sin6_port != 0;
}

/// The kinds and states that sock_map_sk_is_suitable and sock_map_sk_state_allowed let in.
s64 suits_sockmap(int fd) noexcept {
  int domain = 0, type = 0, protocol = 0;
  if (option(fd, SOL_SOCKET, SO_DOMAIN, domain) != 0 || option(fd, SOL_SOCKET, SO_TYPE, type) != 0 ||
      option(fd, SOL_SOCKET, SO_PROTOCOL, protocol) != 0)
    return -EOPNOTSUPP;
  const bool internet = domain == AF_INET || domain == AF_INET6;
  if (internet && type == SOCK_DGRAM && protocol == IPPROTO_UDP) return is_bound(fd) ? 0 : -EOPNOTSUPP;
  if (internet && type == SOCK_STREAM && protocol == IPPROTO_TCP) {
    tcp_info info{};
    if (option(fd, IPPROTO_TCP, TCP_INFO, info) != 0) return -EOPNOTSUPP;
    return info.tcpi_state == TCP_ESTABLISHED || info.tcpi_state == TCP_LISTEN ? 0 : -EOPNOTSUPP;
  }
  if (domain == AF_UNIX && type == SOCK_DGRAM) return 0;
  if ((domain == AF_UNIX || domain == AF_VSOCK) && type == SOCK_STREAM) {
    sockaddr_un peer{};
    socklen_t size = sizeof peer;
    return ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0 ? 0 : -EOPNOTSUPP;
  }
  return -EOPNOTSUPP;
}

/// IPv4 or IPv6, UDP that is bound or TCP that listens, with SO_REUSEPORT.
s64 suits_reuseport(int fd) noexcept {
  int domain = 0, type = 0, shares = 0, listens = 0;
  if (option(fd, SOL_SOCKET, SO_DOMAIN, domain) != 0 || option(fd, SOL_SOCKET, SO_TYPE, type) != 0) return -EINVAL;
  const bool internet = domain == AF_INET || domain == AF_INET6;
  if (!internet || (type != SOCK_STREAM && type != SOCK_DGRAM)) return -not_supported;
  option(fd, SOL_SOCKET, SO_REUSEPORT, shares);
  option(fd, SOL_SOCKET, SO_ACCEPTCONN, listens);
  return shares != 0 && is_bound(fd) && (type == SOCK_DGRAM || listens != 0) ? 0 : -EINVAL;
}

s64 check_presence(bool present, u64 flags) noexcept {
  if (present && flags == update_noexist) return -EEXIST;
  return !present && flags == update_exist ? -ENOENT : 0;
}

/// What the host reads: cookies, where values have room for one.
s64 read_cookie(const Socket& socket, u32 value_size, void* value) noexcept {
  if (value_size != sizeof socket.cookie) return -ENOSPC;
  if (!is_open(socket)) return -ENOENT;
  std::memcpy(value, &socket.cookie, sizeof socket.cookie);
  return 0;
}

/// Sockets by index: sockmap and reuseport_sockarray.
class SocketArray final : public Map {
 public:
  SocketArray(const MapSpec& spec, Region slots)
      : Map(spec), slots_(std::move(slots)), reuseport_(spec.type == MapType::reuseport_sockarray) {}

  void* lookup(const void*) noexcept override { return nullptr; }
  s64 update(const void* key, const void* value, u64 flags) noexcept override {
    return reuseport_ ? update_reuseport(index_of(key), value, flags) : update_sockmap(index_of(key), value, flags);
  }
  s64 erase(const void* key) noexcept override {
    const u32 index = index_of(key);
    if (index >= spec_.max_entries) return reuseport_ ? -E2BIG : -EINVAL;
    const std::lock_guard lock(lock_);
    const bool present = is_open(slot(index));
    slot(index) = {};
    return present ? 0 : reuseport_ ? -ENOENT : -EINVAL;
  }
  u64 memory_bytes() const noexcept override { return slots_.resident_bytes(); }

 protected:
  s64 host_lookup(const void* key, void* value) noexcept override {
    const u32 index = index_of(key);
    const std::lock_guard lock(lock_);
    return read_cookie(index < spec_.max_entries ? slot(index) : Socket{}, spec_.value_size, value);
  }
  s64 host_update(const void* key, const void* value, u64 flags) noexcept override { return update(key, value, flags); }
  s64 host_next_key(const void* key, void* next) noexcept override { return next_index(key, spec_.max_entries, next); }

 private:
  Socket& slot(u32 index) const noexcept { return reinterpret_cast<Socket*>(slots_.data())[index]; }

  s64 update_sockmap(u32 index, const void* value, u64 flags) noexcept {
    Socket socket;
    if (const s64 error = open_socket(value, spec_.value_size, socket); error != 0) return error;
    if (const s64 error = suits_sockmap(static_cast<int>(socket.fd)); error != 0) return error;
    if (flags > update_exist) return -EINVAL;
    if (index >= spec_.max_entries) return -E2BIG;
    const std::lock_guard lock(lock_);
    if (const s64 error = check_presence(is_open(slot(index)), flags); error != 0) return error;
    slot(index) = socket;
    return 0;
  }

  s64 update_reuseport(u32 index, const void* value, u64 flags) noexcept {
    if (flags > update_exist) return -EINVAL;
    if (index >= spec_.max_entries) return -E2BIG;
    Socket socket;
    if (const s64 error = open_socket(value, spec_.value_size, socket); error != 0) return error;
    const std::lock_guard lock(lock_);
    if (const s64 error = check_presence(is_open(slot(index)), flags); error != 0) return error;
    if (const s64 error = suits_reuseport(static_cast<int>(socket.fd)); error != 0) return error;
    // A socket stands in one place only.
    for (u32 other = 0; other < spec_.max_entries; ++other)
      if (slot(other).cookie == socket.cookie) return -EBUSY;
    slot(index) = socket;
    return 0;
  }

  Region slots_;
  bool reuseport_;
  SpinLock lock_;
};

/// Sockets by any key.
class SockHash final : public Map {
 public:
  SockHash(const MapSpec& spec, HashTable table) : Map(spec), table_(std::move(table)) {}

  void* lookup(const void*) noexcept override { return nullptr; }
  s64 update(const void* key, const void* value, u64 flags) noexcept override {
    Socket socket, before;
    if (const s64 error = open_socket(value, spec_.value_size, socket); error != 0) return error;
    if (const s64 error = suits_sockmap(static_cast<int>(socket.fd)); error != 0) return error;
    if (flags > update_exist) return -EINVAL;
    const std::lock_guard lock(lock_);
    const bool present = table_.copy(key, &before) == 0 && is_open(before);
    if (const s64 error = check_presence(present, flags); error != 0) return error;
    const s64 error = table_.update(key, &socket, update_any, 0);
    return error == -E2BIG && forget_closed() ? table_.update(key, &socket, update_any, 0) : error;
  }
  s64 erase(const void* key) noexcept override {
    const std::lock_guard lock(lock_);
    Socket before;
    const bool present = table_.copy(key, &before) == 0 && is_open(before);
    table_.erase(key);
    return present ? 0 : -ENOENT;
  }
  u64 memory_bytes() const noexcept override { return table_.memory_bytes(); }

 protected:
  s64 host_lookup(const void* key, void* value) noexcept override {
    Socket found;
    table_.copy(key, &found);
    return read_cookie(found, spec_.value_size, value);
  }
  s64 host_update(const void* key, const void* value, u64 flags) noexcept override { return update(key, value, flags); }
  s64 host_next_key(const void* key, void* next) noexcept override { return table_.next_key(key, next); }

 private:
  /// Makes room: whether any slot had lost its socket.
  bool forget_closed() noexcept {
    bool any = false;
    std::byte key[512], next[512];  // the longest key: checks_objects.cpp
    for (const void* from = nullptr; table_.next_key(from, next) == 0;) {
      Socket found;
      if (table_.copy(next, &found) == 0 && !is_open(found)) {
        any = table_.erase(next) == 0 || any;
        continue;  // from the same place again
      }
      std::memcpy(key, next, spec_.key_size);
      from = key;
    }
    return any;
  }

  HashTable table_;
  SpinLock lock_;
};

}  // namespace

Result<std::shared_ptr<Map>> make_sockets(const MapSpec& spec) {
  if (spec.type == MapType::sockhash) {
    auto table = SKEP_TRY(HashTable::create({.key_size = spec.key_size,
                                             .value_size = sizeof(Socket),
                                             .max_entries = spec.max_entries,
                                             .seed = hash_seed(spec)}));
    return std::make_shared<SockHash>(spec, std::move(table));
  }
  auto slots = SKEP_TRY(Region::allocate(sizeof(Socket) * u64{spec.max_entries}));
  return std::make_shared<SocketArray>(spec, std::move(slots));
}

}  // namespace skep::map
