// BPF tokens: a process without rights in the machine, root in a user namespace of its own, loads programs with a bpffs
// that delegates this.
//
// The child makes the namespace and opens the file system in it (so that it is the namespace's), the test configures
// and mounts it with its own rights, the child puts it into its own mount namespace. All of it ends with the child.
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "kernel/access.hpp"
#include "kernel/features.hpp"
#include "kernel/token.hpp"
#include "support.hpp"

namespace skep::kernel_test {
namespace {

constexpr int nobody = 65534;

/// Sends a descriptor (-1: none) with one byte.
bool send_fd(int socket, int fd) {
  char byte = 1, room[CMSG_SPACE(sizeof fd)] = {};
  iovec piece{&byte, 1};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = room;
    message.msg_controllen = sizeof room;
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
  }
  return ::sendmsg(socket, &message, MSG_NOSIGNAL) == 1;
}

/// What was sent, or -1.
base::Fd receive_fd(int socket) {
  char byte = 0, room[CMSG_SPACE(sizeof(int))] = {};
  iovec piece{&byte, 1};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = room;
  message.msg_controllen = sizeof room;
  if (::recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1) return {};
  const cmsghdr* head = CMSG_FIRSTHDR(&message);
  if (head == nullptr || head->cmsg_type != SCM_RIGHTS) return {};
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(head), sizeof fd);
  return base::Fd(fd);
}

struct Options {
  const char *commands, *maps, *programs, *attachments;  ///< nullptr: that option is not given
};
constexpr Options everything{"any", "any", "any", "any"};

class Tokens : public KernelEngine {
 public:
  void SetUp() override {
    KernelEngine::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (::geteuid() != 0 || kernel::in_user_namespace())
      GTEST_SKIP() << "delegating needs CAP_SYS_ADMIN in the first user namespace";
    if (kernel::Features::version_code() < (6u << 16 | 9u << 8)) GTEST_SKIP() << "tokens came with Linux 6.9";
    char name[] = "/tmp/skep-token-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    ::chmod(name, 0755);
    auto compiled = compile("attach");
    ASSERT_OK(compiled);
    spec_ = *std::move(compiled);
  }
  void TearDown() override {
    if (!directory_.empty()) ::rmdir(directory_.c_str());
  }

