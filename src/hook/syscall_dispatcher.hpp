// Runs attached programs for a tracer's system calls.
//
// Attachments are collected before the tracer starts (its filter is fixed from then on); each event then finds its
// programs by number and direction. A program may be detached at any time: when detach() returns, it runs no more.
#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <vector>

#include "hook/syscall_context.hpp"
#include "vm/function.hpp"

namespace skep::hook {

class SyscallDispatcher final : public SyscallSink {
 public:
  /// `trace` receives trace_printk lines; it must outlive the dispatcher.
  explicit SyscallDispatcher(helper::TraceSink& trace);
  ~SyscallDispatcher() override;

  /// Attaches before the tracer starts. `keep` lives as long as the attachment (maps, the object). The number
  /// identifies it. Errors: those of plan() and check_fits().
  Result<u32> attach(const AttachTarget& target, std::shared_ptr<const vm::Function> function, u64 cookie = 0,
                     std::shared_ptr<const void> keep = {});
  void detach(u32 id) noexcept;
  /// What the tracer must be started with. False from any(): nothing is attached, and there is nothing to observe.
  const SyscallInterest& interest() const noexcept { return interest_; }
  /// How often a program ran, and how long in all (counted when `measure_time` was set).
  struct Statistics {
    u64 runs = 0;
    u64 time_ns = 0;
  };
  Statistics statistics(u32 id) const noexcept;
  void measure_time(bool measure) noexcept { measures_ = measure; }

  void on_event(SyscallEvent& event, helper::Task& task) noexcept override;

 private:
  struct Attachment;
  using List = std::vector<Attachment*>;
  void run(Attachment& attachment, SyscallEvent& event, helper::Task& task) noexcept;
  void run_all(const List& list, SyscallEvent& event, helper::Task& task) noexcept;

  helper::TraceSink& trace_;
  std::vector<std::unique_ptr<Attachment>> attachments_;
  // [entry, return]: programs on every call, and by number.
  std::array<List, 2> every_;
  std::array<std::array<List, syscall_limit>, 2> by_number_;
  SyscallInterest interest_;
  SyscallContext context_;
  std::atomic<bool> measures_ = false;
};

}  // namespace skep::hook
