// See socket_holders.hpp. sock_diag(7), proc_pid_net(5), proc_pid_fd(5).
#include "hook/socket_holders.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
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

enum TcpState : u8 { closed = 7, listening = 10 };

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
  if (found.idiag_inode == static_cast<u32>(inode)) return Answer::held;
  return common.skc_state == listening ? Answer::unknown : Answer::gone;  // several may listen at one port
}

namespace {

// Every close() and every end of a process stands still meanwhile, and others may have very many descriptors.
constexpr std::size_t most_listed = 1u << 20;  // bytes: some 7000 sockets
constexpr u32 most_looks = 8192;               // at processes and their descriptors

/// Whether /proc/TID/net/FILE lists the inode. Its lines are of fields between spaces, of which the tenth is it.
bool is_listed(u64 inode, u32 tid, const char* file) noexcept {
  char path[64], text[8192];
  std::snprintf(path, sizeof path, "/proc/%u/net/%s", tid, file);
  const base::Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return false;
  constexpr u32 inode_field = 10;
  std::size_t kept = 0, read = 0;
  while (read < most_listed) {
    const ssize_t got = ::read(fd.get(), text + kept, sizeof text - kept);
    if (got <= 0) return false;
    read += static_cast<std::size_t>(got);
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
  return false;
}

}  // namespace

bool SocketHolders::is_held(u64 inode, const shadow::inet_sock& inet, u32 tid, bool is_own) noexcept {
  if (inet.sk.__sk_common.skc_state == closed) return false;  // in no table of the system
  if (is_own) {
    const Answer answer = ask_system(inode, inet);
    if (answer != Answer::unknown) return answer == Answer::held;
  }
  return is_listed(inode, tid, inet.sk.__sk_common.skc_family == AF_INET ? "tcp" : "tcp6");
}

bool is_in_own_net(u32 tid) noexcept {
  char path[64], theirs[64], own[64];
  std::snprintf(path, sizeof path, "/proc/%u/ns/net", tid);
  const ssize_t length = ::readlink(path, theirs, sizeof theirs);
  return length > 0 && ::readlink("/proc/self/ns/net", own, sizeof own) == length &&
         std::memcmp(theirs, own, static_cast<std::size_t>(length)) == 0;
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

/// The inode of the socket that a link in /proc/PID/fd leads to: "socket:[NUMBER]". 0: it is something else.
u64 socket_at(int directory, const char* name) noexcept {
  constexpr std::string_view begin = "socket:[";
  char text[64];
  const ssize_t length = ::readlinkat(directory, name, text, sizeof text);
  const std::string_view link(text, static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
  u64 inode = 0;
  if (link.starts_with(begin)) std::from_chars(text + begin.size(), text + link.size(), inode);
  return inode;
}

/// Calls `each` with every descriptor of a process, and the inode where it is a socket, until it says false.
template <class Each>
void for_descriptors(u32 tgid, Each each) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%u/fd", tgid);
  Names files(path);
  while (const char* name = files.next())
    if (const auto number = number_of(name); number && !each(*number, socket_at(files.fd(), name))) return;
}

}  // namespace

EndingSockets::EndingSockets(u32 tgid) noexcept : tgid_(tgid) {
  u32 looks = 0;
  for_descriptors(tgid, [&](u32 descriptor, u64 inode) {
    const auto known = inodes_.begin() + count_;
    if (inode != 0 && std::find(inodes_.begin(), known, inode) == known) {
      descriptors_[count_] = descriptor;
      inodes_[count_++] = inode;
    }
    return count_ < most && ++looks < most_looks;
  });
}

void EndingSockets::look() noexcept {
  u32 looks = 0;
  Names processes("/proc");
  while (const char* process = looks < most_looks ? processes.next() : nullptr) {
    const auto pid = number_of(process);
    if (!pid || *pid == tgid_) continue;
    ++looks;
    for_descriptors(*pid, [&](u32, u64 inode) {
      const auto end = inodes_.begin() + count_;
      if (const auto found = std::find(inodes_.begin(), end, inode); inode != 0 && found != end)
        held_.set(static_cast<std::size_t>(found - inodes_.begin()));
      return ++looks < most_looks;
    });
  }
}

bool EndingSockets::is_held_elsewhere(u32 index) noexcept {
  if (!has_looked_) look();
  has_looked_ = true;
  return held_[index];
}

}  // namespace skep::hook
