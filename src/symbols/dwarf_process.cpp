// Both ends of the conversation. See dwarf_process.hpp.
//
// One message asks, one answers, over a pair of SOCK_SEQPACKET sockets. Every question carries its file's descriptors,
// so the child may forget files when it has too many, and neither side keeps books of the other.
#include "symbols/dwarf_process.hpp"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <list>
#include <optional>

#include "base/byte_reader.hpp"

namespace skep::symbols {

namespace {

constexpr unsigned most_starts = 8, answer_seconds = 10;
constexpr std::size_t most_known = 1u << 16, most_open_files = 24, most_frames = 128, most_name_bytes = 4096,
                      most_answer_bytes = 128u << 10;
constexpr rlim_t most_memory = 2ULL << 30;

struct Question {
  u64 file = 0;
  u64 address = 0;
};

// An answer: for each frame its line, the lengths of both texts, the texts.
struct AnswerFrame {
  u32 line = 0;
  u16 name_bytes = 0, file_bytes = 0;
};

std::vector<std::byte> written(const std::vector<SourceFrame>& frames) {
  std::vector<std::byte> out;
  const auto add = [&](const void* data, std::size_t size) {
    const auto* const begin = static_cast<const std::byte*>(data);
    out.insert(out.end(), begin, begin + size);
  };
  // What is too much is left out from the inside: the function that has the code stays.
  const std::size_t first = frames.size() > most_frames ? frames.size() - most_frames : 0;
  for (std::size_t i = first; i < frames.size(); ++i) {
    const SourceFrame& frame = frames[i];
    const AnswerFrame head{frame.line, static_cast<u16>(std::min(frame.name.size(), most_name_bytes)),
                           static_cast<u16>(std::min(frame.file.size(), most_name_bytes))};
    if (out.size() + sizeof head + head.name_bytes + head.file_bytes > most_answer_bytes) break;
    add(&head, sizeof head);
    add(frame.name.data(), head.name_bytes);
    add(frame.file.data(), head.file_bytes);
  }
  return out;
}

std::optional<std::vector<SourceFrame>> parsed(std::span<const std::byte> bytes) {
  const base::ByteReader reader(bytes);
  std::vector<SourceFrame> frames;
  for (u64 at = 0; at < reader.size();) {
    const auto head = reader.at<AnswerFrame>(at);
    if (!head) return std::nullopt;
    const auto name = reader.slice(at += sizeof *head, head->name_bytes);
    const auto file = reader.slice(at += head->name_bytes, head->file_bytes);
    if (!name || !file) return std::nullopt;
    at += head->file_bytes;
    const auto text = [](std::span<const std::byte> part) {
      return std::string(reinterpret_cast<const char*>(part.data()), part.size());
    };
    frames.push_back({text(*name), text(*file), head->line});
  }
  return frames;
}

/// A message, and room for the descriptors that go with it.
struct Message {
  explicit Message(void* data, std::size_t size) : part{data, size} {
    header.msg_iov = &part, header.msg_iovlen = 1;
    header.msg_control = control.data(), header.msg_controllen = control.size();
  }
  alignas(cmsghdr) std::array<char, CMSG_SPACE(2 * sizeof(int))> control{};
  iovec part;
  msghdr header{};
};

// --- the child ---

/// What the child may ask the kernel for. Nothing here opens a file, starts a program or reaches another process.
constexpr std::array allowed_calls = {
    SYS_read,      SYS_pread64,       SYS_close,     SYS_lseek,        SYS_fstat, SYS_newfstatat, SYS_fcntl,  SYS_mmap,
    SYS_munmap,    SYS_mremap,        SYS_mprotect,  SYS_madvise,      SYS_brk,   SYS_recvmsg,    SYS_sendto, SYS_futex,
    SYS_getrandom, SYS_clock_gettime, SYS_setitimer, SYS_rt_sigreturn, SYS_exit,  SYS_exit_group};

#if defined(__x86_64__)
constexpr u32 architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr u32 architecture = AUDIT_ARCH_AARCH64;
#endif

bool forbid_other_calls() {
  constexpr auto field = [](std::size_t offset) { return static_cast<u32>(offset); };
  constexpr u32 refuse = SECCOMP_RET_ERRNO | EPERM;
  std::vector<sock_filter> filter = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, field(offsetof(seccomp_data, arch))),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, architecture, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, field(offsetof(seccomp_data, nr))),
  };
  for (const long call : allowed_calls) {
    const bool maps = call == SYS_mmap || call == SYS_mprotect;  // memory, but none that is executable
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<u32>(call), 0, maps ? u8{4} : u8{1}));
    if (maps) {
      filter.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, field(offsetof(seccomp_data, args) + 2 * sizeof(u64))));
      filter.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1));
      filter.push_back(BPF_STMT(BPF_RET | BPF_K, refuse));
    }
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  }
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, refuse));
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/// What this process has already, which counts against the limit: fork() gave it all that we had.
rlim_t own_memory() {
  std::array<char, 256> text{};
  const base::Fd file(::open("/proc/self/statm", O_RDONLY | O_CLOEXEC));
  unsigned long pages = 0;
  if (::read(file.get(), text.data(), text.size() - 1) > 0) std::sscanf(text.data(), "%*u %*u %*u %*u %*u %lu", &pages);
  return pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE));
}

