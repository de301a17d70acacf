// See function_event.hpp. Nothing here allocates: this is the per-event path.
#include "hook/function_event.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>

namespace skep::hook {
namespace {

enum TcpState : u8 { established = 1, syn_sent = 2, closed = 7 };

bool is_open_call(s32 number) noexcept {
  return number == SYS_open || number == SYS_openat || number == SYS_openat2 || number == SYS_creat;
}

bool is_unnamed(u64 flags) noexcept { return (flags & O_TMPFILE) == O_TMPFILE; }

/// Results of a connect() that waited for what came of it: the request was sent.
bool is_of_the_wait(s64 result) noexcept {
  constexpr s64 interrupted[] = {-512, -513, -514, -516};  // ERESTARTSYS and its kind, which processes do not see
  constexpr s64 errors[] = {-EINPROGRESS, -EINTR, -ECONNREFUSED, -ECONNRESET, -ECONNABORTED, -ETIMEDOUT};
  return std::ranges::find(interrupted, result) != std::end(interrupted) ||
         std::ranges::find(errors, result) != std::end(errors);
}

}  // namespace

bool needs_notes(const FunctionPlan& plan, const FunctionRow& row) noexcept {
  using enum FunctionTest;
  const auto has = [&](FunctionTest test) {
    return std::ranges::find(row.tests.span(), test) != row.tests.span().end();
  };
  return has(created) || has(asks_ipv4) || has(asks_ipv6) || has(changes_state) ||
         (row.boundary == FunctionRow::Boundary::leave && has(lets_go)) || (has(opened) && plan.wanted != 0);
}

// --- what the call leads to ---

shadow::Pointer FunctionEvent::open_file(u32 descriptor) noexcept {
  if (descriptor >= ShadowFiles::most_descriptors) return 0;
  return files_.file(tgid(), descriptor, shadow_.net_of(event_.tid, tgid()));
}

/// The file of the call's first argument; at the return of a call that closes it, what it was.
shadow::Pointer FunctionEvent::file() noexcept {
  if (file_) return *file_;
  if (event_.notes.taken && event_.notes.file != 0 && event_.is_exit) {
    const shadow::Pointer noted = event_.notes.file;
    file_ = files_.inode_of(noted) == event_.notes.inode ? noted : 0;
  } else {
    file_ = open_file(argument(0));
  }
  return *file_;
}

shadow::Pointer FunctionEvent::new_file() noexcept {
  if (new_file_) return *new_file_;
  new_file_ = event_.ret >= 0 ? open_file(static_cast<u32>(event_.ret)) : 0;
  if (*new_file_ != 0 && is_open_call(event_.nr)) files_.set_created(*new_file_, has_created());
  const bool accepts = event_.nr == SYS_accept || event_.nr == SYS_accept4;
  // Of a connection that has ended the socket does not tell, so what the call has told.
  if (u32 length = 0;
      *new_file_ != 0 && accepts && event_.args[1] != 0 && task_.read_user(&length, event_.args[2], sizeof length) == 0)
    files_.set_target(*new_file_, target_of(given_address(event_.args[1], length), length));
  return *new_file_;
}

sockaddr_storage FunctionEvent::given_address(u64 address, u32 length) noexcept {
  sockaddr_storage given{};
  const bool fits = length >= sizeof given.ss_family && length <= sizeof given;  // as move_addr_to_kernel() has it
  if (!fits || task_.read_user(&given, address, length) != 0) given = {};
  return given;
}

shadow::inet_sock* FunctionEvent::sock_of(shadow::Pointer file) noexcept {
  return files_.sock(file) != 0 ? &files_.ask(file) : nullptr;
}

bool FunctionEvent::is_tcp(shadow::Pointer file) noexcept {
  const shadow::inet_sock* const found = sock_of(file);
  const auto family = found != nullptr ? found->sk.__sk_common.skc_family : 0;
  return found != nullptr && found->sk.sk_protocol == IPPROTO_TCP && (family == AF_INET || family == AF_INET6);
}

// --- files that calls name ---

CallPath& FunctionEvent::path() noexcept {
  if (!path_) path_.emplace().read(event_, task_);
  return *path_;
}

const FunctionEvent::Named& FunctionEvent::named() noexcept {
  if (named_.was_looked_up) return named_;
  named_.was_looked_up = true;
  named_.found = path().find(false);
  return named_;
}

u64 FunctionEvent::open_flags() noexcept {
  u64 flags = 0;
  switch (event_.nr) {
    case SYS_open:
      return event_.args[1];
    case SYS_openat:
      return event_.args[2];
    case SYS_creat:
      return O_CREAT | O_WRONLY | O_TRUNC;
    default:  // openat2: the first member of struct open_how
      return task_.read_user(&flags, event_.args[2], sizeof flags) == 0 ? flags : 0;
  }
}

bool FunctionEvent::has_created() noexcept {
  const u64 flags = open_flags();
  if (event_.ret < 0 || (flags & O_CREAT) == 0 || is_unnamed(flags)) return false;
  return (flags & O_EXCL) != 0 || (event_.notes.taken && !event_.notes.existed);
}

bool FunctionEvent::has_made_file() const noexcept {
  const u64 type = event_.args[event_.nr == SYS_mknod ? 1 : 2] & S_IFMT;
  return event_.ret == 0 && (type == 0 || type == S_IFREG);
}

bool FunctionEvent::names(bool directory) noexcept {
  const bool removes_directory =
      event_.nr == SYS_rmdir || (event_.nr == SYS_unlinkat && (event_.args[2] & AT_REMOVEDIR) != 0);
  return removes_directory == directory && path().has_name(directory) && named().found.has_value();
}

shadow::Pointer FunctionEvent::dentry() noexcept {
  if (is_open_call(event_.nr)) return new_file() != 0 ? files_.name_of(new_file()) : 0;
  return named().found ? files_.name(*named().found, path().name()) : 0;
}

/// Its inode; the directory's own name is asked of our own descriptor.
shadow::Pointer FunctionEvent::directory() noexcept {
  Stat found{};
  char link[64], target[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", path().directory());
  const ssize_t length = ::readlink(link, target, sizeof target);
  if (length <= 0 || ::fstat(path().directory(), &found) != 0) return 0;
  const std::string_view all(target, static_cast<std::size_t>(length));
  return ShadowFiles::inode_of_name(files_.name(found, all.substr(all.rfind('/') + 1)));
}

// --- at the entry ---

void FunctionEvent::note_entry() noexcept {
  event_.notes = {};
  event_.notes.taken = true;
  if (is_open_call(event_.nr)) return note_open();
  if (event_.nr == SYS_connect) return note_connect();
  if (event_.nr == SYS_close || event_.nr == SYS_dup2 || event_.nr == SYS_dup3) return note_close();
}

void FunctionEvent::note_open() noexcept {
  const u64 flags = open_flags();
  if ((flags & O_CREAT) != 0 && (flags & O_EXCL) == 0 && !is_unnamed(flags))
    event_.notes.existed = path().find((flags & O_NOFOLLOW) == 0).has_value();
}

/// Source: __inet_stream_connect(), tcp_v6_connect().
void FunctionEvent::note_connect() noexcept {
  if (!is_tcp(file())) return;
  CallNotes& notes = event_.notes;
  const shadow::sock_common& common = sock()->sk.__sk_common;
  const sockaddr_storage given = given_address(event_.args[1], argument(2));
  notes.file = file();
  notes.inode = files_.inode_of(file());
  notes.state = common.skc_state;
  notes.disconnects = given.ss_family == AF_UNSPEC;
  if (notes.state != closed || notes.disconnects) return;
  const SocketTarget target = target_of(given, argument(2));
  files_.set_target(file(), target);
  notes.asks_ipv6 = common.skc_family == AF_INET6;
  notes.asks_ipv4 = common.skc_family == AF_INET || is_mapped(target);
}

/// What the socket is must be known before it is closed.
void FunctionEvent::note_close() noexcept {
  const bool replaces = event_.nr != SYS_close;
  if (replaces && argument(0) == argument(1)) return;
  file_ = open_file(argument(replaces ? 1 : 0));
  if (!is_tcp(*file_)) return;
  event_.notes.file = *file_;
  event_.notes.inode = files_.inode_of(*file_);
}

void FunctionEvent::close_at_end(EndingSockets& sockets, u32 index) noexcept {
  ending_ = &sockets;
  ending_index_ = index;
  file_ = open_file(sockets.descriptor(index));
}

// --- sockets ---

/// What a connect() has left behind. A socket that was refused has forgotten its own address.
void FunctionEvent::settle_connect() noexcept {
  if (is_settled_ || !event_.is_exit || event_.nr != SYS_connect || file() == 0 || sock() == nullptr) return;
  is_settled_ = true;
  shadow::inet_sock& found = *sock();
  const shadow::sock_common& common = found.sk.__sk_common;
  files_.set_pending(file(), common.skc_state == syn_sent);
  constexpr u8 nowhere[16] = {};
  const bool has_source = common.skc_family == AF_INET
                              ? common.skc_rcv_saddr != 0
                              : std::memcmp(common.skc_v6_rcv_saddr.bytes, nowhere, sizeof nowhere) != 0;
  if (!has_source && is_of_the_wait(event_.ret) && is_in_own_net(event_.tid)) take_source(found, files_.target(file()));
}

/// Whether a connect() has sent its request: one that was refused is closed, as it was before.
bool FunctionEvent::has_asked() const noexcept {
  return (event_.notes.asks_ipv4 || event_.notes.asks_ipv6) && (event_.ret == 0 || is_of_the_wait(event_.ret));
}

/// A socket that was pending and is not any more, seen once.
bool FunctionEvent::settles() noexcept {
  if (settles_) return *settles_;
  settles_ = false;
  const bool asks = event_.nr == SYS_getsockopt;
  if (asks && (argument(1) != SOL_SOCKET || argument(2) != SO_ERROR)) return false;
  if (file() == 0 || !files_.is_pending(file()) || sock()->sk.__sk_common.skc_state == syn_sent) return false;
  files_.set_pending(file(), false);
  return *(settles_ = true);
}

/// Beyond established is established: what came after that, by the other side, is not told.
u8 FunctionEvent::state() noexcept {
  const shadow::inet_sock* const found = sock();
  const u8 now = found != nullptr ? found->sk.__sk_common.skc_state : 0;
  if (event_.nr == SYS_connect && event_.is_exit && event_.ret == 0)
    return event_.notes.disconnects ? closed : established;
  return now == syn_sent || now == closed ? now : u8{established};
}

bool FunctionEvent::lets_go() noexcept {
  if (lets_go_) return *lets_go_;
  lets_go_ = false;
  const shadow::Pointer closing = file();
  if (closing == 0) return false;
  if (ending_ != nullptr) return *(lets_go_ = !ending_->is_held_elsewhere(ending_index_));
  // close() closes whatever else it says, the others only where they succeed.
  const bool has_closed = event_.nr == SYS_close ? event_.ret != -EBADF : event_.ret >= 0;
  if (event_.notes.file == 0 || !has_closed) return false;
  const shadow::inet_sock& before = files_.at(closing).sock;
  return *(lets_go_ =
               !files_.holders().is_held(files_.inode_of(closing), before, event_.tid, is_in_own_net(event_.tid)));
}

// --- rows ---

bool FunctionEvent::holds(FunctionTest test) noexcept {
  const auto family = [&]() -> u16 { return sock() != nullptr ? sock()->sk.__sk_common.skc_family : u16{0}; };
  switch (test) {
    case FunctionTest::is_open:
      return (event_.is_exit && event_.ret != -EBADF) || file() != 0;
    case FunctionTest::opened:
      return event_.ret >= 0 && !is_unnamed(open_flags());
    case FunctionTest::created:
      return has_created();
    case FunctionTest::made_file:
      return has_made_file();
    case FunctionTest::names_file:
      return names(false);
    case FunctionTest::names_directory:
      return names(true);
    case FunctionTest::succeeded:
      return event_.ret >= 0;
    case FunctionTest::is_tcp:
      return is_tcp(file());
    case FunctionTest::is_ipv4:
      return family() == AF_INET;
    case FunctionTest::is_ipv6:
      return family() == AF_INET6;
    case FunctionTest::new_is_tcp:
      return is_tcp(event_.ret >= 0 ? new_file() : file());
    case FunctionTest::asks_ipv4:
      settle_connect();
      return event_.notes.asks_ipv4;
    case FunctionTest::asks_ipv6:
      settle_connect();
      return event_.notes.asks_ipv6;
    case FunctionTest::changes_state:
      settle_connect();
      return event_.notes.state != 0 && (state() != event_.notes.state || has_asked());
    case FunctionTest::settles:
      return settles();
    case FunctionTest::lets_go:
      return lets_go();
  }
  return false;
}

u64 FunctionEvent::value(FunctionValue value) noexcept {
  switch (value) {
    case FunctionValue::unknown:
    case FunctionValue::idmap:
    case FunctionValue::zero:
      return 0;
    case FunctionValue::file:
      return file();
    case FunctionValue::socket:
      return files_.socket(file());
    case FunctionValue::sock:
      return files_.sock(file());
    case FunctionValue::new_file:
      return new_file();
    case FunctionValue::new_path:
      return files_.path(new_file());
    case FunctionValue::new_sock:
      return files_.sock(new_file());
    case FunctionValue::dentry:
      return dentry();
    case FunctionValue::directory:
      return directory();
    case FunctionValue::address:
      return files_.address(given_address(event_.args[1], argument(2)));
    case FunctionValue::argument_1:
      return event_.args[1];
    case FunctionValue::argument_2:
      return event_.args[2];
    case FunctionValue::argument_3:
      return event_.args[3];
    case FunctionValue::state:
      return state();
    case FunctionValue::result:
      return static_cast<u64>(event_.ret);
    case FunctionValue::connect_result:
      return is_of_the_wait(event_.ret) ? 0 : static_cast<u64>(event_.ret);
  }
  return 0;
}

bool FunctionEvent::is_called(const FunctionRow& row) noexcept {
  return std::ranges::all_of(row.tests.span(), [&](FunctionTest test) { return holds(test); });
}

void FunctionEvent::fill(const FunctionPlan& plan, const FunctionRow& row, PtRegs& registers) noexcept {
  constexpr u64 PtRegs::* places[] = {&PtRegs::di, &PtRegs::si, &PtRegs::dx, &PtRegs::cx, &PtRegs::r8, &PtRegs::r9};
  registers = {};
  registers.orig_ax = ~u64{0};
  for (std::size_t i = 0; i < std::min(plan.places.size(), std::size(places)); ++i)
    if ((plan.wanted >> i & 1) != 0)
      registers.*(plan.at_return ? &PtRegs::ax : places[i]) = value(row.parameters.items[plan.places[i]]);
  event_.readable = {};
  event_.readable[0] = std::as_bytes(std::span(&registers, 1));
}

}  // namespace skep::hook