  /// Runs `work` in a user namespace where directory_ is a bpffs with these options. Sets skipped_ where that cannot
  /// be.
  void in_namespace(const Options& options, void (Tokens::*work)()) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::close(ends[0]);
      ::_exit(child(ends[1], work));
    }
    ::close(ends[1]);
    serve(pid, ends[0], options);
    ::close(ends[0]);
    int status = -1;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    if (skipped_.empty()) {
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the child's status is " << status;
    }
  }

  void loads_and_runs() {
    const auto refused = kernel_backend();
    EXPECT_FALSE(refused) << "nothing is mounted at /sys/fs/bpf for this namespace";
    auto engine = kernel_backend({.btf = {}, .token = directory_});
    ASSERT_OK(engine);
    for (const char* name : {"on_socket", "on_tc", "on_xdp"}) {
      auto object = (*engine)->load(*spec_, {.programs = {name}});
      ASSERT_OK(object);
      const TestRun packet{.data = std::vector<std::byte>(64)};
      ASSERT_OK(object->programs()[0].test_run(packet));
    }
    ::setenv("LIBBPF_BPF_TOKEN_PATH", directory_.c_str(), 1);
    auto named = kernel_backend();
    ASSERT_OK(named);
    ASSERT_OK((*named)->load(*spec_, {.programs = {"on_tc"}}));
    const auto known = kernel::delegations();
    ASSERT_OK(known);
    ASSERT_FALSE(known->empty());
    EXPECT_EQ(known->back().path, directory_);
    EXPECT_TRUE(kernel::delegates(known->back().commands, "map_create", 0));
  }

  void attaches() {
    auto engine = kernel_backend({.btf = {}, .token = directory_});
    ASSERT_OK(engine);
    auto hooks = *spec_;
    auto object = (*engine)->load(hooks, {.programs = {"on_xdp"}});
    ASSERT_OK(object);
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << std::strerror(errno);
    auto link = object->programs()[0].attach(*AttachTarget::from_text("xdp:lo"));
    ASSERT_OK(link);
  }

  void is_told_what_is_missing() {
    auto engine = kernel_backend({.btf = {}, .token = directory_});
    ASSERT_OK(engine);
    const auto tc = (*engine)->load(*spec_, {.programs = {"on_tc"}});
    ASSERT_FALSE(tc);
    EXPECT_NE(tc.error().message.find("does not delegate programs of type sched_cls (delegate_progs=socket_filter)"),
              std::string::npos)
        << tc.error().message;
    EXPECT_EQ(tc.error().code, Code::permission);
    MapSpec queue;
    queue.type = MapType::queue;
    queue.name = "queue";
    queue.value_size = 4;
    queue.max_entries = 1;
    auto other = *spec_;
    other.maps.push_back(queue);
    const auto maps = (*engine)->load(other, {.programs = {"on_socket"}});
    ASSERT_FALSE(maps);
    EXPECT_NE(maps.error().message.find("maps of type queue (delegate_maps=hash:array:sockmap)"), std::string::npos)
        << maps.error().message;
  }

  void has_no_token() {
    const auto engine = kernel_backend({.btf = {}, .token = directory_});
    ASSERT_FALSE(engine);
    const std::string& said = engine.error().message;
    EXPECT_EQ(engine.error().code, Code::permission);
    EXPECT_NE(said.find("delegates nothing"), std::string::npos) << said;
    EXPECT_NE(said.find("lives in a user namespace"), std::string::npos) << said;
    const auto elsewhere = kernel_backend({.btf = {}, .token = "/tmp"});
    ASSERT_FALSE(elsewhere);
    EXPECT_NE(elsewhere.error().message.find("no bpffs is mounted there"), std::string::npos)
        << elsewhere.error().message;
    EXPECT_NE(kernel_backend({.btf = {}, .token = "/nowhere"}).error().message.find("/nowhere"), std::string::npos);
    ::setenv("LIBBPF_BPF_TOKEN_PATH", "", 1);
    EXPECT_EQ(kernel_backend().error().message.find("token of"), std::string::npos);
  }

  std::string skipped_;

 private:
  int child(int socket, void (Tokens::*work)()) {
    if (::setresgid(nobody, nobody, nobody) != 0 || ::setresuid(nobody, nobody, nobody) != 0) return 2;
    ::prctl(PR_SET_DUMPABLE, 1);
    const int made = ::unshare(CLONE_NEWUSER | CLONE_NEWNS);
    if (!send_fd(socket, -1) || made != 0) return 3;
    if (receive_fd(socket); ::setresuid(0, 0, 0) != 0 || ::setresgid(0, 0, 0) != 0) return 4;
    const base::Fd system(::fsopen("bpf", FSOPEN_CLOEXEC));
    if (!send_fd(socket, system.get())) return 5;
    const base::Fd mounted = receive_fd(socket);
    if (!mounted) return 6;
    if (::move_mount(mounted.get(), "", AT_FDCWD, directory_.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) return 7;
    (this->*work)();
    return HasFailure() ? 1 : 0;
  }

  void serve(pid_t pid, int socket, const Options& options) {
    receive_fd(socket);
    for (const char* map : {"uid_map", "gid_map"})
      std::ofstream(fmt::format("/proc/{}/{}", pid, map)) << fmt::format("0 {} 1\n", nobody);
    if (!send_fd(socket, -1)) {
      skipped_ = "a process without rights may not make a user namespace here";
      return;
    }
    const base::Fd system = receive_fd(socket);
    ASSERT_TRUE(system) << "fsopen in a user namespace";
    for (const auto& [key, value] :
         {std::pair("delegate_cmds", options.commands), std::pair("delegate_maps", options.maps),
          std::pair("delegate_progs", options.programs), std::pair("delegate_attachs", options.attachments)})
      if (value != nullptr) {
        ASSERT_EQ(::fsconfig(system.get(), FSCONFIG_SET_STRING, key, value, 0), 0)
            << key << ": " << std::strerror(errno);
      }
    ASSERT_EQ(::fsconfig(system.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0), 0) << std::strerror(errno);
    const base::Fd mounted(::fsmount(system.get(), FSMOUNT_CLOEXEC, 0));
    ASSERT_TRUE(mounted) << std::strerror(errno);
    ASSERT_TRUE(send_fd(socket, mounted.get()));
  }

  std::string directory_;
  std::optional<ObjectSpec> spec_;
};

TEST_F(Tokens, LendTheRightToLoadAndRun) {
  in_namespace(everything, &Tokens::loads_and_runs);
  if (!skipped_.empty()) GTEST_SKIP() << skipped_;
}

TEST_F(Tokens, LendTheRightToAttachInNamespacesOfOnesOwn) {
  in_namespace(everything, &Tokens::attaches);
  if (!skipped_.empty()) GTEST_SKIP() << skipped_;
}

TEST_F(Tokens, WhatIsNotDelegatedIsNamed) {
  in_namespace({"map_create:prog_load:btf_load", "array:hash:sockmap", "socket_filter", "any"},
               &Tokens::is_told_what_is_missing);
  if (!skipped_.empty()) GTEST_SKIP() << skipped_;
}

TEST_F(Tokens, ABpffsThatDelegatesNothingSaysSo) {
  in_namespace({}, &Tokens::has_no_token);
  if (!skipped_.empty()) GTEST_SKIP() << skipped_;
}

}  // namespace
}  // namespace skep::kernel_test
