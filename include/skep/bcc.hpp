// BCC's way of writing a tracer in C++: C text in, attach by name, typed tables, events by callback.
//
//   auto bpf = SKEP_TRY(skep::bcc::Bpf::from_text(text));             // kernel; {.engine = "user"} without privileges
//   SKEP_TRY(bpf.attach_kprobe("__x64_sys_execve", "on_execve"));
//   SKEP_TRY(bpf.open_events("events", [](const skep::bcc::Event& e) { ... }));
//   while (bpf.poll(100ms)) {}
//   for (auto& [pid, count] : SKEP_TRY(bpf.table<int, uint64_t>("counts").items())) ...
//
// Header only, over the C interface (skep.h): link with libskep. Handles are move-only and end what they hold; a Bpf
// detaches everything when it goes. One thread at a time. Errors carry the whole message, a refusal with its C line.
#pragma once
#include <skep/skep.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <skep/result.hpp>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace skep::bcc {

/// The error of the C interface's last call on this thread.
inline tl::unexpected<Error> last_error() {
  // enum skep_code counts as Code does, with 0 for success in front.
  const int32_t code = skep_error_code();
  return tl::unexpected<Error>(
      Error{static_cast<Code>(code > 0 ? code - 1 : 0), skep_error_message(), skep_error_number()});
}

struct End {
  void operator()(skep_engine* e) const { skep_engine_close(e); }
  void operator()(skep_object* o) const { skep_object_close(o); }
  void operator()(skep_function* f) const { skep_function_close(f); }
  void operator()(skep_link* l) const { skep_link_close(l); }
  void operator()(skep_reader* r) const { skep_reader_close(r); }
  void operator()(skep_symbolizer* s) const { skep_symbolizer_close(s); }
};
template <class T>
using Handle = std::unique_ptr<T, End>;

/// Attachments that end at the same time: the kernel waits once for all of them.
class Links {
 public:
  Links() = default;
  Links(Links&& other) noexcept { links_.swap(other.links_); }
  Links& operator=(Links&& other) noexcept {
    links_.swap(other.links_);
    return *this;
  }
  ~Links() { clear(); }
  void add(Handle<skep_link> link) {
    links_.push_back(link.get());
    static_cast<void>(link.release());
  }
  void clear() {
    skep_links_close(links_.data(), links_.size());
    links_.clear();
  }

 private:
  std::vector<skep_link*> links_;
};

struct BpfOptions {
  const char* engine = "kernel";    ///< or "user", which observes one command or process: see start()
  std::vector<std::string> cflags;  ///< more arguments for clang
};

/// One record of a ring buffer or perf buffer; the bytes are valid during the call.
struct Event {
  std::span<const std::byte> bytes;
  uint32_t cpu = 0;
  /// The record as its type; nullptr where it is shorter.
  template <class T>
  const T* as() const {
    static_assert(std::is_trivially_copyable_v<T>);
    return bytes.size() < sizeof(T) ? nullptr : reinterpret_cast<const T*>(bytes.data());
  }
};

/// A map with one value for each key. Lives as long as its Bpf.
template <class Key, class Value>
class Table {
  static_assert(std::is_trivially_copyable_v<Key> && std::is_trivially_copyable_v<Value>);

 public:
  explicit Table(skep_table* table) : table_(table) {}
  /// Errors: not_found (no such key).
  Result<Value> get(const Key& key) const {
    Value value;
    SKEP_TRY(check());
    if (skep_table_lookup(table_, &key, &value) != 0) return last_error();
    return value;
  }
  Result<void> set(const Key& key, const Value& value) const {
    SKEP_TRY(check());
    if (skep_table_update(table_, &key, &value, 0) != 0) return last_error();
    return {};
  }
  Result<void> remove(const Key& key) const {
    SKEP_TRY(check());
    if (skep_table_delete(table_, &key) != 0) return last_error();
    return {};
  }
  /// Every entry; `take` empties the map.
  Result<std::vector<std::pair<Key, Value>>> items(bool take = false) const {
    SKEP_TRY(check());
    skep_entries entries{};
    entries.size = sizeof entries;
    if (skep_table_read_all(table_, take ? SKEP_ENTRIES_TAKE : SKEP_ENTRIES_READ, &entries) != 0) return last_error();
    std::vector<std::pair<Key, Value>> out(entries.count);
    for (uint64_t i = 0; i < entries.count; ++i) {
      std::memcpy(static_cast<void*>(&out[i].first), static_cast<const char*>(entries.keys) + i * sizeof(Key),
                  sizeof(Key));
      std::memcpy(static_cast<void*>(&out[i].second), static_cast<const char*>(entries.values) + i * sizeof(Value),
                  sizeof(Value));
    }
    skep_entries_close(&entries);
    return out;
  }
  Result<void> clear() const {
    if (table_ == nullptr || skep_table_clear(table_) < 0) return last_error();
    return {};
  }

