// Backend over the rooms below. See engine.hpp.
#include "user/engine.hpp"

#include <thread>

#include "backend/selection.hpp"
#include "user/prepare.hpp"
#include "user/refusal.hpp"
#include "user/test_run.hpp"

namespace skep::user {

namespace {

using ProgramRef = std::shared_ptr<const LoadedProgram>;

/// Detaches when it goes.
class AttachedLink final : public Link::Impl {
 public:
  AttachedLink(std::shared_ptr<EngineParts> parts, std::shared_ptr<Attachment> attachment)
      : parts_(std::move(parts)), attachment_(std::move(attachment)) {}
  ~AttachedLink() override { parts_->attachments.remove(attachment_); }
  std::vector<u32> ids() const override { return {attachment_->describe().id}; }
  std::string carried_by() const override { return attachment_->carried_by(); }

 private:
  std::shared_ptr<EngineParts> parts_;
  std::shared_ptr<Attachment> attachment_;
};

class ProgramHandle final : public Program::Impl {
 public:
  ProgramHandle(ProgramRef program, std::shared_ptr<EngineParts> parts)
      : program_(std::move(program)), parts_(std::move(parts)), info_(program_->describe()) {}

  const ProgramInfo& info() const override {
    std::atomic_ref(info_.run_count).store(program_->run_count.load(std::memory_order_relaxed));
    std::atomic_ref(info_.run_time_ns).store(program_->run_time_ns.load(std::memory_order_relaxed));
    return info_;
  }

  Result<Link> attach(const AttachTarget& target) override {
    if (auto refused = refuse_attach(info_.type, target)) return tl::unexpected<Error>(std::move(*refused));
    auto attachment = SKEP_TRY_AT("program " + info_.name, Attachment::make(program_, target, *parts_->host->registry(),
                                                                            [this] { return parts_->shadow_tasks(); }));
    SKEP_TRY_AT("program " + info_.name, parts_->attachments.add(attachment));
    parts_->note(attachment->carried_by());
    return Link(std::make_unique<AttachedLink>(parts_, std::move(attachment)));
  }

  Result<TestRunResult> test_run(const TestRun& run) override {
    auto result = SKEP_TRY_AT("program " + info_.name, user::test_run(*program_->function, run, parts_->trace.get()));
    const u64 runs = std::max<u32>(run.repeat, 1);
    program_->run_count.fetch_add(runs, std::memory_order_relaxed);
    program_->run_time_ns.fetch_add(result.duration_ns * runs, std::memory_order_relaxed);
    return result;
  }

