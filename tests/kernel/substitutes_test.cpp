// Kprobe programs on kernel functions where there are no kprobes: what stands in counts what the tracepoint's own data
// says, hands over the right arguments, and refuses what it does not have.
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "kernel/features.hpp"
#include "kernel/hook_substitutes.hpp"
#include "support.hpp"

namespace skep::kernel_test {
namespace {

constexpr u16 port = 17321;
constexpr u64 connections = 5, forks = 4;

void sleep_often() {
  for (int i = 0; i < 40; ++i) ::usleep(500);
}

void fork_often() {
  for (u64 i = 0; i < forks; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(0);
    ::waitpid(pid, nullptr, 0);
  }
}

void bring_up_loopback() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (::ioctl(fd, SIOCSIFFLAGS, &request) != 0) ::_exit(1);
  ::close(fd);
}

/// Connects to itself over the loopback of a network namespace of its own.
void connect_often() {
  if (::unshare(CLONE_NEWNET) != 0) ::_exit(1);
  bring_up_loopback();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto* const name = reinterpret_cast<const sockaddr*>(&address);
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  if (::bind(listener, name, sizeof address) != 0 || ::listen(listener, 8) != 0) ::_exit(1);
  for (u64 i = 0; i < connections; ++i) {
    const int client = ::socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(client, name, sizeof address) != 0) ::_exit(1);
    const int server = ::accept(listener, nullptr, nullptr);
    ::close(client);
    char byte;
    if (::read(server, &byte, 1) != 0) ::_exit(1);
    ::close(server);
  }
  ::close(listener);
}

/// Reads a file past the page cache: block requests in its own name, where the file lies on a block device.
void read_directly() {
  char name[] = "skep-substitutes-XXXXXX";
  const int fd = ::mkostemp(name, O_CLOEXEC);
  if (fd < 0) ::_exit(1);
  ::unlink(name);
  void* const memory = std::aligned_alloc(4096, 65536);
  std::memset(memory, 1, 65536);
  if (::write(fd, memory, 65536) != 65536 || ::fsync(fd) != 0) ::_exit(1);
  if (::fcntl(fd, F_SETFL, O_DIRECT) == 0)
    for (int i = 0; i < 4; ++i)
      if (::pread(fd, memory, 16384, 16384 * i) < 0) break;
  ::close(fd);
}

/// Three reads of one file, and one of a descriptor that is not open, which comes to no file.
void read_file() {
  char name[] = "skep-substitutes-XXXXXX", bytes[16];
  const int fd = ::mkostemp(name, O_CLOEXEC | O_APPEND);
  if (fd < 0) ::_exit(1);
  ::unlink(name);
  if (::write(fd, "12345678", 8) != 8) ::_exit(1);
  if (::pread(fd, bytes, 4, 0) != 4 || ::pread(fd, bytes, 16, 2) != 6 || ::read(fd, bytes, 1) != 0) ::_exit(1);
  if (::read(1 << 20, bytes, 1) != -1) ::_exit(1);
}

class Substitutes : public KernelEngine {
 protected:
  void SetUp() override {
    KernelEngine::SetUp();
    if (IsSkipped()) return;
    const kernel::Features features;
    if (features.kprobes() || features.fentry()) GTEST_SKIP() << "this kernel probes functions themselves";
  }

  /// Attaches these programs and lets a child do `work`.
  void observe(const std::vector<std::string>& programs, void (*work)()) {
    auto spec = compile("substitutes");
    ASSERT_OK(spec);
    Child child(work);
    set_global(*spec, "wanted_pid", child.pid());
    set_global(*spec, "wanted_port", port);
    auto loaded = load(*spec, {.programs = programs});
    ASSERT_OK(loaded);
    std::vector<Link> links;
    for (Program& program : loaded->programs()) {
      auto link = program.attach();
      ASSERT_OK(link);
      if (!link->carried_by().empty()) carried = link->carried_by();
      links.push_back(*std::move(link));
    }
    EXPECT_TRUE(child.run());
    links.clear();
    object = *std::move(loaded);
  }
  u64 hit(u32 slot) const { return object ? counter(*object, "hits", slot) : ~u64{0}; }

  /// Why a program cannot be attached.
  Error refusal(const std::string& program) {
    auto spec = compile("substitutes");
    EXPECT_TRUE(spec);
    auto loaded = load(*spec, {.programs = {program}});
    if (!loaded) return loaded.error();
    auto link = loaded->programs().front().attach();
    EXPECT_FALSE(link) << program;
    return link ? Error{} : link.error();
  }

  std::optional<Object> object;
  std::string carried;
};

TEST_F(Substitutes, SwitchesAreSeenByTheNewTaskWithTheOldOne) {
  // A machine can keep programs out of processes of its own, such as the agent that manages it: they are not run while
  // one of these is current. sched_switch is run by the task that leaves, so a switch from there to the child is
  // missing there (and no recursion_misses tell); what stands in is run by the child and sees it. So it may see more,
  // never less, and a round without such a neighbour shows that they are the same events, with the same tasks.
  for (int round = 0; round < 5 && (round == 0 || hit(0) != hit(2)); ++round) {
    observe({"on_finish_task_switch", "at_sched_switch"}, sleep_often);
    ASSERT_TRUE(object);
    EXPECT_GE(hit(0), hit(2));
    EXPECT_EQ(backend->notes().find("missed"), std::string::npos) << backend->notes();
  }
  if (carried.find("sched_exit_tp") == carried.npos) GTEST_SKIP() << "before Linux 6.16 no tracepoint follows a switch";
  EXPECT_NE(carried.find("exact"), carried.npos) << carried;
  EXPECT_GE(hit(2), 40u);
  EXPECT_EQ(hit(0), hit(2));
  EXPECT_EQ(hit(1), hit(3)) << "this process is " << ::getpid();
}

