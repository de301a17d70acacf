// The table of system calls: against this machine's headers, and against the kernel's tracepoint formats where they can
// be read.
#include "catalog/syscalls.hpp"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace skep::catalog {
namespace {

TEST(SyscallTable, NumbersAreTheHeaders) {
  const auto number = [](const char* name) { return static_cast<long>(syscall_by_name(name)->number); };
  EXPECT_EQ(number("read"), SYS_read);
  EXPECT_EQ(number("openat"), SYS_openat);
  EXPECT_EQ(number("execve"), SYS_execve);
  EXPECT_EQ(number("execveat"), SYS_execveat);
  EXPECT_EQ(number("clone3"), SYS_clone3);
  EXPECT_EQ(number("process_vm_readv"), SYS_process_vm_readv);
  EXPECT_EQ(number("seccomp"), SYS_seccomp);
  EXPECT_EQ(number("landlock_create_ruleset"), SYS_landlock_create_ruleset);
}

TEST(SyscallTable, KernelFunctionsHaveNames) {
  EXPECT_EQ(syscall_by_function("newfstat")->number, 5u);
  EXPECT_EQ(syscall_by_function("clone3")->number, 435u);
  for (const char* nothing : {"", "-", "exec", "fstat"}) EXPECT_EQ(syscall_by_function(nothing), nullptr) << nothing;
}

TEST(SyscallTable, LookUpsAgree) {
  u32 rows = 0;
  for (u32 number = 0; number < syscall_limit; ++number) {
    const SyscallRow* row = syscall_row(number);
    if (row == nullptr) continue;
    ++rows;
    EXPECT_EQ(row->number, number);
    EXPECT_EQ(syscall_by_name(row->name), row);
    EXPECT_EQ(syscall_by_function(row->function), row);
    EXPECT_EQ(x86_64_number(Abi::x86_64, number), static_cast<s32>(number));
  }
  EXPECT_GT(rows, 350u);
  EXPECT_EQ(syscall_row(syscall_limit), nullptr);
  EXPECT_EQ(syscall_row(~0u), nullptr);
  EXPECT_EQ(syscall_by_name("fstat")->function, "newfstat");
  EXPECT_EQ(syscall_by_function("fstat"), nullptr);
}

TEST(SyscallTable, OtherAbis) {
  EXPECT_EQ(x86_64_number(Abi::i386, 11), SYS_execve);
  EXPECT_EQ(x86_64_number(Abi::i386, 5), SYS_open);
  EXPECT_EQ(x86_64_number(Abi::i386, 295), SYS_openat);
  EXPECT_EQ(x86_64_number(Abi::i386, 197), SYS_fstat) << "fstat64";
  EXPECT_EQ(x86_64_number(Abi::i386, 192), SYS_mmap) << "mmap2";
  EXPECT_EQ(x86_64_number(Abi::i386, 90), -1) << "the old mmap takes a structure";
  EXPECT_EQ(x86_64_number(Abi::i386, 7), -1) << "waitpid";
  EXPECT_EQ(x86_64_number(Abi::i386, 100000), -1);
  EXPECT_EQ(x86_64_number(Abi::x32, x32_bit | 520), SYS_execve);
  EXPECT_EQ(x86_64_number(Abi::x32, x32_bit | 0), SYS_read);
  EXPECT_EQ(x86_64_number(Abi::x32, x32_bit | 600), -1);
}

TEST(SyscallTable, I386ArgumentsGetTheirPlaces) {
  const std::array<u64, 6> in = {10, 11, 12, 13, 14, 15};
  using Six = std::array<u64, 6>;
  EXPECT_EQ(x86_64_arguments(11, in), in);
  EXPECT_EQ(x86_64_arguments(120, in), (Six{10, 11, 12, 14, 13, 0})) << "clone: tls and child_tid";
  EXPECT_EQ(x86_64_arguments(180, in), (Six{10, 11, 12, u64{14} << 32 | 13, 0, 0})) << "pread64";
  EXPECT_EQ(x86_64_arguments(192, in), (Six{10, 11, 12, 13, 14, 15 * 4096})) << "mmap2 counts pages";
  EXPECT_EQ(x86_64_arguments(140, in), (Six{10, u64{11} << 32 | 12, 14, 0, 0, 0})) << "_llseek";
  EXPECT_EQ(x86_64_arguments(268, in), (Six{10, 12, 0, 0, 0, 0})) << "statfs64";
  EXPECT_EQ(x86_64_arguments(272, in), (Six{10, u64{12} << 32 | 11, u64{14} << 32 | 13, 15, 0, 0}));
}

TEST(SyscallTable, NeighboursOfAMistake) {
  const auto has = [](std::string_view name, std::string_view expected) {
    const auto near = nearest_syscalls(name);
    return std::find(near.begin(), near.end(), expected) != near.end() && near.size() <= 3;
  };
  EXPECT_TRUE(has("openta", "openat"));
  EXPECT_TRUE(has("exceve", "execve"));
  EXPECT_TRUE(has("fstat", "newfstat"));
  EXPECT_EQ(nearest_syscalls("fstat").size(), 1u);
  EXPECT_TRUE(nearest_syscalls("zzzzzzzzzzzzzzzzzzzzzzz").empty());
  EXPECT_TRUE(nearest_syscalls(std::string(100000, 'a')).empty());
}

TEST(SyscallTable, ArgumentsAreTheTracepoints) {
  const std::filesystem::path events = "/sys/kernel/tracing/events/syscalls";
  std::error_code error;
  std::filesystem::directory_iterator at(events, error);
  if (error) GTEST_SKIP() << "left out: " << events << " cannot be read: " << error.message();
  u32 compared = 0;
  for (const auto& entry : at) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("sys_enter_")) continue;
    const SyscallRow* row = syscall_by_function(name.substr(10));
    std::ifstream file(entry.path() / "format");
    std::stringstream text;
    text << file.rdbuf();
    u32 fields = 0;
    for (auto position = text.str().find("offset:"); position != std::string::npos;
         position = text.str().find("offset:", position + 1))
      ++fields;
    if (fields == 0) continue;  // not readable by this user
    if (row == nullptr) {
      std::printf("this kernel is newer than the table: %s\n", name.c_str());
      continue;
    }
    EXPECT_EQ(row->arguments, fields - 5) << name;
    ++compared;
  }
  if (compared == 0) GTEST_SKIP() << "left out: no format can be read by this user";
  EXPECT_GT(compared, 200u);
}

}  // namespace
}  // namespace skep::catalog
