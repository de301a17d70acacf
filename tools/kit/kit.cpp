// See kit.hpp. The engine's loop runs on the main thread; the pump's thread reads rings, prints, and ends the run.
#include "kit/kit.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>

#include "base/fd.hpp"
#include "btf/btf.hpp"
#include "interruption.hpp"
#include "kernel/access.hpp"
#include "kernel/features.hpp"
#include "kernel/hook_check.hpp"
#include "kit/choice.hpp"
#include "kit/probes.hpp"

namespace skep::tools {
namespace {

constexpr u8 tree_root = 1;  // tool.bpf.h

Result<u32> user_number(const std::string& text) {
  u32 number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) return number;
  const passwd* known = ::getpwnam(text.c_str());
  if (known == nullptr) return fail(Code::invalid_argument, fmt::format("no user '{}'", text));
  return static_cast<u32>(known->pw_uid);
}

bool is_user_function(AttachKind kind) {
  return kind == AttachKind::uprobe || kind == AttachKind::uretprobe || kind == AttachKind::usdt;
}

/// The kernel's programs wait for a process that is gone as they wait for one that sleeps: when it ends, so does the
/// tool.
Result<void> watch_process(trace::Pump& pump, Backend& engine, int pid) {
  constexpr std::chrono::milliseconds look_at_process(100);
  auto process = std::make_shared<base::Fd>(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!*process && errno == ESRCH) return fail(Code::not_found, fmt::format("there is no process {}", pid), ESRCH);
  if (!*process) return {};  // a thread, or a kernel before 5.3: Ctrl-C ends
  pump.every(look_at_process, [&engine, pid, process] {
    pollfd end{process->get(), POLLIN, 0};
    if (!*process || ::poll(&end, 1, 0) != 1) return;
    process->reset();
    note(fmt::format("process {} has ended", pid));
    engine.stop();
  });
  return {};
}

}  // namespace

Kit::Kit(const ToolFacts& facts) : facts_(facts), app_(std::string(facts.about), std::string(facts.name)) {
  std::string footer = "examples:\n" + std::string(facts.examples);
  if (facts.user_engine)
    footer += fmt::format(
        "\n\n`skep {} [OPTIONS] -- CMD ARG...` observes one command without privileges (user engine).", facts.name);
  app_.footer(footer);
  app_.add_flag("-j,--json", json_, "one JSON object a line");
  app_.add_option("--backend", backend_, facts.user_engine ? "user (needs a command or -p) or kernel" : "kernel")
      ->check(one_of({"user", "kernel"}));
  app_.add_option("--btf", btf_, "a BTF file with this kernel's types, where it does not tell them itself");
  if (facts.compiled_at_run_time) return;
  auto bytes = tool_object(facts.name);
  auto spec =
      bytes ? ObjectSpec::from_bytes(std::as_bytes(std::span(*bytes)), facts.name) : tl::unexpected(bytes.error());
  if (spec)
    spec_ = *std::move(spec);
  else
    mistake_ = spec.error();
}

Kit::~Kit() = default;

void Kit::wants_pid() { app_.add_option("-p,--pid", workload_.pid, "this process only")->check(range(1, 1 << 22)); }
void Kit::wants_tid(std::string_view flags) {
  app_.add_option(std::string(flags), tid_, "this thread only")->check(range(1, 1 << 22));
}
void Kit::wants_uid(std::string_view flags) {
  app_.add_option(std::string(flags), user_, "this user only, by number or name");
}
void Kit::wants_family() {
  has_family_ = true;
  const Option four = app_.add_flag("-4,--ipv4", ipv4_, "IPv4 only");
  app_.add_flag("-6,--ipv6", ipv6_, "IPv6 only")->excludes(four);
}
void Kit::wants_duration(std::string_view flags) {
  app_.add_option(std::string(flags), duration_s_, "seconds to run")->check(duration());
}
void Kit::wants_interval(double every_s) {
  needs_interval_ = true;
  interval_s_ = every_s;
  app_.add_option("INTERVAL", interval_s_, "seconds between outputs")->check(duration());
  app_.add_option("COUNT", count_, "number of outputs")->check(above_zero());
}

void Kit::wants_process_and_interval() {
  needs_process_ = true;
  app_.add_option("PID_INTERVAL", process_and_interval_,
                  "the process (where no command is given), and seconds between outputs")
      ->expected(0, 2)
      ->check(duration());
}

