// What every built-in tool does the same way: options, engine, program, attachment, printing, the end.
//
// A tool is a folder: NAME.bpf.c, compiled when skep is built, NAME.h with the records that both sides share, and
// NAME.cpp, which says its options and columns:
//
//   int opensnoop(const Arguments& arguments) {
//     Kit kit({.name = "opensnoop", .about = "...", .user_engine = true, .examples = "..."});
//     kit.wants_pid();
//     if (auto status = kit.parse(arguments)) return *status;
//     Columns columns(kit.output(), {{"PID", "pid", -6}, {"PATH", "path"}});
//     kit.on_record<open_event>("events", [&](const open_event& e) { columns.row({e.pid, text(e.path)}); });
//     return kit.run([&] { columns.heading(); });
//   }
//
// Which programs of the object are loaded, tool.bpf.h says. With a command (-- CMD) or -p a tool that has a user-engine
// version runs there, without privileges; otherwise in the kernel, where a command's processes are picked out by
// following its forks. What was substituted or left out is said on stderr, lost events always.
#pragma once
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <skep/backend.hpp>

#include "symbols/symbolizer.hpp"
#include "trace/output.hpp"
#include "trace/pump.hpp"
#include "verb.hpp"

namespace skep::tools {

struct ToolFacts {
  std::string_view name;  ///< the verb, and the embedded object
  std::string_view about;
  std::string_view examples;          ///< lines for --help
  bool user_engine = false;           ///< its events are there without privileges too
  bool kernel_first = false;          ///< a hit costs far less in the kernel: there, where that is permitted
  bool compiled_at_run_time = false;  ///< the program is given by use(); it has none of tool.bpf.h
};

class Kit {
 public:
  explicit Kit(const ToolFacts& facts);
  ~Kit();

  // ---- before parse()
  Options& options() { return app_; }
  void wants_pid();                        ///< -p, --pid
  void wants_tid(std::string_view flags);  ///< such as "-t,--tid"
  void wants_uid(std::string_view flags);  ///< a number or a name
  void wants_family();                     ///< -4, -6: the constant wanted_family
  void wants_duration(std::string_view flags);
  /// INTERVAL [COUNT]; `every_s` 0: one summary at the end.
  void wants_interval(double every_s);
  /// PID [INTERVAL]; with a command INTERVAL alone. Neither is an error.
  void wants_process_and_interval();

  /// A value is the exit status to end with.
  std::optional<int> parse(const Arguments& arguments);

  // ---- before run()
  /// What the options name is in the kernel only. A value is the exit status to end with: the user engine was asked
  /// for.
  std::optional<int> needs_kernel(std::string_view what);
  bool json() const { return json_; }
  /// Tells an error in the form that was asked for, and returns the exit status for it.
  int complain(const Error& error) const { return tools::complain(error, form()); }
  int complain(std::string_view message, int status = 2) const { return tools::complain(message, status, form()); }
  bool in_kernel() const { return in_kernel_; }
  bool has_command() const { return !workload_.command.empty(); }
  bool has_scope() const { return !workload_.command.empty() || workload_.pid != 0; }
  int pid() const { return workload_.pid; }
  const std::vector<std::string>& command() const { return workload_.command; }
  double interval_s() const { return interval_s_; }
  trace::Output& output() { return *output_; }
  ObjectSpec& spec() { return spec_; }
  /// The program of a tool that makes it itself.
  void use(ObjectSpec spec) { spec_ = std::move(spec); }
  /// Seconds between summaries, for tools with an option of their own; 0: one at the end.
  void print_every(double seconds) { interval_s_ = seconds; }
  /// Summaries after which the run ends; 0: no limit.
  void end_after_outputs(u64 count) { count_ = count; }
  double duration_s() const { return duration_s_; }
  /// The time to run where the options say none.
  void end_after(double seconds) { duration_s_ = seconds; }

  /// Sets a constant of the program. A name or size that the object does not have is a mistake of the tool: run()
  /// fails.
  template <class T>
  void set(std::string_view constant, T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    set_bytes(constant, std::as_bytes(std::span(&value, 1)));
  }
  /// Entries of a map, where the tool's options need more or fewer than the object says.
  void set_map_size(std::string_view map, u32 entries);
  /// Loads only programs of this stem when `wanted`.
  void only_if(bool wanted, std::string_view stem);