 private:
  ProgramRef program_;
  std::shared_ptr<EngineParts> parts_;
  mutable ProgramInfo info_;
};

Result<bool> has_hook(const ProgramSpec& program) {
  const ProgramType type = program.type == ProgramType::unspec ? program.attach.program_type() : program.type;
  if (auto refused = refuse_attach(type, program.attach)) return tl::unexpected<Error>(std::move(*refused));
  SKEP_TRY(Attachment::plan_of(program.attach));
  return true;
}

}  // namespace

Result<std::unique_ptr<Backend>> UserBackend::open(const UserOptions& options) {
  auto parts = std::make_shared<EngineParts>();
  parts->host = Host::of_this_process();
  parts->trace = SKEP_TRY(TracePipe::create());
  if (options.serve_control_socket) parts->host->serve();
  return std::unique_ptr<Backend>(new UserBackend(std::move(parts)));
}

Result<Object> UserBackend::load(const ObjectSpec& spec, const LoadOptions& options) {
  const auto selection = SKEP_TRY(backend::select_programs(spec, options.programs, has_hook));
  {
    const std::lock_guard lock(notes_mutex_);
    left_out_.insert(left_out_.end(), selection.notes.begin(), selection.notes.end());
    for (const MapSpec& map : spec.maps)
      if (map.pin_by_name)
        left_out_.push_back("map " + map.name + " is this process's own and empty: only maps of the kernel are pinned");
  }
  const ObjectSpec prepared = SKEP_TRY_AT("object " + spec.name, prepare(backend::only(spec, selection)));
  const ShadowProvider shadow = [&] { return parts_->shadow_tasks(); };
  const auto loaded = SKEP_TRY_AT("object " + spec.name, load_object(prepared, parts_->host->registry(), options,
                                                                     vm::Tier::automatic, parts_->trace, shadow));
  std::vector<Program> programs;
  for (std::size_t i = 0; i < loaded->programs.size(); ++i) {
    const ProgramRef program(loaded, loaded->programs[i].get());
    programs.emplace_back(std::make_shared<ProgramHandle>(program, parts_), prepared.programs[i].attach);
  }
  std::vector<Map> maps;
  for (const auto& map : loaded->maps)
    maps.emplace_back(map->open(std::shared_ptr<const RegisteredMap>(loaded, map.get())));
  return Object(spec.name, std::move(programs), std::move(maps));
}

Result<RunResult> UserBackend::run(const Workload& workload) {
  if (workload.command.empty() == (workload.pid == 0))
    return fail(Code::invalid_argument,
                "the user engine observes one command or one process: give a command (-- CMD) or a process (-p PID); "
                "--backend kernel observes the whole machine");
  if (running_.exchange(true)) return fail(Code::invalid_argument, "this engine runs a workload already");
  auto result = trace(workload);
  stop_asked_ = false;
  running_ = false;
  return result;
}

Result<RunResult> UserBackend::trace(const Workload& workload) {
  auto sink = SKEP_TRY(parts_->attachments.begin_run(*parts_->trace));
  const auto end = [&] { parts_->attachments.end_run(); };
  std::shared_ptr<hook::ShadowTasks> shadow;
  {
    const std::lock_guard lock(parts_->shadow_mutex);
    shadow = parts_->shadow;
  }
  if (shadow) sink->tell_wanted(*shadow);
  auto started = workload.command.empty()
                     ? hook::SyscallTracer::attach(workload.pid, sink->interest(), *sink, shadow.get())
                     : hook::SyscallTracer::start(workload.command, sink->interest(), *sink, shadow.get());
  if (!started) {
    end();
    return tl::unexpected<Error>(std::move(started).error());
  }
  auto& tracer = *started;
  remember(*tracer, false);
  if (workload.on_start) workload.on_start(workload.command.empty() ? 0 : tracer->pid());
  tracer_ = tracer.get();
  if (stop_asked_) tracer->stop();  // asked between the call of run() and here
  auto result = tracer->run();
  tracer_ = nullptr;
  while (stopping_ != 0) std::this_thread::yield();
  remember(*tracer, true);
  tracer.reset();  // what is still traced is let go before the programs' sink ends
  end();
  return result;
}

void UserBackend::stop() noexcept {
  stopping_.fetch_add(1);
  stop_asked_ = true;
  if (hook::SyscallTracer* tracer = tracer_.load()) tracer->stop();
  stopping_.fetch_sub(1);
}

void UserBackend::remember(const hook::SyscallTracer& tracer, bool after) {
  std::string text = tracer.mechanism_text();
  if (tracer.new_privileges_denied()) text += "; setuid programs in it run without their privileges (no_new_privs)";
  if (const u64 refused = after ? tracer.counters().reads_refused.load() : 0; refused != 0)
    text += "; " + std::to_string(refused) + " reads of traced memory were refused by the system";
  if (const u64 refused = after ? tracer.counters().probes_refused.load() : 0; refused != 0)
    text +=
        "; " + std::to_string(refused) +
        " times a breakpoint could not be set, so hits are missing: the code is not what its file has (a debugger's "
        "or the kernel's breakpoint, a file that was replaced), or too many stand at once: probe fewer functions or "
        "processes";
  const std::lock_guard lock(notes_mutex_);
  notes_ = std::move(text);
}

std::string UserBackend::notes() const {
  const std::lock_guard lock(notes_mutex_);
  std::string text = notes_;
  for (const std::string& line : left_out_) text += (text.empty() ? "" : "; ") + line;
  for (const std::string& line : parts_->carried_lines()) text += (text.empty() ? "" : "; ") + line;
  if (const std::string reason = parts_->host->invisible_because(); !reason.empty()) {
    if (!text.empty()) text += "; ";
    text += "skep prog show cannot see this process: " + reason;
  }
  return text;
}

}  // namespace skep::user

namespace skep {

Result<std::unique_ptr<Backend>> user_backend(const UserOptions& options) { return user::UserBackend::open(options); }

}  // namespace skep