/// Nothing of ours is left to it: no descriptor (a link or a pipe would stay open as long as it lives), no terminal
/// (Ctrl-C is for us), no handler, no directory. False: it could not be shut in.
bool shut_in(int socket) {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  base::close_all_but(socket);
  ::setsid();
  ::prctl(PR_SET_NAME, "skep-debuginfo");
  ::prctl(PR_SET_DUMPABLE, 0);
  if (::chdir("/") != 0) return false;
  const rlim_t most = own_memory() + most_memory;
  const rlimit no_core{0, 0}, memory{most, most};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::setrlimit(RLIMIT_DATA, &memory);
  return forbid_other_calls();
}

/// The files the child has open; the one asked for last in front.
class OpenFiles {
 public:
  DwarfFile* file(u64 id, base::Fd main, base::Fd supplement) {
    const auto at = std::find_if(files_.begin(), files_.end(), [&](const Open& open) { return open.id == id; });
    if (at != files_.end()) {
      files_.splice(files_.begin(), files_, at);
    } else {
      auto opened = DwarfFile::open(std::move(main), std::move(supplement));
      files_.push_front({id, opened ? std::optional(*std::move(opened)) : std::nullopt});
      if (files_.size() > most_open_files) files_.pop_back();
    }
    return files_.front().file ? &*files_.front().file : nullptr;
  }

 private:
  struct Open {
    u64 id;
    std::optional<DwarfFile> file;
  };
  std::list<Open> files_;
};

void limit_time(unsigned seconds) {
  const itimerval timer{{0, 0}, {static_cast<time_t>(seconds), 0}};
  ::setitimer(ITIMER_REAL, &timer, nullptr);  // SIGALRM ends us
}

/// Answers until there is nobody to ask.
void serve(int socket) {
  OpenFiles files;
  for (;;) {
    Question question;
    Message message(&question, sizeof question);
    if (::recvmsg(socket, &message.header, MSG_CMSG_CLOEXEC) != sizeof question) return;
    base::Fd fds[2];
    const cmsghdr* const control = CMSG_FIRSTHDR(&message.header);
    if (control == nullptr || control->cmsg_type != SCM_RIGHTS) return;
    for (std::size_t i = 0; i < 2 && CMSG_LEN((i + 1) * sizeof(int)) <= control->cmsg_len; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
      fds[i] = base::Fd(fd);
    }
    limit_time(answer_seconds);
    DwarfFile* const file = files.file(question.file, std::move(fds[0]), std::move(fds[1]));
    const auto answer = written(file != nullptr ? file->at(question.address) : std::vector<SourceFrame>());
    limit_time(0);
    // An answer of no frames is a message of one byte: an empty one would look like the end.
    const std::byte nothing{};
    const auto bytes = answer.empty() ? std::span(&nothing, 1) : std::span<const std::byte>(answer);
    if (::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) return;
  }
}

}  // namespace

