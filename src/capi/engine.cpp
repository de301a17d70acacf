// Engines and their workloads.
//
// Backend::run() serves a workload on the thread that calls it; C's callers have other things to do, so it gets a
// thread of its own. The thread has the signal mask of its caller, which the command inherits; a signal to the process
// goes to its main thread all the same where that takes it, so its waiting ends.
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <fstream>

#include "capi/state.hpp"
#include "kernel/features.hpp"
#include "kernel/hook_substitutes.hpp"
#include "kernel/kernel_types.hpp"
#include "kernel/open.hpp"

namespace skep::capi {

EngineState::~EngineState() {
  if (!thread.joinable()) return;
  backend->stop();
  thread.join();
}

void EngineState::end(RunResult result) {
  state = result.exited ? SKEP_WORKLOAD_ENDED : SKEP_WORKLOAD_STOPPED;
  wait_status = result.wait_status;
  const u64 one = 1;
  [[maybe_unused]] const auto written = ::write(end_event.get(), &one, sizeof one);
}

Result<void> EngineState::start(Workload workload) {
  std::unique_lock lock(mutex);
  if (state == SKEP_WORKLOAD_RUNNING) return fail(Code::invalid_argument, "the engine runs a workload already");
  if (thread.joinable()) thread.join();
  u64 count = 0;
  [[maybe_unused]] const auto read = ::read(end_event.get(), &count, sizeof count);
  state = SKEP_WORKLOAD_NONE;
  failure.reset();
  workload.on_start = [this](int command_pid) {
    const std::lock_guard guard(mutex);
    pid = command_pid;
    state = SKEP_WORKLOAD_RUNNING;
    changed.notify_all();
  };
  thread = std::thread([this, workload = std::move(workload)] {
    auto result = backend->run(workload);
    const std::lock_guard guard(mutex);
    if (!result) failure = std::move(result).error();
    end(result ? *result : RunResult{});
    changed.notify_all();
  });
  changed.wait(lock, [this] { return state != SKEP_WORKLOAD_NONE; });
  if (failure) return tl::unexpected<Error>(*failure);
  return {};
}

Result<s64> descriptor_of(const EngineState& engine, ObjectKind kind, u32 id) {
  if (engine.name != "kernel")
    return fail(Code::unsupported, "objects of the user engine live in this process and have no descriptors");
  const bool is_map = kind == ObjectKind::map;
  auto fd =
      SKEP_TRY(kernel::open_by_id(is_map ? kernel::uapi::Cmd::map_get_fd_by_id : kernel::uapi::Cmd::prog_get_fd_by_id,
                                  id, is_map ? "map" : "program"));
  return fd.release();
}

namespace {

Result<std::unique_ptr<skep_engine>> open(const char* name) {
  if (name == nullptr) return is_null("the engine's name");
  auto state = std::make_shared<EngineState>();
  state->name = name;
  if (state->name == "user")
    state->backend = SKEP_TRY(user_backend());
  else if (state->name == "kernel")
    state->backend = SKEP_TRY(kernel_backend());
  else
    return fail(Code::invalid_argument, fmt::format("no engine \"{}\": there are user and kernel", name));
  state->end_event = base::Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!state->end_event) return tl::unexpected(base::os_error("eventfd"));
  return std::make_unique<skep_engine>(skep_engine{std::move(state)});
}

bool kernel_runs_lsm_programs() {
  std::ifstream file("/sys/kernel/security/lsm");
  std::string list;
  std::getline(file, list);
  return ("," + list + ",").find(",bpf,") != std::string::npos;
}

Result<s64> kernel_has(std::string_view feature) {
  const kernel::Features features;
  if (feature == "kprobe") return features.kprobes();
  if (feature == "fentry") return features.fentry();
  if (feature == "lsm") return features.fentry() && kernel_runs_lsm_programs();
  constexpr u32 first_with_raw_tracepoints = 4u << 16 | 17u << 8;
  if (feature == "raw_tracepoint") return kernel::Features::version_code() >= first_with_raw_tracepoints;
  if (feature == "kernel_types") return features.kernel_types();
  return fail(Code::invalid_argument,
              fmt::format("no feature \"{}\": there are kprobe, fentry, lsm, raw_tracepoint, kernel_types", feature));
}

/// What the user engine has: hooks on system calls, under whichever name.
Result<s64> user_has(std::string_view feature) {
  SKEP_TRY(kernel_has(feature));  // the names are the same
  return feature == "kprobe" || feature == "raw_tracepoint";
}

/// Whether a structure has a member, in itself or in a nameless member.
bool has_member(const btf::Btf& types, u32 type_id, std::string_view name, u32 depth) {
  constexpr u32 deepest = 16;
  const btf::Type type = types.type(types.resolve(type_id));
  if (!btf::is_composite(type.kind) || depth > deepest) return false;
  for (const btf::Member& member : types.members(type))
    if (member.name == name || (member.name.empty() && has_member(types, member.type_id, name, depth + 1))) return true;
  return false;
}

}  // namespace
}  // namespace skep::capi

