// From targets to attachments, from events to runs. See attachments.hpp.
#include "user/attachments.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "hook/socket_holders.hpp"
#include "map/run.hpp"
#include "spec/handler.hpp"

namespace skep::user {

namespace {
std::string_view link_type(const Attachment::Plan& plan) {
  if (const auto* life = std::get_if<hook::LifePlan>(&plan)) return life->arguments ? "raw_tracepoint" : "tracepoint";
  if (std::holds_alternative<hook::ProbePlan>(plan) || std::holds_alternative<hook::FunctionPlan>(plan))
    return "perf_event";
  using Context = hook::HookPlan::Context;
  const Context context = std::get<hook::HookPlan>(plan).context;
  return context == Context::raw_enter || context == Context::raw_exit ? "raw_tracepoint" : "syscall";
}
}  // namespace

Result<Attachment::Plan> Attachment::plan_of(const AttachTarget& target) {
  if (const auto life = hook::plan_life(target)) return Plan(*life);
  if (auto probe = SKEP_TRY(hook::plan_probe(target))) return Plan(std::move(*probe));
  if (auto function = hook::plan_function(target)) return Plan(std::move(*function));
  return Plan(SKEP_TRY(hook::plan(target)));
}

Result<std::shared_ptr<Attachment>> Attachment::make(std::shared_ptr<const LoadedProgram> program,
                                                     const AttachTarget& target, Registry& registry,
                                                     const ShadowProvider& shadow) {
  Plan plan = SKEP_TRY(plan_of(target));
  const verify::VerifiedProgram& proof = program->function->program();
  const u32 context_bytes = std::visit([](const auto& any) { return any.context_bytes; }, plan);
  SKEP_TRY(hook::check_fits(context_bytes, target, proof.type(), proof.context_bytes()));
  if (auto* const syscall = std::get_if<hook::HookPlan>(&plan))
    syscall->arguments_in_place =
        spec::declares_call_arguments(program->object->btf.get(), proof.functions(), proof.insns());
  const btf::Btf* const types = program->object->btf.get();
  if (auto* const function = std::get_if<hook::FunctionPlan>(&plan))
    SKEP_TRY(hook::fit(*function, target, types, proof.functions(), proof.insns()));
  std::shared_ptr<Attachment> made(new Attachment(std::move(program), std::move(plan)));
  made->shadow_ = made->program_->object->shadow.get();
  if (const auto* function = std::get_if<hook::FunctionPlan>(&made->plan_)) {
    made->carried_by_ = hook::describe(*function, target);
    made->shadow_owner_ = SKEP_TRY(shadow());  // the same that programs have which look at structures
    made->shadow_ = made->shadow_owner_.get();
  }
  if (const auto* probe = std::get_if<hook::ProbePlan>(&made->plan_); probe != nullptr && !probe->note.empty())
    made->carried_by_ = target.text() + ": " + probe->note;
  made->cookie_ = target.cookie;
  SKEP_TRY(made->place_descriptions(target));
  made->id_ = SKEP_TRY(registry.link_table->reserve());
  made->info_ = {.id = made->id_.id(),
                 .type = std::string(link_type(made->plan_)),
                 .target = target.text(),
                 .program_id = made->program_->facts.id,
                 .host_pid = registry.pid(),
                 .host_name = registry.host_name()};
  made->id_.publish(made);
  return made;
}

void Attachment::run(hook::SyscallEvent& event, helper::Task& task, helper::TraceSink& trace) noexcept {
  hook::SyscallContext memory;
  run_program(memory.fill(std::get<hook::HookPlan>(plan_), event, task, shadow_), task, trace, cookie_);
}

void Attachment::run(const hook::LifeEvent& event, hook::SyscallEvent& frame, helper::Task& task,
                     helper::TraceSink& trace) noexcept {
  hook::LifeContext memory;
  run_program(memory.fill(std::get<hook::LifePlan>(plan_), event, frame, task, shadow_), task, trace, cookie_);
}

void Attachment::run(const hook::ProbeHit& hit, u64 cookie, hook::SyscallEvent& frame, helper::Task& task,
                     helper::TraceSink& trace) noexcept {
  hook::ProbeContext memory;
  run_program(memory.fill(frame), task, trace, cookie, hit.function);
}

void Attachment::run(hook::FunctionEvent& event, const hook::FunctionRow& row, helper::TraceSink& trace) noexcept {
  hook::PtRegs registers;
  event.fill(std::get<hook::FunctionPlan>(plan_), row, registers);
  run_program(&registers, event.task(), trace, cookie_);
}

Attachment::~Attachment() {
  for (const u32 slot : usdt_slots_) program_->object->usdt_slots->give_back(slot);
}

/// Puts a static probe's descriptions where the program looks for them; the cookies say where that is.
Result<void> Attachment::place_descriptions(const AttachTarget& target) {
  auto* plan = std::get_if<hook::ProbePlan>(&plan_);
  if (plan == nullptr || plan->descriptions.empty()) return {};
  const LoadedObject& object = *program_->object;
  const auto specs =
      std::ranges::find_if(object.maps, [](const auto& one) { return one->map->spec().name == spec::usdt_specs_map; });
  if (specs == object.maps.end()) {  // the program reads no arguments
    for (u64& cookie : plan->cookies) cookie = plan->descriptions[cookie].cookie;
    return {};
  }
  if ((*specs)->map->spec().value_size != sizeof(spec::UsdtSpec))
    return tl::unexpected(spec::wrong_usdt_specs(target.text()));
  for (const spec::UsdtSpec& one : plan->descriptions) {
    const u32 slot = usdt_slots_.emplace_back(object.usdt_slots->take());
    if (slot >= (*specs)->map->spec().max_entries)
      return tl::unexpected(spec::too_many_usdt_specs(target.text(), (*specs)->map->spec().max_entries));
    (*specs)->map->copy_update(&slot, &one, map::update_any);
  }
  for (u64& cookie : plan->cookies) cookie = usdt_slots_[cookie];
  return {};
}

void Attachment::run_program(void* context, helper::Task& task, helper::TraceSink& trace, u64 cookie,
                             u64 function) noexcept {
  const Inside inside(*this);
  if (!active_) return;
  helper::Call call;
  call.task = &task;
  call.trace = &trace;
  call.context = context;
  call.attach_cookie = cookie;
  call.function_address = function;
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
    if (const auto* life = std::get_if<hook::LifePlan>(&attachment->plan())) {
      interest_.life.add(life->kind);
      by_life_[static_cast<u32>(life->kind)].push_back(attachment.get());
      continue;
    }
    if (const auto* probe = std::get_if<hook::ProbePlan>(&attachment->plan())) {
      for (std::size_t i = 0; i < probe->sites.size(); ++i) {
        const u32 place = interest_.add_probe(probe->sites[i], probe->at_return);
        if (place >= by_probe_.size()) by_probe_.resize(place + 1);
        by_probe_[place][probe->at_return].push_back({attachment.get(), probe->cookies[i]});
      }
      continue;
    }
    if (const auto* function = std::get_if<hook::FunctionPlan>(&attachment->plan())) {
      add(*attachment, *function);
      continue;
    }
    const auto& plan = std::get<hook::HookPlan>(attachment->plan());
    plan.add_to(interest_);
    (plan.every_call ? every_[plan.is_exit()] : by_number_[plan.is_exit()][plan.number]).push_back(attachment.get());
  }
  const auto by_row = [](std::vector<AtFunction>& list) { std::ranges::stable_sort(list, {}, &AtFunction::row); };
  for (auto& lists : functions_) std::ranges::for_each(lists, by_row);
  by_row(functions_at_end_);
}

