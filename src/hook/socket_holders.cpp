// See socket_holders.hpp. sock_diag(7), proc_pid_net(5), proc_pid_fd(5).
#include "hook/socket_holders.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>

namespace skep::hook {
namespace {

struct Question {
  nlmsghdr head;
  inet_diag_req_v2 body;
};
using Reply = std::array<char, 4096>;

Question question(u8 family, u16 flags) noexcept {
  Question made{};
  made.head = {.nlmsg_len = sizeof made,
               .nlmsg_type = SOCK_DIAG_BY_FAMILY,
               .nlmsg_flags = static_cast<u16>(NLM_F_REQUEST | flags),
               .nlmsg_seq = 1,
               .nlmsg_pid = 0};
  made.body.sdiag_family = family;
  made.body.sdiag_protocol = IPPROTO_TCP;
  return made;
}

/// The first message of the answer, which the kernel has written when send() returns; an empty one: none.
nlmsghdr ask(int netlink, const Question& asked, Reply& reply) noexcept {
  nlmsghdr head{};
  while (::recv(netlink, reply.data(), reply.size(), MSG_DONTWAIT) > 0) continue;  // what is left of another answer
  if (::send(netlink, &asked, sizeof asked, 0) != sizeof asked) return head;
  const ssize_t size = ::recv(netlink, reply.data(), reply.size(), MSG_DONTWAIT);
  if (size >= static_cast<ssize_t>(sizeof head)) std::memcpy(&head, reply.data(), sizeof head);
  if (head.nlmsg_len > static_cast<u32>(std::max<ssize_t>(size, 0))) head = {};
  return head;
}

template <class T>
bool take(T& into, const nlmsghdr& head, const Reply& reply) noexcept {
  if (head.nlmsg_len < sizeof head + sizeof into) return false;
  std::memcpy(static_cast<void*>(&into), reply.data() + sizeof head, sizeof into);
  return true;
}

}  // namespace

/// A list of sockets in no state: empty, or an error where the kernel has no module that makes such lists. Asked for
/// one socket it would say ENOENT then, as for a socket that is not there.
bool SocketHolders::can_ask() noexcept {
  if (was_tried_) return can_ask_;
  was_tried_ = true;
  netlink_ = base::Fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!netlink_) return false;
  Reply reply;
  const nlmsghdr head = ask(netlink_.get(), question(AF_INET, NLM_F_DUMP), reply);
  int error = 0;
  can_ask_ = head.nlmsg_type == NLMSG_DONE && take(error, head, reply) && error >= 0;
  return can_ask_;
}

SocketHolders::Answer SocketHolders::ask_system(u64 inode, const shadow::inet_sock& inet) noexcept {
  if (!can_ask()) return Answer::unknown;
  const shadow::sock_common& common = inet.sk.__sk_common;
  Question asked = question(static_cast<u8>(common.skc_family), 0);
  asked.body.idiag_states = ~0u;
  inet_diag_sockid& id = asked.body.id;
  id.idiag_sport = inet.inet_sport;
  id.idiag_dport = common.skc_dport;
  id.idiag_if = static_cast<u32>(common.skc_bound_dev_if);
  id.idiag_cookie[0] = id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  if (common.skc_family == AF_INET) {
    id.idiag_src[0] = common.skc_rcv_saddr;
    id.idiag_dst[0] = common.skc_daddr;
  } else {
    std::memcpy(id.idiag_src, common.skc_v6_rcv_saddr.bytes, sizeof id.idiag_src);
    std::memcpy(id.idiag_dst, common.skc_v6_daddr.bytes, sizeof id.idiag_dst);
  }
  Reply reply;
  const nlmsghdr head = ask(netlink_.get(), asked, reply);
  int error = 0;
  inet_diag_msg found;
  if (head.nlmsg_type == NLMSG_ERROR)
    return take(error, head, reply) && error == -ENOENT ? Answer::gone : Answer::unknown;
  if (head.nlmsg_type != SOCK_DIAG_BY_FAMILY || !take(found, head, reply)) return Answer::unknown;
  return found.idiag_inode == static_cast<u32>(inode) ? Answer::held : Answer::gone;
}