  /// A record that is shorter than T is counted as damaged and left out.
  template <class T>
  void on_record(std::string_view map, std::function<void(const T&)> handler) {
    on_bytes(map, sizeof(T), [handler = std::move(handler)](std::span<const std::byte> bytes) {
      T record;
      __builtin_memcpy(static_cast<void*>(&record), bytes.data(), sizeof record);
      handler(record);
    });
  }
  /// The same with what follows the `least` bytes.
  void on_bytes(std::string_view map, std::size_t least, std::function<void(std::span<const std::byte>)> handler);
  /// At every interval and, where there is no interval or it has not come yet, at the end.
  void on_summary(std::function<void()> handler) { on_summary_ = std::move(handler); }
  /// Stacks of programs will be asked for: of processes that may have ended by then.
  void name_stacks_by(symbols::Symbolizer& symbolizer) { symbolizer_ = &symbolizer; }
  /// Once the object is loaded, before anything is attached.
  void on_loaded(std::function<Result<void>(Object&)> handler) { on_loaded_ = std::move(handler); }
  /// More attachments than the sections say (user functions, perf events).
  void on_attach(std::function<Result<void>(Object&, std::vector<Link>&)> handler) { on_attach_ = std::move(handler); }

  /// Runs until the command or process ends, the time is over, or Ctrl-C. `on_start`: everything is attached.
  int run(const std::function<void()>& on_start = {});
  /// For on_attach: one place more. False, with a note, where that one cannot be had; run() fails when none can.
  bool attach_one(Program& program, const AttachTarget& target, std::vector<Link>& links);
  /// For on_attach: a function's entry and then its return, both or neither.
  bool attach_pair(Program& entry, Program& at_return, const AttachTarget& function, std::vector<Link>& links);
  std::size_t attached() const { return attached_; }
  /// Ends run() soon; from any thread.
  void stop();
  /// The same because of an error, which run() then tells. From a handler.
  void give_up(Error error);

  // ---- during run()
  /// Whether this alternative was chosen.
  bool is_loaded(std::string_view program) const;
  Object& object() { return *object_; }
  /// Every entry of a map, taken out when `take`. Typed; entries of another size fail the tool.
  template <class K, class V>
  Result<std::vector<std::pair<K, V>>> entries(std::string_view map, bool take = false);
  /// The same, as bytes of these sizes.
  Result<void> read_entries(std::string_view map, bool take, std::size_t key, std::size_t value,
                            const std::function<void(const std::byte*, const std::byte*)>& visit);

 private:
  struct Handler {
    std::string map;
    std::size_t least;
    std::function<void(std::span<const std::byte>)> call;
  };
  void set_bytes(std::string_view constant, std::span<const std::byte> value);
  std::optional<int> read_process_and_interval();
  Result<int> run_all(const std::function<void()>& on_start);
  Result<void> open_engine();
  Result<void> choose_programs();
  Result<void> point_at_target();
  Form form() const { return json_ ? Form::json : Form::text; }
  Result<std::vector<Link>> attach_all();
  Result<trace::Pump> open_pump();
  void follow_processes(trace::Pump& pump);
  void summary();

  ToolFacts facts_;
  Options app_;
  std::string backend_, btf_, user_;
  bool ipv4_ = false, ipv6_ = false, has_family_ = false;
  Workload workload_;
  u32 tid_ = 0;
  bool json_ = false, in_kernel_ = true, needs_interval_ = false, needs_process_ = false;
  std::vector<double> process_and_interval_;
  double duration_s_ = 0, interval_s_ = 0;
  u64 count_ = 0;
  std::unique_ptr<trace::Output> output_;
  ObjectSpec spec_;
  std::optional<Error> mistake_, failure_;
  std::vector<std::string> left_out_;  ///< stems
  std::vector<Handler> handlers_;
  std::function<void()> on_summary_;
  symbols::Symbolizer* symbolizer_ = nullptr;
  std::atomic<u32> command_pid_ = 0;  ///< once it has started
  std::function<Result<void>(Object&)> on_loaded_;
  std::function<Result<void>(Object&, std::vector<Link>&)> on_attach_;
  std::unique_ptr<Backend> engine_;
  std::optional<Object> object_;
  std::size_t attached_ = 0, refusals_ = 0;
  std::optional<Error> first_refusal_;  ///< of attach_one()
  std::atomic<u64> damaged_ = 0, summaries_ = 0;
  std::atomic<bool> stopped_ = false;
};

template <class K, class V>
Result<std::vector<std::pair<K, V>>> Kit::entries(std::string_view map, bool take) {
  std::vector<std::pair<K, V>> out;
  SKEP_TRY(read_entries(map, take, sizeof(K), sizeof(V), [&](const std::byte* key, const std::byte* value) {
    auto& [k, v] = out.emplace_back();
    __builtin_memcpy(static_cast<void*>(&k), key, sizeof k);
    __builtin_memcpy(static_cast<void*>(&v), value, sizeof v);
  }));
  return out;
}

// Each tool gives these two.
#define SKEP_TOOL(name)                         \
  extern const std::string_view name##_summary; \
  int name(const Arguments& arguments);
#define SKEP_TOOL_ALONE SKEP_TOOL
#include "tools.def"
#undef SKEP_TOOL
#undef SKEP_TOOL_ALONE

/// The bytes of a tool's object, unpacked. Errors: not_found.
Result<std::string> tool_object(std::string_view name);

/// Every built-in tool, by name.
std::span<const Verb> tools();

}  // namespace skep::tools