void RunSink::add(Attachment& attachment, const hook::FunctionPlan& plan) {
  using Boundary = hook::FunctionRow::Boundary;
  shadow_ = attachment.shadow_;
  for (const hook::FunctionRow* row : plan.rows) {
    if (row->boundary == Boundary::end) {
      functions_at_end_.push_back({&attachment, row});
      interest_.life.add(hook::LifeKind::exit);
    }
    for (const u32 number : row->numbers()) {
      const bool at_return = row->boundary == Boundary::leave, notes = hook::needs_notes(plan, *row);
      functions_[at_return][number].push_back({&attachment, row});
      if (at_return) interest_.exit.set(number);
      if (!at_return || notes) interest_.enter.set(number);
      if (notes) notes_.set(number);
    }
  }
}

void RunSink::run_all(const List& list, hook::SyscallEvent& event, helper::Task& task) noexcept {
  for (Attachment* attachment : list)
    if (std::get<hook::HookPlan>(attachment->plan()).matches(event)) attachment->run(event, task, trace_);
}

/// What a call leads to lies within it: after its entry, before its return.
void RunSink::on_event(hook::SyscallEvent& event, helper::Task& task) noexcept {
  const bool is_known = event.nr >= 0 && static_cast<u32>(event.nr) < catalog::syscall_limit;
  if (is_known && event.is_exit) run_functions(event, task);
  run_all(every_[event.is_exit], event, task);
  if (!is_known) return;
  run_all(by_number_[event.is_exit][static_cast<u32>(event.nr)], event, task);
  if (!event.is_exit) run_functions(event, task);
}

void RunSink::run_functions(hook::SyscallEvent& event, helper::Task& task) noexcept {
  const auto number = static_cast<u32>(event.nr);
  const auto& list = functions_[event.is_exit][number];
  const bool notes = !event.is_exit && notes_[number];
  if (list.empty() && !notes) return;
  hook::FunctionEvent call(event, task, *shadow_);
  if (notes) call.note_entry();
  for (const AtFunction& one : list)
    if (call.is_called(*one.row)) one.attachment->run(call, *one.row, trace_);
}

/// The descriptors of a process that ends are closed. It stands before that.
void RunSink::end_process(hook::SyscallEvent& frame, helper::Task& task) noexcept {
  hook::EndingSockets sockets(static_cast<u32>(task.pid_tgid() >> 32));
  for (u32 i = 0; i < sockets.count(); ++i) {
    hook::FunctionEvent call(frame, task, *shadow_);
    call.close_at_end(sockets, i);
    for (const AtFunction& one : functions_at_end_)
      if (call.is_called(*one.row)) one.attachment->run(call, *one.row, trace_);
  }
}

void RunSink::on_life(const hook::LifeEvent& event, hook::SyscallEvent& frame, helper::Task& task) noexcept {
  for (Attachment* attachment : by_life_[static_cast<u32>(event.kind)]) attachment->run(event, frame, task, trace_);
  if (event.kind == hook::LifeKind::exit && event.group_dead && !functions_at_end_.empty()) end_process(frame, task);
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

void RunSink::on_probe(const hook::ProbeHit& hit, hook::SyscallEvent& frame, helper::Task& task) noexcept {
  for (const AtPlace& one : by_probe_[hit.site][hit.at_return])
    one.attachment->run(hit, one.cookie, frame, task, trace_);
}

void RunSink::tell_wanted(hook::ShadowTasks& shadow) const {
  shadow.want_nothing();
  for (const auto& attachment : attachments_)
    for (const verify::ObjectRead& read : attachment->proof().object_reads())
      shadow.want(read.type, read.offset, read.size);
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
