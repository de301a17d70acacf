// What the process tests share: programs to trace, a sink that remembers, files to report through.
#pragma once
#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "hook/syscall_tracer.hpp"

namespace skep::hook::test {

/// The path of "hook_tracee", "hook_host"...; copies that uid nobody can run.
std::string program(const std::string& name);
bool exists(const std::string& name);
/// A new path in this run's own directory.
std::string scratch(const std::string& name);
std::string content(const std::string& path);
/// Waits up to 10 s; false: it never held.
bool eventually(const std::function<bool()>& condition);
/// Whether a process exists that is not a zombie.
bool alive(int pid);
int uid_under_test();

/// One event as it was seen.
struct Seen {
  u32 tid, tgid, uid, gid;
  s32 nr;
  u32 own_nr;
  catalog::Abi abi;
  bool is_exit;
  std::array<u64, 6> args;
  s64 ret;
  std::string path;  ///< marker paths without /skep-tracee/, or ""
  s64 path_error;
  std::string comm;
};

/// Remembers every event; `then` runs in the event, the task still stopped.
class Recorder final : public SyscallSink {
 public:
  void on_event(SyscallEvent& event, helper::Task& task) noexcept override;
  std::vector<Seen> seen;
  std::function<void(SyscallEvent&, helper::Task&, const Seen&)> then;
  bool read_paths = true;

  /// How often each marker was seen at its entry.
  std::map<std::string, int> marks() const;
  int count(const std::string& mark) const;
};

/// A string of the task's memory; error: what read_user gave.
std::string read_string(helper::Task& task, u64 address, s64& error);

SyscallInterest entries(std::initializer_list<u32> numbers);
SyscallInterest both(std::initializer_list<u32> numbers);
/// openat at the entry by notification, or by ptrace at entry and return.
SyscallInterest openat_interest(Mechanism mechanism);

struct Outcome {
  RunResult result;
  Mechanism mechanism;
};
/// Starts and runs to the end; fails the test on errors.
Outcome run(std::vector<std::string> argv, const SyscallInterest& interest, SyscallSink& sink);

int exit_code(const RunResult& result);

/// For TEST_P over the two mechanisms of a started command.
class EachMechanism : public ::testing::TestWithParam<Mechanism> {
 protected:
  SyscallInterest openat() const { return openat_interest(GetParam()); }
};
std::string mechanism_name(const ::testing::TestParamInfo<Mechanism>& info);

}  // namespace skep::hook::test
