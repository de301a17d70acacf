// See syscall_dispatcher.hpp.
#include "hook/syscall_dispatcher.hpp"

#include <time.h>

#include "hook/event_decode.hpp"
#include "map/run.hpp"

namespace skep::hook {

struct SyscallDispatcher::Attachment {
  HookPlan plan;
  std::shared_ptr<const vm::Function> function;
  std::shared_ptr<const void> keep;
  u64 cookie = 0;
  std::atomic<bool> active = true;
  std::atomic<bool> inside = false;
  std::atomic<u64> runs = 0;
  std::atomic<u64> time_ns = 0;
};

SyscallDispatcher::SyscallDispatcher(helper::TraceSink& trace) : trace_(trace) {}
SyscallDispatcher::~SyscallDispatcher() = default;

Result<u32> SyscallDispatcher::attach(const AttachTarget& target, std::shared_ptr<const vm::Function> function,
                                      u64 cookie, std::shared_ptr<const void> keep) {
  const HookPlan planned = SKEP_TRY(plan(target));
  const verify::VerifiedProgram& program = function->program();
  SKEP_TRY(check_fits(planned, target, program.type(), program.context_bytes()));
  auto attachment = std::make_unique<Attachment>();
  attachment->plan = planned;
  attachment->function = std::move(function);
  attachment->keep = std::move(keep);
  attachment->cookie = cookie;
  List& list = planned.every_call ? every_[planned.is_exit()] : by_number_[planned.is_exit()][planned.number];
  list.push_back(attachment.get());
  planned.add_to(interest_);
  attachments_.push_back(std::move(attachment));
  return static_cast<u32>(attachments_.size() - 1);
}

void SyscallDispatcher::detach(u32 id) noexcept {
  if (id >= attachments_.size()) return;
  Attachment& attachment = *attachments_[id];
  attachment.active = false;
  // A run takes microseconds. A tracer that was killed inside of one never says that it is out: wait a second at most.
  for (int i = 0; i < 10'000 && attachment.inside; ++i) {
    const timespec pause{0, 100'000};
    ::nanosleep(&pause, nullptr);
  }
}

SyscallDispatcher::Statistics SyscallDispatcher::statistics(u32 id) const noexcept {
  if (id >= attachments_.size()) return {};
  return {attachments_[id]->runs.load(), attachments_[id]->time_ns.load()};
}

void SyscallDispatcher::run(Attachment& attachment, SyscallEvent& event, helper::Task& task) noexcept {
  attachment.inside = true;
  if (attachment.active) {
    helper::Call call;
    call.task = &task;
    call.trace = &trace_;
    call.context = context_.fill(attachment.plan, event, task);
    call.attach_cookie = attachment.cookie;
    const bool measures = measures_;
    const u64 begin = measures ? monotonic_ns() : 0;
    attachment.function->run(call, call.context);
    if (measures) attachment.time_ns.fetch_add(monotonic_ns() - begin, std::memory_order_relaxed);
    attachment.runs.fetch_add(1, std::memory_order_relaxed);
  }
  attachment.inside = false;
}

void SyscallDispatcher::run_all(const List& list, SyscallEvent& event, helper::Task& task) noexcept {
  for (Attachment* attachment : list)
    if (attachment->plan.matches(event)) run(*attachment, event, task);
}

void SyscallDispatcher::on_event(SyscallEvent& event, helper::Task& task) noexcept {
  const map::RunSection section(task.cpu());
  run_all(every_[event.is_exit], event, task);
  if (event.nr >= 0 && static_cast<u32>(event.nr) < syscall_limit)
    run_all(by_number_[event.is_exit][static_cast<u32>(event.nr)], event, task);
}

}  // namespace skep::hook