TEST_F(Substitutes, StatesOfTcpSocketsAreThoseThatTheFunctionSets) {
  if (::geteuid() != 0) GTEST_SKIP() << "a network namespace needs CAP_SYS_ADMIN";
  observe({"on_tcp_set_state", "at_inet_sock_set_state"}, connect_often);
  ASSERT_TRUE(object);
  constexpr u32 syn_recv = 3, listen = 10;
  for (u32 state = 1; state < 13; ++state) {
    const bool left_out = state == syn_recv || state == listen;
    EXPECT_EQ(hit(8 + state), left_out ? 0 : hit(24 + state)) << "state " << state;
  }
  EXPECT_EQ(hit(8 + 2), connections);      // SYN_SENT, by clients
  EXPECT_EQ(hit(8 + 1), 2 * connections);  // ESTABLISHED, on both sides
  EXPECT_EQ(hit(24 + listen), 1u);
  EXPECT_NE(carried.find("approximate"), carried.npos) << carried;
}

TEST_F(Substitutes, ConnectionsAreSeenInTheProcessThatMakesThem) {
  if (::geteuid() != 0) GTEST_SKIP() << "a network namespace needs CAP_SYS_ADMIN";
  observe({"on_tcp_v4_connect"}, connect_often);
  ASSERT_TRUE(object);
  EXPECT_EQ(hit(40), connections);
}

TEST_F(Substitutes, NewTasksAreHandedOver) {
  observe({"on_wake_up_new_task"}, fork_often);
  ASSERT_TRUE(object);
  EXPECT_EQ(hit(41), forks);
  EXPECT_EQ(hit(42), forks);  // the task is the child, the current one its parent
}

TEST_F(Substitutes, BlockRequestsAreHandedOver) {
  observe({"on_io_start", "at_io_start"}, read_directly);
  ASSERT_TRUE(object);
  EXPECT_EQ(hit(44), hit(46));
  EXPECT_EQ(hit(45), hit(47));
  if (hit(46) == 0) std::printf("left out: the working directory lies on no block device\n");
}

TEST_F(Substitutes, ReadsAreThoseOfOpenFiles) {
  observe({"on_vfs_read", "on_vfs_read_return"}, read_file);
  EXPECT_NE(carried.find("sys_exit(read, pread64)"), std::string::npos) << carried;
  EXPECT_EQ(hit(51), 3u);
  // The child waits for the programs with a read of one byte, which most often begins before them.
  EXPECT_EQ(hit(52) - hit(50), 21u - 3u);
  EXPECT_EQ(hit(54) - hit(53), 10u - 3u);
}

bool is_on_ext4() {
  constexpr long ext4_magic = 0xef53;
  struct statfs about{};
  return ::statfs(".", &about) == 0 && about.f_type == ext4_magic;
}

/// A kiocb is nowhere at the system call: it is built, of the file and of the place that each of the calls means.
TEST_F(Substitutes, StructuresAreBuiltOfWhatTheCallTells) {
  if (!is_on_ext4()) GTEST_SKIP() << "the working directory is not on ext4";
  observe({"on_ext4_read"}, read_file);
  EXPECT_EQ(hit(55), 3u);
  EXPECT_EQ(hit(56), 0u + 2u + 8u);  // pread at 0 and at 2, read behind the eight bytes that were written
  EXPECT_EQ(hit(57), 3u);
}

TEST_F(Substitutes, RemovalsOnExt4HaveTheirName) {
  if (!is_on_ext4()) GTEST_SKIP() << "the working directory is not on ext4";
  observe({"on_vfs_unlink"}, read_file);
  EXPECT_NE(carried.find("ext4_unlink_enter"), carried.npos) << carried;
  EXPECT_EQ(hit(58), 1u);
  EXPECT_EQ(hit(59), sizeof "skep-substitutes-XXXXXX" - 1);
}

TEST_F(Substitutes, EveryRowOfThisKernelAttaches) {
  auto spec = compile("substitutes");
  ASSERT_OK(spec);
  auto loaded = load(*spec, {.programs = {"reads_nothing"}});
  ASSERT_OK(loaded);
  kernel::KernelTypes types{{}};
  u32 attached = 0, known = 0;
  for (const kernel::HookSubstitute& row : kernel::hook_substitutes()) {
    if (kernel::system_calls(row.tracepoint).empty() && !types.tracepoint(row.tracepoint)) continue;
    const bool at_return = row.when == kernel::HookSubstitute::When::at_return;
    const AttachTarget target{at_return ? AttachKind::kretprobe : AttachKind::kprobe, std::string(row.function)};
    const auto link = loaded->programs().front().attach(target);
    ++known;
    attached += link.has_value();
    if (!link) std::printf("not here: %s\n", link.error().message.c_str());
  }
  EXPECT_GT(known, 0u);
  EXPECT_GE(attached + 2, known);  // a function may have other parameters in this release
}

TEST_F(Substitutes, WhatATracepointDoesNotKnowIsRefusedByName) {
  const auto says = [&](const std::string& program, std::string_view words) {
    const Error error = refusal(program);
    EXPECT_EQ(error.code, Code::unsupported) << program;
    EXPECT_NE(error.message.find(words), std::string::npos) << program << ": " << error.message;
  };
  says("reads_state", "it reads parameter state of try_to_wake_up");
  says("reads_sp", "it reads register sp");
  says("reads_flags_of_kiocb", "it reads kiocb.ki_flags, which is not known there");
  says("reads_nothing", "no tracepoint is known that stands in for vfs_no_such_function");
  says("matches_nothing", "a pattern cannot be carried");
}

}  // namespace
}  // namespace skep::kernel_test
