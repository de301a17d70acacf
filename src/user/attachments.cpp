// From targets to attachments, from events to runs. See attachments.hpp.
#include "user/attachments.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

#include "map/run.hpp"

namespace skep::user {

Result<std::shared_ptr<Attachment>> Attachment::make(std::shared_ptr<const LoadedProgram> program,
                                                     const AttachTarget& target, Registry& registry) {
  const hook::HookPlan plan = SKEP_TRY(hook::plan(target));
  const verify::VerifiedProgram& proof = program->function->program();
  SKEP_TRY(hook::check_fits(plan, target, proof.type(), proof.context_bytes()));
  std::shared_ptr<Attachment> made(new Attachment(std::move(program), plan));
  made->id_ = SKEP_TRY(registry.link_table->reserve());
  const bool is_raw =
      plan.context == hook::HookPlan::Context::raw_enter || plan.context == hook::HookPlan::Context::raw_exit;
  made->info_ = {.id = made->id_.id(),
                 .type = is_raw ? "raw_tracepoint" : "syscall",
                 .target = target.text(),
                 .program_id = made->program_->facts.id,
                 .host_pid = registry.pid(),
                 .host_name = registry.host_name()};
  made->id_.publish(made);
  return made;
}

void Attachment::run(hook::SyscallEvent& event, helper::Task& task, helper::TraceSink& trace) noexcept {
  inside_.fetch_add(1);
  if (active_) run_program(event, task, trace);
  inside_.fetch_sub(1);
}

void Attachment::run_program(hook::SyscallEvent& event, helper::Task& task, helper::TraceSink& trace) noexcept {
  hook::SyscallContext memory;
  void* const context = memory.fill(plan_, event, task);
  helper::Call call;
  call.task = &task;
  call.trace = &trace;
  call.context = context;
  const auto start = std::chrono::steady_clock::now();
  {
    const map::RunSection section(task.cpu());
    program_->function->run(call, context);
  }
  const auto spent = std::chrono::steady_clock::now() - start;
  program_->run_count.fetch_add(1, std::memory_order_relaxed);
  program_->run_time_ns.fetch_add(static_cast<u64>(std::chrono::nanoseconds(spent).count()), std::memory_order_relaxed);
}

RunSink::RunSink(std::vector<std::shared_ptr<Attachment>> attachments, helper::TraceSink& trace)
    : attachments_(std::move(attachments)), trace_(trace) {
  for (const auto& attachment : attachments_) {
    const hook::HookPlan& plan = attachment->plan();
    plan.add_to(interest_);
    (plan.every_call ? every_[plan.is_exit()] : by_number_[plan.is_exit()][plan.number]).push_back(attachment.get());
  }
}

void RunSink::run_all(const List& list, hook::SyscallEvent& event, helper::Task& task) noexcept {
  for (Attachment* attachment : list)
    if (attachment->plan().matches(event)) attachment->run(event, task, trace_);
}

void RunSink::on_event(hook::SyscallEvent& event, helper::Task& task) noexcept {
  run_all(every_[event.is_exit], event, task);
  if (event.nr >= 0 && static_cast<u32>(event.nr) < catalog::syscall_limit)
    run_all(by_number_[event.is_exit][static_cast<u32>(event.nr)], event, task);
}

Result<void> Attachments::add(std::shared_ptr<Attachment> attachment) {
  const std::lock_guard lock(mutex_);
  if (running_) return fail(Code::unsupported, "the user engine's filter is fixed while it runs: attach before run()");
  attachments_.push_back(std::move(attachment));
  return {};
}

void Attachments::remove(const std::shared_ptr<Attachment>& attachment) noexcept {
  {
    const std::lock_guard lock(mutex_);
    std::erase(attachments_, attachment);
  }
  attachment->active_ = false;
  // A tracer that crashed inside of the program never says that it is out; no program runs for a second.
  for (int i = 0; i < 1000 && attachment->inside_ != 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

Result<std::unique_ptr<RunSink>> Attachments::begin_run(helper::TraceSink& trace) {
  const std::lock_guard lock(mutex_);
  if (attachments_.empty())
    return fail(Code::invalid_argument, "no program is attached: there is nothing to observe with");
  running_ = true;
  return std::make_unique<RunSink>(attachments_, trace);
}

void Attachments::end_run() noexcept {
  const std::lock_guard lock(mutex_);
  running_ = false;
}

}  // namespace skep::user