 private:
  /// Nothing is copied before both sizes agree.
  Result<void> check() const {
    if (table_ == nullptr) return fail(Code::not_found, "there is no such table");
    skep_table_info info{};
    info.size = sizeof info;
    if (skep_table_describe(table_, &info) != 0) return last_error();
    if (info.key_size == sizeof(Key) && info.stored_value_size == sizeof(Value)) return {};
    return fail(Code::invalid_argument, "table " + std::string(info.name) + ": keys and values have " +
                                            std::to_string(info.key_size) + " and " +
                                            std::to_string(info.stored_value_size) + " bytes, the types given " +
                                            std::to_string(sizeof(Key)) + " and " + std::to_string(sizeof(Value)));
  }
  skep_table* table_;
};

class Bpf {
 public:
  /// C in BCC's dialect, or libbpf's style. Nothing is loaded yet but the maps.
  static Result<Bpf> from_text(std::string_view text, const BpfOptions& options = {}) {
    return open(options, [&](skep_engine* engine, const skep_compile_options* compile) {
      return skep_object_open_text(engine, text.data(), text.size(), "program.c", compile);
    });
  }
  static Result<Bpf> from_file(const std::string& path, const BpfOptions& options = {}) {
    return open(options, [&](skep_engine* engine, const skep_compile_options* compile) {
      return skep_object_open_file(engine, path.c_str(), compile);
    });
  }

  /// Loads `function`, unless it is, and attaches it. `where`: as `skep run --attach` has it; pid: user functions and
  /// perf events, in this process only.
  Result<void> attach(const std::string& function, const std::string& where, int pid = 0) {
    skep_function* loaded = SKEP_TRY(load(function, where));
    Handle<skep_link> link(skep_function_attach(loaded, where.c_str(), pid, 0));
    if (!link) return last_error();
    links_.add(std::move(link));
    return {};
  }
  Result<void> attach_kprobe(const std::string& kernel_function, const std::string& function) {
    return attach(function, "kprobe:" + kernel_function);
  }
  Result<void> attach_kretprobe(const std::string& kernel_function, const std::string& function) {
    return attach(function, "kretprobe:" + kernel_function);
  }
  /// `tracepoint`: "sched:sched_switch".
  Result<void> attach_tracepoint(const std::string& tracepoint, const std::string& function) {
    return attach(function, "tracepoint:" + tracepoint);
  }
  Result<void> attach_raw_tracepoint(const std::string& tracepoint, const std::string& function) {
    return attach(function, "raw_tracepoint:" + tracepoint);
  }
  Result<void> attach_uprobe(const std::string& file, const std::string& symbol, const std::string& function,
                             int pid = 0) {
    return attach(function, "uprobe:" + file + ":" + symbol, pid);
  }
  Result<void> attach_uretprobe(const std::string& file, const std::string& symbol, const std::string& function,
                                int pid = 0) {
    return attach(function, "uretprobe:" + file + ":" + symbol, pid);
  }
  /// `event`: "cpu-clock:99hz".
  Result<void> attach_perf_event(const std::string& event, const std::string& function, int pid = 0) {
    return attach(function, "perf_event:" + event, pid);
  }
  /// Detaches everything.
  void detach_all() { links_.clear(); }

  /// The user engine's command, or the process it observes; in the kernel engine the command alone is started.
  Result<void> start(const std::vector<std::string>& command, int pid = 0) {
    std::vector<const char*> words;
    for (const std::string& word : command) words.push_back(word.c_str());
    words.push_back(nullptr);
    if (skep_engine_start(engine_.get(), command.empty() ? nullptr : words.data(), pid) != 0) return last_error();
    started_ = true;
    return {};
  }

  template <class Key, class Value>
  Table<Key, Value> table(const std::string& name) {
    return Table<Key, Value>(skep_object_table(object_.get(), name.c_str()));
  }