namespace {

/// Whether /proc/TID/net/FILE lists the inode. Its lines are of fields between spaces, of which the tenth is it.
bool is_listed(u64 inode, u32 tid, const char* file) noexcept {
  char path[64], text[8192];
  std::snprintf(path, sizeof path, "/proc/%u/net/%s", tid, file);
  const base::Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return false;
  constexpr u32 inode_field = 10;
  std::size_t kept = 0;
  for (;;) {
    const ssize_t got = ::read(fd.get(), text + kept, sizeof text - kept);
    if (got <= 0) return false;
    std::string_view rest(text, kept + static_cast<std::size_t>(got));
    for (auto end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      std::string_view line = rest.substr(0, end);
      rest.remove_prefix(end + 1);
      std::string_view word;
      for (u32 field = 0; field < inode_field; ++field) {
        line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
        word = line.substr(0, line.find(' '));
        line.remove_prefix(word.size());
      }
      u64 number = 0;
      std::from_chars(word.data(), word.data() + word.size(), number);
      if (number == inode) return true;
    }
    kept = rest.size() < sizeof text ? rest.size() : 0;
    std::memmove(text, rest.data(), kept);
  }
}

}  // namespace

bool SocketHolders::is_held(u64 inode, const shadow::inet_sock& inet, u32 tid, bool is_own) noexcept {
  constexpr u8 closed = 7;
  if (inet.sk.__sk_common.skc_state == closed) return false;  // in no table of the system
  if (is_own) {
    const Answer answer = ask_system(inode, inet);
    if (answer != Answer::unknown) return answer == Answer::held;
  }
  return is_listed(inode, tid, inet.sk.__sk_common.skc_family == AF_INET ? "tcp" : "tcp6");
}

namespace {

/// The names in a directory, one after the other, without memory of its own from the heap.
class Names {
 public:
  explicit Names(const char* path) noexcept : fd_(::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {}
  int fd() const noexcept { return fd_.get(); }
  /// Null: that was all.
  const char* next() noexcept {
    if (at_ >= size_) {
      size_ = fd_ ? ::syscall(SYS_getdents64, fd_.get(), bytes_, sizeof bytes_) : 0;
      at_ = 0;
      if (size_ <= 0) return nullptr;
    }
    const char* const entry = bytes_ + at_;
    u16 length = 0;
    std::memcpy(&length, entry + offsetof(dirent64, d_reclen), sizeof length);
    at_ += length;
    return entry + offsetof(dirent64, d_name);
  }

 private:
  base::Fd fd_;
  long at_ = 0, size_ = 0;
  alignas(8) char bytes_[4096];
};

std::optional<u32> number_of(std::string_view name) noexcept {
  u32 number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc{} || end != name.data() + name.size()) return std::nullopt;
  return number;
}

}  // namespace

u32 find_sockets(u32 tgid, std::span<u32> found) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%u/fd", tgid);
  Names files(path);
  u32 count = 0;
  while (const char* name = count < found.size() ? files.next() : nullptr) {
    struct stat what{};
    const auto number = number_of(name);
    if (number && ::fstatat(files.fd(), name, &what, 0) == 0 && S_ISSOCK(what.st_mode)) found[count++] = *number;
  }
  return count;
}

bool is_held_elsewhere(u64 inode, u32 tgid) noexcept {
  constexpr u32 most_looks = 8192;
  u32 looks = 0;
  Names processes("/proc");
  while (const char* process = processes.next()) {
    const auto pid = number_of(process);
    if (!pid || *pid == tgid) continue;
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%u/fd", *pid);
    Names files(path);
    while (const char* file = files.next()) {
      if (++looks > most_looks) return false;
      struct stat what{};
      if (number_of(file) && ::fstatat(files.fd(), file, &what, 0) == 0 && S_ISSOCK(what.st_mode) &&
          what.st_ino == inode)
        return true;
    }
  }
  return false;
}

}  // namespace skep::hook