std::optional<int> Kit::read_process_and_interval() {
  auto rest = std::span<const double>(process_and_interval_);
  if (workload_.command.empty()) {
    constexpr double most = 1 << 22;
    if (rest.empty() || rest[0] > most || rest[0] != static_cast<int>(rest[0]))
      return complain(fmt::format("say which process: skep {0} PID, or skep {0} -- CMD", facts_.name));
    workload_.pid = static_cast<int>(rest[0]);
    rest = rest.subspan(1);
  }
  if (rest.size() > 1) return complain("give a command or a process, not both");
  if (!rest.empty()) interval_s_ = rest[0];
  return std::nullopt;
}

std::optional<int> Kit::needs_kernel(std::string_view what) {
  if (backend_ == "user")
    return complain(fmt::format("{}: {} exist in the kernel only: use --backend kernel", facts_.name, what));
  in_kernel_ = true;
  return std::nullopt;
}

std::optional<int> Kit::parse(const Arguments& all) {
  Arguments arguments = all;
  if (const auto dashes = std::find(arguments.begin(), arguments.end(), "--"); dashes != arguments.end()) {
    workload_.command.assign(dashes + 1, arguments.end());
    arguments.erase(dashes, arguments.end());
    if (workload_.command.empty())
      return tools::complain("`--` must be followed by a command to run", 2, form_of(arguments));
  }
  if (auto status = app_.parse(arguments)) return status;
  if (!workload_.command.empty() && workload_.pid != 0) return complain("give a command or -p PID, not both");
  if (needs_process_)
    if (auto status = read_process_and_interval()) return status;
  const bool may_choose_user =
      facts_.user_engine && has_scope() && !(facts_.kernel_first && kernel::capabilities().may_trace());
  in_kernel_ = backend_ == "kernel" || (backend_.empty() && !may_choose_user);
  if (!in_kernel_ && !facts_.user_engine)
    return complain(
        fmt::format("{}: its events are inside of the kernel: there is no user-engine version", facts_.name));
  if (!in_kernel_ && !has_scope())
    return complain(
        fmt::format("the user engine observes a command or a process: skep {} -- CMD, or -p PID", facts_.name));
  output_ = std::make_unique<trace::Output>(json_);
  return std::nullopt;
}

void Kit::set_bytes(std::string_view name, std::span<const std::byte> value) {
  if (mistake_) return;
  const auto place = spec_.variable(name);
  if (!place || place->size != value.size()) {
    mistake_ = Error{Code::invalid_argument,
                     fmt::format("{}: the program has no constant '{}' of {} bytes", facts_.name, name, value.size())};
    return;
  }
  std::copy(value.begin(), value.end(), spec_.maps[place->map].initial_value.begin() + place->offset);
}

void Kit::set_map_size(std::string_view name, u32 entries) {
  const auto found =
      std::find_if(spec_.maps.begin(), spec_.maps.end(), [&](const MapSpec& map) { return map.name == name; });
  if (found != spec_.maps.end())
    found->max_entries = entries;
  else if (!mistake_)
    mistake_ = Error{Code::invalid_argument, fmt::format("{}: the program has no map '{}'", facts_.name, name)};
}

void Kit::only_if(bool wanted, std::string_view stem) {
  if (!wanted) left_out_.emplace_back(stem);
}

void Kit::on_bytes(std::string_view map, std::size_t least, std::function<void(std::span<const std::byte>)> handler) {
  handlers_.push_back({std::string(map), least, std::move(handler)});
}

Result<void> Kit::open_engine() {
  if (mistake_) return tl::unexpected(*mistake_);
  engine_ = SKEP_TRY(in_kernel_ ? kernel_backend({.btf = btf_, .token = {}}) : user_backend());
  return {};
}

Result<void> Kit::point_at_target() {
  if (facts_.compiled_at_run_time) return {};
  set("in_kernel", in_kernel_);
  if (!user_.empty()) set("wanted_uid", SKEP_TRY(user_number(user_)));
  if (has_family_) set("wanted_family", static_cast<u16>(ipv4_ ? AF_INET : ipv6_ ? AF_INET6 : 0));
  if (tid_ != 0) set("wanted_tid", tid_);
  if (in_kernel_ && workload_.pid != 0) set("wanted_pid", static_cast<u32>(workload_.pid));
  if (in_kernel_ && !workload_.command.empty())
    set("wanted_tree", true);
  else
    set_map_size("tree", 1);  // nobody asks it: it need not take memory
  if (mistake_) return tl::unexpected(*mistake_);
  return {};
}

