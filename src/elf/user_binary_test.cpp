// Files that probes are set on: what is read of them, and what stays unread.
#include "elf/user_binary.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "elf/functions.hpp"
#include "elf/usdt.hpp"

extern "C" __attribute__((noipa, used, visibility("default"))) int skep_user_binary_target(int value) {
  return value + 2;
}

namespace skep::elf {
namespace {

/// "VmHWM", the most memory that this process has had, in KiB.
u64 most_memory_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6));
  return 0;
}

TEST(UserBinary, FunctionsAndBytesOfThisTest) {
  const auto binary = open_user_binary("/proc/self/exe", 0);
  ASSERT_TRUE(binary) << binary.error().message;
  const auto found = functions(binary->file, [](std::string_view name) { return name == "skep_user_binary_target"; });
  ASSERT_TRUE(found && found->size() == 1);
  std::array<std::byte, 8> bytes{};
  EXPECT_EQ(binary->read(found->front().file_offset, bytes).value_or(0), bytes.size());
  EXPECT_EQ(std::memcmp(bytes.data(), reinterpret_cast<const void*>(&skep_user_binary_target), bytes.size()), 0);
  EXPECT_EQ(binary->read(binary->size - 3, bytes).value_or(0), 3u);
  EXPECT_EQ(binary->read(binary->size + 100, bytes).value_or(1), 0u);
  EXPECT_TRUE(usdt_notes(binary->file));
}

/// strlen of the C library is chosen by the CPU: probes are wanted where it is, not on the code that chooses.
TEST(UserBinary, IndirectFunctionsAreFoundWhereTheyWereChosen) {
  const auto wanted = [](std::string_view name) { return name == "strlen"; };
  const auto binary = open_user_binary("libc.so.6", 0);
  ASSERT_TRUE(binary) << binary.error().message;
  if (why_no_function(binary->file, "strlen").find("indirect") == std::string::npos)
    GTEST_SKIP() << "this C library has one strlen for all machines";
  EXPECT_TRUE(functions(binary->file, wanted)->empty()) << "of a file alone nobody can tell";
  const auto found = functions(*binary, wanted);
  ASSERT_TRUE(found && found->size() == 1);
  std::array<std::byte, 16> bytes{};
  EXPECT_EQ(binary->read(found->front().file_offset, bytes).value_or(0), bytes.size());
  // Of the library itself: sanitizers have a strlen of their own in front of it.
  const std::unique_ptr<void, int (*)(void*)> library(::dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD), &::dlclose);
  ASSERT_NE(library, nullptr);
  const void* const here = ::dlsym(library.get(), "strlen");
  EXPECT_EQ(std::memcmp(bytes.data(), here, bytes.size()), 0);
}

/// Twenty probes on a program are twenty openings: they must not read all of it.
TEST(UserBinary, OfALargeFileTheTablesAreRead) {
  std::ifstream own("/proc/self/exe", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(own)), std::istreambuf_iterator<char>());
  const int fd = ::memfd_create("skep-large-program", MFD_CLOEXEC);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  ASSERT_EQ(::ftruncate(fd, off_t{8} << 30), 0);  // as a program with that much debug information
  const u64 before = most_memory_kib();
  const auto binary = open_user_binary("/proc/self/fd/" + std::to_string(fd), 0);
  ASSERT_TRUE(binary) << binary.error().message;
  const auto found = functions(binary->file, [](std::string_view name) { return name == "skep_user_binary_target"; });
  EXPECT_TRUE(found && found->size() == 1);
  EXPECT_LT(most_memory_kib() - before, 64u << 10);
  ::close(fd);
}

/// A process that has another root than we, where links name other files than they do here.
TEST(UserBinary, LinksBelowAnotherRootStayBelowIt) {
  char folder[] = "/tmp/skep-root-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string root = folder;
  const auto make_link = [&](const std::string& to, const std::string& at) {
    return ::symlink(to.c_str(), (root + at).c_str());
  };
  ASSERT_EQ(::mkdir((root + "/lib").c_str(), 0700), 0);
  std::filesystem::copy_file("/proc/self/exe", root + "/lib/program");
  ASSERT_EQ(make_link("/lib/program", "/absolute"), 0);
  ASSERT_EQ(make_link("../../../../../../lib/program", "/lib/above"), 0);
  ASSERT_EQ(make_link("/lib", "/folder"), 0);
  ASSERT_EQ(make_link("/folder/../absolute", "/both"), 0);
  ASSERT_EQ(make_link("/circle", "/circle"), 0);
  ASSERT_EQ(make_link("/etc/passwd", "/outside"), 0);
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const bool moved = ::geteuid() == 0 || ::unshare(CLONE_NEWUSER) == 0;
    const char said = moved && ::chroot(folder) == 0 ? 'y' : 'n';
    if (::write(ready[1], &said, 1) == 1) ::pause();
    ::_exit(0);
  }
  char said = 0;
  ASSERT_EQ(::read(ready[0], &said, 1), 1);
  if (said == 'y') {
    struct stat wanted{};
    ASSERT_EQ(::stat((root + "/lib/program").c_str(), &wanted), 0);
    for (const char* path : {"/lib/program", "/absolute", "/lib/above", "/folder/program", "/both"}) {
      const auto binary = open_user_binary(path, child);
      ASSERT_TRUE(binary) << path << ": " << binary.error().message;
      struct stat found{}, by_path{};
      ASSERT_EQ(::fstat(binary->fd.get(), &found), 0);
      EXPECT_EQ(found.st_ino, wanted.st_ino) << path;
      ASSERT_EQ(::stat(binary->path.c_str(), &by_path), 0) << "as the kernel is to open it";
      EXPECT_EQ(by_path.st_ino, wanted.st_ino) << path;
    }
    const std::string view = "/proc/" + std::to_string(child) + "/root";
    EXPECT_FALSE(path_in_root(view, "/outside")) << "there is no such file in there";
    EXPECT_FALSE(path_in_root(view, "/circle"));
    EXPECT_FALSE(path_in_root(view, "/lib"));
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]), ::close(ready[1]);
  std::filesystem::remove_all(root);
  if (said != 'y') GTEST_SKIP() << "this process may not change a child's root (CAP_SYS_CHROOT, user namespaces)";
}

TEST(UserBinary, WhatIsNoProgramIsNamed) {
  const auto text = open_user_binary("/etc/passwd", 0);
  ASSERT_FALSE(text);
  EXPECT_NE(text.error().message.find("/etc/passwd"), std::string::npos) << text.error().message;
  const auto missing = open_user_binary("/no/such/program", 0);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::not_found);
}

}  // namespace
}  // namespace skep::elf
