// Files and sockets of this process as structures: identities that last, facts that are of the moment.
#include "hook/shadow_files.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

namespace skep::hook {
namespace {

constexpr shadow::Pointer base = 0xffff'8881'0000'0000;

struct ShadowFilesTest : testing::Test {
  std::unique_ptr<ShadowFiles::Memory> memory = std::make_unique<ShadowFiles::Memory>();
  ShadowFiles files{memory.get(), base};
  const u32 self = static_cast<u32>(::getpid());

  static struct stat file(u64 inode, u64 links) {
    struct stat made{};
    made.st_ino = inode;
    made.st_nlink = links;
    made.st_mode = S_IFREG;
    return made;
  }
  const ShadowFiles::Named& named(shadow::Pointer dentry) const {
    return memory->names[(dentry - base - offsetof(ShadowFiles::Memory, names)) / sizeof(ShadowFiles::Named)];
  }
};

TEST_F(ShadowFilesTest, NamesOfOneFileAreToldApart) {
  const auto first = files.name(file(7, 1), "first");
  EXPECT_EQ(files.name(file(7, 1), "first"), first);
  EXPECT_EQ(files.name(file(7, 1), "renamed"), first) << "its only name is another now";
  EXPECT_STREQ(named(first).name, "renamed");
  const auto second = files.name(file(7, 2), "second");
  EXPECT_NE(second, first) << "one more name of the same file";
  EXPECT_EQ(files.name(file(7, 2), "renamed"), first);
  EXPECT_NE(files.name(file(8, 1), "second"), second);
  EXPECT_EQ(named(second).dentry.d_name.len, 6u);
  EXPECT_EQ(named(second).inode.i_nlink, 2u);
}

TEST_F(ShadowFilesTest, NamesAreCutAndTheOldestMakesRoom) {
  const auto longest = files.name(file(1, 1), std::string(4000, 'x'));
  EXPECT_EQ(named(longest).dentry.d_name.len, 255u);
  EXPECT_EQ(named(longest).name[255], 0);
  // Several times around.
  for (u64 i = 0; i < 3 * ShadowFiles::most_names; ++i) files.name(file(4096 * (i + 1), 1), "many");
  const auto last = files.name(file(4096 * (3 * ShadowFiles::most_names), 1), "many");
  EXPECT_EQ(files.name(file(4096 * (3 * ShadowFiles::most_names), 1), "many"), last);
  EXPECT_NE(files.name(file(1, 1), std::string(4000, 'x')), 0u) << "made again";
}

TEST_F(ShadowFilesTest, AFileKeepsItsAddress) {
  char path[] = "/tmp/skep-shadow-XXXXXX";
  const base::Fd one(::mkstemp(path));
  ASSERT_TRUE(one);
  const auto found = files.file(self, static_cast<u32>(one.get()), 0);
  ASSERT_NE(found, 0u);
  files.begin_event();
  EXPECT_EQ(files.file(self, static_cast<u32>(one.get()), 0), found);
  const auto dentry = files.name_of(found);
  EXPECT_EQ("/tmp/" + std::string(named(dentry).name), path);
  ::unlink(path);
  files.begin_event();
  EXPECT_EQ(files.file(self, static_cast<u32>(one.get()), 0), found);
  EXPECT_EQ(files.name_of(found), dentry);
  EXPECT_EQ("/tmp/" + std::string(named(dentry).name), path) << "without what /proc adds to a deleted file's";
  EXPECT_EQ(files.sock(found), 0u);
  EXPECT_EQ(files.file(self, 999999, 0), 0u);
}

TEST_F(ShadowFilesTest, ASocketIsTheSameWhoeverHoldsItAndOutlivesItsDescriptor) {
  const base::Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  socklen_t size = sizeof address;
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  base::Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  base::Fd copy(::dup(client.get()));

  const auto found = files.file(self, static_cast<u32>(client.get()), 0);
  EXPECT_EQ(files.file(self, static_cast<u32>(copy.get()), 0), found);
  const shadow::inet_sock connected = files.ask(found);
  if (connected.sk.sk_protocol == 0) GTEST_SKIP() << "a process may not copy its own descriptor here (pidfd_getfd)";
  EXPECT_EQ(connected.sk.__sk_common.skc_dport, address.sin_port);
  EXPECT_EQ(connected.sk.__sk_common.skc_state, 1);
  EXPECT_NE(connected.inet_sport, 0);
  const u64 inode = files.inode_of(found);
  client = {};
  EXPECT_TRUE(files.holders().is_held(inode, connected, self, true));
  EXPECT_TRUE(files.holders().is_held(inode, connected, self, false)) << "as the table of the namespace has it";
  copy = {};
  EXPECT_FALSE(files.holders().is_held(inode, connected, self, true));
  EXPECT_FALSE(files.holders().is_held(inode, connected, self, false));
  files.begin_event();
  EXPECT_EQ(files.ask(found).sk.__sk_common.skc_dport, address.sin_port) << "what was read last";
}

/// Mounts a file system in its own namespace that it never serves, opens it, and says by which descriptor.
void hold_unserved(const char* directory, int tells) {
  const int fuse = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
  const std::string options = "rootmode=40000,user_id=0,group_id=0,fd=" + std::to_string(fuse);
  int opened = -1;
  if (fuse >= 0 && ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
      ::mount("skep", directory, "fuse", MS_NOSUID | MS_NODEV, options.c_str()) == 0)
    opened = ::open(directory, O_PATH | O_CLOEXEC);
  if (::write(tells, &opened, sizeof opened) == sizeof opened) ::sleep(10);  // then whoever waits is let go
  ::_exit(0);
}

TEST_F(ShadowFilesTest, AFileSystemThatDoesNotAnswerIsNotAsked) {
  char directory[] = "/tmp/skep-shadow-XXXXXX";
  int pipe[2], opened = -1;
  ASSERT_NE(::mkdtemp(directory), nullptr);
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  const base::Fd told(pipe[0]), tells(pipe[1]);
  const pid_t child = ::fork();
  if (child == 0) hold_unserved(directory, tells.get());
  EXPECT_EQ(::read(told.get(), &opened, sizeof opened), ssize_t{sizeof opened});
  if (opened >= 0) {
    const auto found = files.file(static_cast<u32>(child), static_cast<u32>(opened), 0);
    EXPECT_NE(found, 0u) << "asked, until it was let go";
    if (found != 0) {
      const auto dentry = files.name_of(found);
      ASSERT_NE(dentry, 0u);
      EXPECT_EQ("/tmp/" + std::string(named(dentry).name), directory);
    }
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::rmdir(directory);
  if (opened < 0) GTEST_SKIP() << "no file system can be mounted here that a process serves (CAP_SYS_ADMIN, /dev/fuse)";
}

/// Each once, however many descriptors lead to it; a child holds one of them too.
TEST(EndingSockets, AreHeldByOthersOrNot) {
  int ends[2], pipe[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  const base::Fd kept(ends[0]), shared(ends[1]), copy(::dup(kept.get())), told(pipe[0]);
  base::Fd tells(pipe[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(kept.get());
    ::close(copy.get());
    ::write(tells.get(), "x", 1);
    ::pause();
    ::_exit(0);
  }
  char byte = 0;
  EXPECT_EQ(::read(told.get(), &byte, 1), 1);
  EndingSockets sockets(static_cast<u32>(::getpid()));
  u32 found = 0;
  for (u32 i = 0; i < sockets.count(); ++i) {
    const auto descriptor = static_cast<int>(sockets.descriptor(i));
    EXPECT_NE(descriptor, copy.get());
    EXPECT_NE(descriptor, told.get()) << "a pipe";
    if (descriptor != kept.get() && descriptor != shared.get()) continue;
    ++found;
    EXPECT_EQ(sockets.is_held_elsewhere(i), descriptor == shared.get());
  }
  EXPECT_EQ(found, 2u);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(EndingSockets(static_cast<u32>(child)).count(), 0u) << "it has gone";
}

TEST(SocketTarget, IsReadFromWhatACallIsGiven) {
  sockaddr_storage given{};
  auto& four = reinterpret_cast<sockaddr_in&>(given);
  four.sin_family = AF_INET;
  four.sin_port = htons(80);
  EXPECT_EQ(target_of(given, sizeof four).four, htonl(INADDR_LOOPBACK)) << "nowhere is this host";
  EXPECT_EQ(target_of(given, sizeof four - 1).family, 0) << "cut off";
  auto& six = reinterpret_cast<sockaddr_in6&>(given);
  given = {};
  six.sin6_family = AF_INET6;
  EXPECT_EQ(target_of(given, sizeof six).six.bytes[15], 1);
  six.sin6_addr.s6_addr[10] = six.sin6_addr.s6_addr[11] = 0xff;
  six.sin6_addr.s6_addr[12] = 127;
  EXPECT_TRUE(is_mapped(target_of(given, sizeof six)));
  EXPECT_EQ(target_of(given, sizeof six).four, htonl(127u << 24));
  EXPECT_EQ(target_of(given, 3).family, 0);
  six.sin6_family = AF_UNIX;
  EXPECT_EQ(target_of(given, sizeof given).family, 0);
}

}  // namespace
}  // namespace skep::hook
