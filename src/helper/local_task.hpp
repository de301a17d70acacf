// The calling process as the task of a run: for test runs and unit tests.
//
// User memory is this process's own, read and written by system call, so a bad address is an answer and not a
// fault. Kernel memory is what the caller says it is: the context of the run.
#pragma once
#include "helper/call.hpp"

namespace skep::helper {

class LocalTask final : public Task {
 public:
  /// `readable`: what read_kernel() may read; outlives the task.
  explicit LocalTask(std::span<const std::byte> readable = {}) noexcept : readable_(readable) {}

  u64 pid_tgid() noexcept override;
  u64 uid_gid() noexcept override;
  void comm(char (&comm)[16]) noexcept override;
  u32 cpu() noexcept override;
  s64 read_user(void* to, u64 address, u32 size) noexcept override;
  s64 write_user(u64 address, const void* from, u32 size) noexcept override;
  s64 read_kernel(void* to, u64 address, u32 size) noexcept override;

 private:
  std::span<const std::byte> readable_;
};

}  // namespace skep::helper