  /// Records of a ring buffer or perf buffer go to `on_event`, during poll().
  Result<void> open_events(const std::string& table, std::function<void(const Event&)> on_event) {
    skep_table* found = skep_object_table(object_.get(), table.c_str());
    if (found == nullptr) return last_error();
    return add_reader(skep_table_reader(found), std::move(on_event));
  }
  /// Lines of bpf_trace_printk go to `on_line`, during poll().
  Result<void> open_trace(std::function<void(std::string_view)> on_line) {
    return add_reader(skep_engine_trace_reader(engine_.get()), [on_line = std::move(on_line)](const Event& event) {
      on_line({reinterpret_cast<const char*>(event.bytes.data()), event.bytes.size()});
    });
  }
  /// Waits for records, up to `timeout`, and hands them out. False: the command has ended and nothing is left.
  Result<bool> poll(std::chrono::milliseconds timeout) {
    std::vector<skep_reader*> all;
    for (const auto& reader : readers_) all.push_back(reader.handle.get());
    const int64_t taken = skep_readers_poll(all.data(), all.size(), started_ ? engine_.get() : nullptr,
                                            static_cast<int32_t>(timeout.count()));
    if (taken < 0) return last_error();
    for (const auto& reader : readers_) {
      const skep_record* records = nullptr;
      const uint64_t count = skep_reader_records(reader.handle.get(), &records);
      for (uint64_t i = 0; i < count; ++i)
        reader.on_event({{static_cast<const std::byte*>(records[i].data), records[i].size}, records[i].cpu});
    }
    if (taken > 0 || !started_) return true;
    skep_workload workload{};
    workload.size = sizeof workload;
    if (skep_engine_workload(engine_.get(), &workload) != 0) return last_error();
    return workload.state == SKEP_WORKLOAD_RUNNING;
  }
  /// Records that did not fit, since their readers were opened.
  uint64_t lost() const {
    uint64_t sum = 0;
    for (const auto& reader : readers_) sum += skep_reader_lost(reader.handle.get());
    return sum;
  }

  /// The function that an address of a process, or of the kernel (pid -1), lies in; "[unknown]".
  std::string symbol(int pid, uint64_t address) {
    if (!symbols_) symbols_.reset(skep_symbolizer_open());
    skep_frame frame{};
    frame.size = sizeof frame;
    if (!symbols_ || skep_symbolizer_find(symbols_.get(), pid, address, &frame) != 1) return "[unknown]";
    return frame.demangled;
  }
  /// The addresses of a stack in a stack trace table, innermost first; empty where it is gone.
  std::vector<uint64_t> stack(const std::string& table, int id) {
    std::vector<uint64_t> frames;
    skep_table* found = skep_object_table(object_.get(), table.c_str());
    skep_table_info info{};
    info.size = sizeof info;
    if (id < 0 || found == nullptr || skep_table_describe(found, &info) != 0 || info.key_size != sizeof id)
      return frames;
    frames.resize(info.stored_value_size / sizeof(uint64_t));
    if (skep_table_lookup(found, &id, frames.data()) != 0) return {};
    std::size_t depth = 0;
    while (depth < frames.size() && frames[depth] != 0) ++depth;
    frames.resize(depth);
    return frames;
  }

  /// Everything else of the C interface.
  skep_engine* engine() const { return engine_.get(); }
  skep_object* object() const { return object_.get(); }

 private:
  struct Reader {
    Handle<skep_reader> handle;
    std::function<void(const Event&)> on_event;
  };

  template <class Read>
  static Result<Bpf> open(const BpfOptions& options, Read&& read) {
    Bpf out;
    out.engine_.reset(skep_engine_open(options.engine));
    if (!out.engine_) return last_error();
    std::vector<const char*> flags;
    for (const std::string& flag : options.cflags) flags.push_back(flag.c_str());
    flags.push_back(nullptr);
    skep_compile_options compile{};
    compile.size = sizeof compile;
    compile.cflags = flags.data();
    out.object_.reset(read(out.engine_.get(), &compile));
    if (!out.object_) return last_error();
    return out;
  }

  Result<skep_function*> load(const std::string& function, const std::string& where) {
    const auto key = std::pair(function, where);
    if (const auto known = functions_.find(key); known != functions_.end()) return known->second.get();
    Handle<skep_function> loaded(skep_function_load(object_.get(), function.c_str(), 0, where.c_str()));
    if (!loaded) return last_error();
    return functions_.emplace(key, std::move(loaded)).first->second.get();
  }

  Result<void> add_reader(skep_reader* opened, std::function<void(const Event&)> on_event) {
    Handle<skep_reader> handle(opened);
    if (!handle) return last_error();
    readers_.push_back({std::move(handle), std::move(on_event)});
    return {};
  }

  // In the order in which they may end: last to first.
  Handle<skep_engine> engine_;
  Handle<skep_object> object_;
  std::map<std::pair<std::string, std::string>, Handle<skep_function>> functions_;
  Links links_;
  std::vector<Reader> readers_;
  Handle<skep_symbolizer> symbols_;
  bool started_ = false;
};

}  // namespace skep::bcc