Result<void> Kit::choose_programs() {
  if (facts_.compiled_at_run_time) return {};
  kernel::HookCheck hooks;
  Choice choice{.in_kernel = in_kernel_,
                .follow_forks = in_kernel_ && !workload_.command.empty(),
                .left_out = left_out_,
                .has_hook = [&](const ProgramSpec& program) { return hooks.check(program); }};
  for (const std::string& line : SKEP_TRY_AT(facts_.name, choose(spec_, choice))) note(line);
  // Before, a probe of the kernel's allocator could wait for itself in such a map, and the kernel warns of it.
  constexpr u32 first_to_allocate_in_probes = 6u << 16 | 1u << 8;
  if (in_kernel_ && kernel::Features::version_code() < first_to_allocate_in_probes)
    for (MapSpec& map : spec_.maps)
      if (map.type == MapType::hash || map.type == MapType::percpu_hash) map.flags &= ~map_flag::no_prealloc;
  return {};
}

Result<std::vector<Link>> Kit::attach_all() {
  std::vector<Link> links;
  std::size_t followers = 0;
  for (auto& program : object_->programs()) {
    if (program.target().target.empty()) continue;  // the tool attaches it itself
    followers += is_follower(program.info().name);
    AttachTarget target = program.target();
    if (is_user_function(target.kind)) target.pid = workload_.pid;
    links.push_back(SKEP_TRY_AT(program.info().name, program.attach(target)));
  }
  if (on_attach_) SKEP_TRY(on_attach_(*object_, links));
  attached_ = links.size() - followers;
  if (attached_ == 0 && first_refusal_) return tl::unexpected(*first_refusal_);
  if (attached_ == 0) return fail(Code::not_found, fmt::format("{}: nothing was attached", facts_.name));
  if (refusals_ > 0)
    note(fmt::format("{} places could not be attached to; the first: {}", refusals_, first_refusal_->message));
  return links;
}

bool Kit::attach_one(Program& program, const AttachTarget& target, std::vector<Link>& links) {
  auto link = program.attach(target);
  if (!link) {
    if (refusals_++ == 0) first_refusal_ = link.error();
    return false;
  }
  links.push_back(*std::move(link));
  return true;
}

/// In this order: where one tracepoint stands for both, what was attached first runs first.
bool Kit::attach_pair(Program& entry, Program& at_return, const AttachTarget& function, std::vector<Link>& links) {
  if (!attach_one(entry, function, links)) return false;
  if (attach_one(at_return, return_of(function), links)) return true;
  links.pop_back();
  return false;
}

Result<trace::Pump> Kit::open_pump() {
  trace::Pump pump = SKEP_TRY(trace::Pump::make(*output_));
  for (const Handler& handler : handlers_) {
    const Map map = SKEP_TRY(object_->map(handler.map));
    pump.add(SKEP_TRY_AT("map " + handler.map, map.open_ring()), [this, &handler](const Record& record) {
      if (record.data.size() < handler.least)
        ++damaged_;
      else
        handler.call(record.data);
      if (output_->failed()) stop();  // nobody reads any more
    });
  }
  const auto milliseconds = [](double seconds) {
    return std::chrono::milliseconds(std::max(1L, static_cast<long>(seconds * 1000)));
  };
  if (interval_s_ > 0)
    pump.every(milliseconds(interval_s_), [this] {
      summary();
      if (count_ != 0 && summaries_ >= count_) stop();
    });
  // What the last interval, shorter than the others, has counted is printed, too.
  const bool is_partial = interval_s_ > 0 && (milliseconds(duration_s_) % milliseconds(interval_s_)).count() != 0;
  if (duration_s_ > 0)
    pump.every(milliseconds(duration_s_), [this, is_partial] {
      if (is_partial) summary();
      stop();
    });
  if (in_kernel_ && workload_.pid != 0) SKEP_TRY(watch_process(pump, *engine_, workload_.pid));
  if (symbolizer_ != nullptr) follow_processes(pump);
  return pump;
}

/// The kernel tells what processes map; where it does not (without root: perf_event_paranoid above 2), the command is
/// looked at now and then.
void Kit::follow_processes(trace::Pump& pump) {
  constexpr std::chrono::milliseconds often(25);
  if (workload_.pid != 0) {
    symbolizer_->remember(static_cast<u32>(workload_.pid));
  } else if (symbolizer_->follow(has_command())) {
    pump.every(often, [this] { symbolizer_->keep_up(); });
  } else if (has_command()) {
    pump.every(often, [this] { symbolizer_->remember(command_pid_); });
  }
}