// --- we ---

u64 DebugInfo::next_id() noexcept {
  static std::atomic<u64> last{0};
  return ++last;
}

/// The child's parent ends at once, so that nobody who waits for children of this process meets one it did not start.
Result<void> DwarfProcess::start() {
  SKEP_TRY(DwarfFile::available());  // and opened: before fork()
  if (starts_++ == most_starts) return fail(Code::limit, "debug information ended its reader too often");
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0)
    return tl::unexpected(base::os_error("socketpair"));
  base::Fd ours(pair[0]), theirs(pair[1]);
  const pid_t between = ::fork();
  if (between < 0) return tl::unexpected(base::os_error("fork"));
  if (between == 0) {
    if (::fork() == 0 && shut_in(theirs.get())) serve(theirs.get());
    ::_exit(0);
  }
  while (::waitpid(between, nullptr, 0) < 0 && errno == EINTR) {
  }
  socket_ = std::move(ours);
  owner_ = ::getpid();
  return {};
}

Result<std::vector<SourceFrame>> DwarfProcess::ask(const DebugInfo& info, u64 address) {
  if (!socket_ || owner_ != ::getpid()) SKEP_TRY(start());
  const auto lost = [this](const char* what) -> Result<std::vector<SourceFrame>> {
    socket_.reset();  // and the child ends, now or by its own clock
    return fail(Code::closed, what);
  };
  Question question{info.id, address};
  Message message(&question, sizeof question);
  const std::array<int, 2> fds = {info.file->get(), info.supplement.get()};
  const std::size_t fd_bytes = (info.supplement ? 2 : 1) * sizeof(int);
  message.header.msg_controllen = CMSG_SPACE(fd_bytes);
  cmsghdr* const control = CMSG_FIRSTHDR(&message.header);
  control->cmsg_level = SOL_SOCKET, control->cmsg_type = SCM_RIGHTS, control->cmsg_len = CMSG_LEN(fd_bytes);
  std::memcpy(CMSG_DATA(control), fds.data(), fd_bytes);
  if (::sendmsg(socket_.get(), &message.header, MSG_NOSIGNAL) < 0) return lost("the reader of debug information ended");

  pollfd ready{socket_.get(), POLLIN, 0};
  int polled = 0;
  while ((polled = ::poll(&ready, 1, (answer_seconds + 1) * 1000)) < 0 && errno == EINTR) {
  }
  std::vector<std::byte> answer(most_answer_bytes);
  const ssize_t got = polled == 1 ? ::recv(socket_.get(), answer.data(), answer.size(), 0) : -1;
  if (got <= 0) return lost("the reader of debug information does not answer");
  if (got == 1) return std::vector<SourceFrame>();
  auto frames = parsed(std::span(answer).first(static_cast<std::size_t>(got)));
  if (!frames) return lost("the reader of debug information answers nonsense");
  return *std::move(frames);
}

const std::vector<SourceFrame>& DwarfProcess::at(const DebugInfo& info, u64 address) {
  static const std::vector<SourceFrame> nothing;
  auto& of_file = known_[info.id];
  if (const auto known = of_file.find(address); known != of_file.end()) return known->second;
  if (given_up_.contains(info.id)) return nothing;
  auto answer = ask(info, address);
  if (!answer) {
    given_up_.insert(info.id);
    return nothing;
  }
  if (known_count_++ == most_known) known_.clear(), known_count_ = 1;
  return known_[info.id].insert_or_assign(address, *std::move(answer)).first->second;
}

}  // namespace skep::symbols
