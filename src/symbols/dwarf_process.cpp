// Both ends of the conversation. See dwarf_process.hpp.
//
// One message asks, one answers, over a pair of SOCK_SEQPACKET sockets. Every question carries its file's descriptors,
// so the child may forget files when it has too many, and neither side keeps books of the other.
#include "symbols/dwarf_process.hpp"

#include <fcntl.h>
#include <fmt/core.h>
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
#include "base/mapped_file.hpp"
#include "symbols/process_maps.hpp"

namespace skep::symbols {

namespace {

constexpr unsigned most_starts = 8, answer_seconds = 10;
constexpr std::chrono::seconds most_file_time{60};  // of all answers about one file
constexpr std::size_t most_known_bytes = 64u << 20, most_open_files = 128, most_frames = 128, most_name_bytes = 4096,
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
struct AllowedCall {
  long number;
  u32 argument = 0;  ///< which one is looked at, where `jump` is not 0
  u16 jump = 0;      ///< BPF_JEQ: allowed with this value only; BPF_JSET: with none of these bits
  u32 value = 0;
};
constexpr AllowedCall allowed_calls[] = {
    {SYS_read},
    {SYS_pread64},
    {SYS_close},
    {SYS_lseek},
    {SYS_fstat},
    {SYS_newfstatat},
    {SYS_fcntl, 1, BPF_JEQ, F_GETFL},  // others send signals (F_SETOWN) and lock files
    {SYS_mmap, 2, BPF_JSET, PROT_EXEC},
    {SYS_mprotect, 2, BPF_JSET, PROT_EXEC},
    {SYS_munmap},
    {SYS_mremap},
    {SYS_madvise},
    {SYS_brk},
    {SYS_recvmsg},
    {SYS_sendto},
    {SYS_futex},
    {SYS_getrandom},
    {SYS_clock_gettime},
    {SYS_setitimer},
    {SYS_rt_sigreturn},
    {SYS_exit},
    {SYS_exit_group}};

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
  for (const AllowedCall& call : allowed_calls) {
    const bool any = call.jump == 0, is_value = call.jump == BPF_JEQ;
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<u32>(call.number), 0, any ? u8{1} : u8{4}));
    if (!any) {
      filter.push_back(
          BPF_STMT(BPF_LD | BPF_W | BPF_ABS, field(offsetof(seccomp_data, args) + call.argument * sizeof(u64))));
      filter.push_back(BPF_JUMP(static_cast<u16>(BPF_JMP | call.jump | BPF_K), call.value, is_value ? u8{1} : u8{0},
                                is_value ? u8{0} : u8{1}));
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

/// Memory that fork() did not copy: maps of programs, rings that the kernel reads.
void leave_shared_memory() {
  const auto text = base::read_text("/proc/self/maps", 64u << 20);
  for (const Mapping& mapping : parse_maps(text.value_or("")))
    if (mapping.shared && mapping.writable)
      ::munmap(reinterpret_cast<void*>(mapping.begin), mapping.end - mapping.begin);
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

std::size_t memory_of(const std::vector<SourceFrame>& frames) {
  constexpr std::size_t entry = 128;  // of the table it is kept in
  std::size_t bytes = entry + frames.capacity() * sizeof(SourceFrame);
  for (const SourceFrame& frame : frames) bytes += frame.name.size() + frame.file.size();
  return bytes;
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

bool shut_in(int socket) {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  base::close_all_but(socket);
  leave_shared_memory();
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

// --- we ---

u64 DebugInfo::next_id() noexcept {
  static std::atomic<u64> last{0};
  return ++last;
}

/// The child's parent ends at once, so that nobody who waits for children of this process meets one it did not start.
Result<void> DwarfProcess::start() {
  SKEP_TRY(DwarfFile::available());  // and opened: before fork()
  if (starts_ == most_starts) return fail(Code::limit, "readers of debug information ended too often");
  ++starts_;
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0)
    return tl::unexpected(base::os_error("socketpair"));
  base::Fd ours(pair[0]), theirs(pair[1]);
  const pid_t between = ::fork();
  if (between < 0) return tl::unexpected(base::os_error("fork"));
  if (between == 0) {
    if (::fork() == 0 && shut_in(theirs.get())) serve(theirs.get());
    ::syscall(SYS_exit_group, 0);  // in _exit() sanitizers look for leaks, by calls that are forbidden here
  }
  while (::waitpid(between, nullptr, 0) < 0 && errno == EINTR) {
  }
  socket_ = std::move(ours);
  owner_ = ::getpid();
  return {};
}

Result<std::vector<SourceFrame>> DwarfProcess::ask(const DebugInfo& info, u64 address) {
  if (!socket_ || owner_ != ::getpid()) SKEP_TRY(start());
  const auto lost = [this](Code code, std::string what) -> Result<std::vector<SourceFrame>> {
    socket_.reset();  // and the child ends, now or by its own clock
    return fail(code, std::move(what));
  };
  Question question{info.id, address};
  Message message(&question, sizeof question);
  const std::array<int, 2> fds = {info.file->get(), info.supplement.get()};
  const std::size_t fd_bytes = (info.supplement ? 2 : 1) * sizeof(int);
  message.header.msg_controllen = CMSG_SPACE(fd_bytes);
  cmsghdr* const control = CMSG_FIRSTHDR(&message.header);
  control->cmsg_level = SOL_SOCKET, control->cmsg_type = SCM_RIGHTS, control->cmsg_len = CMSG_LEN(fd_bytes);
  std::memcpy(CMSG_DATA(control), fds.data(), fd_bytes);
  const auto asked = std::chrono::steady_clock::now();
  if (::sendmsg(socket_.get(), &message.header, MSG_NOSIGNAL) < 0)
    return lost(Code::closed, "the reader of its debug information ended");

  pollfd ready{socket_.get(), POLLIN, 0};
  int polled = 0;
  while ((polled = ::poll(&ready, 1, (answer_seconds + 1) * 1000)) < 0 && errno == EINTR) {
  }
  std::vector<std::byte> answer(most_answer_bytes);
  const ssize_t got = polled == 1 ? ::recv(socket_.get(), answer.data(), answer.size(), 0) : -1;
  if (got <= 0 && std::chrono::steady_clock::now() - asked >= std::chrono::seconds(answer_seconds))
    return lost(Code::timed_out, fmt::format("reading its debug information takes more than {} s", answer_seconds));
  if (got <= 0) return lost(Code::closed, "the reader of its debug information ended");
  if (got == 1) return std::vector<SourceFrame>();
  auto frames = parsed(std::span(answer).first(static_cast<std::size_t>(got)));
  if (!frames) return lost(Code::malformed, "the reader of its debug information answers nonsense");
  return *std::move(frames);
}

Result<const std::vector<SourceFrame>*> DwarfProcess::at(const DebugInfo& info, u64 address) {
  static const std::vector<SourceFrame> nothing;
  KnownFile& file = known_[info.id];
  if (const auto known = file.answers.find(address); known != file.answers.end()) return &known->second;
  if (file.is_given_up) return &nothing;
  const auto start = std::chrono::steady_clock::now();
  auto answer = ask(info, address);
  file.time += std::chrono::steady_clock::now() - start;
  file.is_given_up = !answer || file.time > most_file_time;
  if (!answer) return tl::unexpected(std::move(answer).error());
  known_bytes_ += memory_of(*answer);
  if (known_bytes_ > most_known_bytes) {
    for (auto& [id, one] : known_) one.answers.clear();
    known_bytes_ = memory_of(*answer);
  }
  if (file.is_given_up)
    return fail(Code::timed_out,
                fmt::format("reading its debug information took more than {} s in all", most_file_time.count()));
  return &file.answers.insert_or_assign(address, *std::move(answer)).first->second;
}

}  // namespace skep::symbols