void Kit::summary() {
  if (!on_summary_ || (count_ != 0 && summaries_ >= count_)) return;
  ++summaries_;
  on_summary_();
  output_->flush();
}

void Kit::stop() {
  stopped_ = true;
  if (engine_) engine_->stop();
}

bool Kit::is_loaded(std::string_view name) const {
  return std::any_of(spec_.programs.begin(), spec_.programs.end(),
                     [&](const ProgramSpec& program) { return program.autoload && program.name == name; });
}

void Kit::give_up(Error error) {
  if (!failure_) failure_ = std::move(error);
  stop();
}

Result<int> Kit::run_all(const std::function<void()>& on_start) {
  SKEP_TRY(open_engine());
  SKEP_TRY(point_at_target());
  SKEP_TRY(choose_programs());
  object_ = SKEP_TRY(engine_->load(spec_));
  if (in_kernel_ && !workload_.command.empty()) {
    const auto self = static_cast<u32>(::getpid());
    const Map tree = SKEP_TRY(object_->map("tree"));
    SKEP_TRY(tree.update(std::as_bytes(std::span(&self, 1)), std::as_bytes(std::span(&tree_root, 1))));
  }
  if (on_loaded_) SKEP_TRY(on_loaded_(*object_));
  auto links = SKEP_TRY(attach_all());
  trace::Pump pump = SKEP_TRY(open_pump());
  Interruption interruption([this] { engine_->stop(); });
  Workload workload = workload_;
  if (in_kernel_) workload.pid = 0;  // filtered by the program; the hooks see all
  std::string notes;
  workload.on_start = [&](int pid) {
    interruption.command_started(pid);
    command_pid_ = static_cast<u32>(pid);
    notes = engine_->notes();
    note(notes);
    if (on_start) on_start();
    output_->flush();
    pump.start();
  };
  auto result = engine_->run(workload);
  interruption.end();
  detach_all(links);
  pump.finish();
  if (!result) return complain_of_run(result.error(), !workload_.command.empty(), form());
  if (summaries_ == 0 || !stopped_) summary();
  output_->flush();
  if (failure_) return tl::unexpected(*failure_);
  note_news(notes, engine_->notes());
  if (pump.lost() > 0)
    note(fmt::format("{} events were lost: they came faster than they could be printed", pump.lost()));
  if (damaged_ > 0) note(fmt::format("{} records were shorter than expected and were left out", damaged_.load()));
  return interruption.status_for(*result, !workload_.command.empty());
}

int Kit::run(const std::function<void()>& on_start) {
  auto status = run_all(on_start);
  if (status) return *status;
  output_->flush();  // what came before it
  return complain(status.error());
}

Result<void> Kit::read_entries(std::string_view name, bool take, std::size_t key_size, std::size_t value_size,
                               const std::function<void(const std::byte*, const std::byte*)>& visit) {
  const Map map = SKEP_TRY(object_->map(name));
  if (map.info().key_size != key_size || map.info().value_size != value_size)
    return fail(Code::invalid_argument, fmt::format("map {}: entries of {} and {} bytes, expected {} and {}", name,
                                                    map.info().key_size, map.info().value_size, key_size, value_size));
  using Bytes = std::vector<std::byte>;
  std::vector<std::pair<Bytes, Bytes>> seen;
  MapBatch batch;
  do {
    SKEP_TRY(map.next_batch(batch));
    for (u32 i = 0; i < batch.count; ++i) {
      if (i < batch.errors.size() && batch.errors[i] != 0) continue;
      const std::size_t stride = batch.values.size() / batch.count;
      const std::byte *key = batch.keys.data() + i * key_size, *value = batch.values.data() + i * stride;
      if (take)
        seen.emplace_back(Bytes(key, key + key_size), Bytes(value, value + stride));
      else
        visit(key, value);
    }
  } while (!batch.last);
  // Taken out as it is then: what a program adds meanwhile is counted now or the next time, and never lost.
  for (const auto& [key, before] : seen) {
    const auto now = map.take(key);
    if (now && now->size() == before.size()) {
      visit(key.data(), now->data());
    } else if (!now && now.error().code != Code::not_found) {  // Linux before 5.14 has no such step
      visit(key.data(), before.data());
      [[maybe_unused]] const auto gone = map.erase(key);
    }
  }
  return {};
}

}  // namespace skep::tools