using namespace skep;
using namespace skep::capi;

skep_engine* skep_engine_open(const char* name) {
  return handle_of<skep_engine>([&] { return open(name); });
}
void skep_engine_close(skep_engine* engine) { delete engine; }
const char* skep_engine_name(const skep_engine* engine) { return engine != nullptr ? engine->state->name.c_str() : ""; }

const char* skep_engine_notes(skep_engine* engine) {
  if (engine == nullptr) return "";
  guarded([&]() -> Result<s64> {
    engine->state->notes = engine->state->backend->notes();
    return 0;
  });
  return engine->state->notes.c_str();
}

const char* skep_engine_verifier_log(skep_engine* engine) {
  if (engine == nullptr) return "";
  guarded([&]() -> Result<s64> {
    engine->state->log = engine->state->backend->verifier_log();
    return 0;
  });
  return engine->state->log.c_str();
}

int skep_engine_start(skep_engine* engine, const char* const* command, int32_t pid) {
  return status_of([&]() -> Result<s64> {
    if (engine == nullptr) return is_null("the engine");
    Workload workload;
    for (; command != nullptr && *command != nullptr; ++command) workload.command.emplace_back(*command);
    workload.pid = pid;
    SKEP_TRY(engine->state->start(std::move(workload)));
    return 0;
  });
}

int skep_engine_workload(skep_engine* engine, skep_workload* workload) {
  return status_of([&]() -> Result<s64> {
    if (engine == nullptr) return is_null("the engine");
    EngineState& state = *engine->state;
    const std::lock_guard lock(state.mutex);
    SKEP_TRY(give(workload, skep_workload{sizeof(skep_workload), state.state, state.pid, state.wait_status}));
    if (state.failure) return tl::unexpected<Error>(*state.failure);
    return 0;
  });
}

int skep_engine_end_fd(const skep_engine* engine) { return engine != nullptr ? engine->state->end_event.get() : -1; }
void skep_engine_stop(skep_engine* engine) {
  if (engine != nullptr) engine->state->backend->stop();
}

int skep_engine_has(skep_engine* engine, const char* feature) {
  return status_of([&]() -> Result<s64> {
    if (engine == nullptr || feature == nullptr) return is_null("the engine or the feature");
    return engine->state->name == "kernel" ? kernel_has(feature) : user_has(feature);
  });
}

int skep_kernel_has_member(const char* name, const char* member) {
  return status_of([&]() -> Result<s64> {
    if (name == nullptr || member == nullptr) return is_null("the name");
    const auto types = SKEP_TRY(kernel::KernelTypes::running());
    for (const auto kind : {btf::Kind::struct_, btf::Kind::union_})
      if (const auto id = types->find(name, kind)) return has_member(*types, *id, member, 0);
    return 0;
  });
}

const char* skep_kernel_stand_in(uint32_t index) {
  const auto rows = kernel::hook_substitutes();
  return index < rows.size() ? rows[index].function.data() : nullptr;
}

int skep_kernel_has_function(const char* name) {
  return status_of([&]() -> Result<s64> {
    if (name == nullptr) return is_null("the name");
    return SKEP_TRY(kernel::KernelTypes::running())->find(name, btf::Kind::func).has_value();
  });
}
