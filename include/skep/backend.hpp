// One interface, two engines: everything a person touches speaks to Backend.
//
//   auto spec   = SKEP_TRY(skep::ObjectSpec::from_file("execsnoop.bpf.o"));
//   auto engine = SKEP_TRY(skep::user_backend());          // or kernel_backend(); the rest is the same
//   auto object = SKEP_TRY(engine->load(spec));            // verified, compiled, maps made
//   auto link   = SKEP_TRY(SKEP_TRY(object.program("on_exec")).attach());
//   auto status = SKEP_TRY(engine->run({.command = {"sh", "-c", "ls; date"}}));
//
// Program and Map are shared handles, as file descriptors are. Link is move-only and detaches when it goes.
#pragma once
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <skep/inspect.hpp>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <span>
#include <string>
#include <vector>

namespace skep {

/// Detaches its program when it goes out of scope.
class Link {
 public:
  struct Impl {
    virtual ~Impl() = default;  ///< detaches
    /// Whether its end has to wait for the machine, as others may at the same time: see detach_all().
    virtual bool waits_to_end() const { return false; }
    /// A line for the user where the hook was carried by another one ("kprobe carried by raw_tracepoint/sys_enter"),
    /// and one for each other place where the program is attached, or whose calls it does not see; or "".
    virtual std::string carried_by() const { return {}; }
    virtual std::vector<u32> ids() const { return {}; }
    virtual Result<void> leave() {
      return fail(Code::unsupported, "this attachment ends with the process that made it");
    }
    virtual Result<void> read_output(const std::function<bool(std::string_view)>&) {
      return fail(Code::unsupported, "this attachment writes nothing: only iterators do");
    }
  };
  explicit Link(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
  void detach() { impl_.reset(); }
  bool waits_to_end() const { return impl_ != nullptr && impl_->waits_to_end(); }
  /// Gives the attachment up: it stays when this process ends, until somebody undoes it. Errors: unsupported where it
  /// is held by a descriptor (pin the link instead) or lives in this process.
  Result<void> leave() {
    if (!impl_) return fail(Code::invalid_argument, "the link was detached");
    return impl_->leave();
  }
  std::string carried_by() const { return impl_ ? impl_->carried_by() : std::string(); }
  /// The numbers under which the engine's inspector lists it: as a rule one; none where the kernel attaches without a
  /// link, several where it takes a link for each place.
  std::vector<u32> ids() const { return impl_ ? impl_->ids() : std::vector<u32>(); }
  /// Iterators: runs the program over everything it walks, and hands out what it wrote, piece by piece, until
  /// `on_text` gives false. Each call is a walk of its own. Errors: unsupported for other hooks.
  Result<void> read_output(const std::function<bool(std::string_view)>& on_text) {
    if (!impl_) return fail(Code::invalid_argument, "the link was detached");
    return impl_->read_output(on_text);
  }

 private:
  std::unique_ptr<Impl> impl_;
};

/// Detaches all, of whichever engines they are: in order, but those that wait for the machine before, all at once (user
/// probes in the kernel: 40 ms each).
void detach_all(std::span<Link* const> links);
void detach_all(std::vector<Link>& links);

/// A loaded program.
class Program {
 public:
  struct Impl {
    virtual ~Impl() = default;
    virtual const ProgramInfo& info() const = 0;
    virtual Result<Link> attach(const AttachTarget& target) = 0;
    virtual Result<TestRunResult> test_run(const TestRun& run) = 0;
  };
  Program(std::shared_ptr<Impl> impl, AttachTarget target) : impl_(std::move(impl)), target_(std::move(target)) {}

  const ProgramInfo& info() const { return impl_->info(); }
  const AttachTarget& target() const { return target_; }
  /// Attaches where its section says. Errors: not_found (no such hook, or the section names none),
  /// unsupported (this engine has no such hook), permission. Attaching to nothing is an error.
  Result<Link> attach() { return impl_->attach(target_); }
  Result<Link> attach(const AttachTarget& target) { return impl_->attach(target); }
  /// Runs the program once (or repeatedly) on a given context or packet, attached to nothing.
  Result<TestRunResult> test_run(const TestRun& run) { return impl_->test_run(run); }

 private:
  std::shared_ptr<Impl> impl_;
  AttachTarget target_;
};

/// What came out of a ring buffer or a perf event array.
struct Record {
  std::span<const std::byte> data;  ///< valid during the call only
  u32 cpu = 0;                      ///< perf event arrays: the CPU's buffer; ring buffers: 0
};

/// Reads a ring buffer or a perf event array.
class RingReader {
 public:
  struct Impl {
    virtual ~Impl() = default;
    virtual Result<std::size_t> poll(std::chrono::milliseconds timeout,
                                     const std::function<void(const Record&)>& on_record) = 0;
    virtual u64 lost() const = 0;
    virtual int wait_fd() const = 0;
  };
  explicit RingReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
  /// Hands every waiting record to `on_record`; waits up to `timeout` for the first. Returns how many there were.
  Result<std::size_t> poll(std::chrono::milliseconds timeout, const std::function<void(const Record&)>& on_record) {
    return impl_->poll(timeout, on_record);
  }
  /// Records that did not fit, since the reader was opened.
  u64 lost() const { return impl_->lost(); }
  /// Readable when records wait: for poll(2) and epoll.
  int wait_fd() const { return impl_->wait_fd(); }

 private:
  std::unique_ptr<Impl> impl_;
};

/// Writes records that programs take: the other end of bpf_user_ringbuf_drain(). Several threads may use one writer; a
/// ring has one.
class RingWriter {
 public:
  struct Impl {
    virtual ~Impl() = default;
    virtual Result<std::span<std::byte>> reserve(u32 bytes, std::chrono::milliseconds timeout) = 0;
    virtual void finish(std::span<std::byte> record, bool discard) noexcept = 0;
  };
  explicit RingWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
  /// Room for a record, which is filled and then given to submit() or discard(); until then those behind it wait.
  /// Waits up to `timeout` for programs to take what is there. Errors: limit (no room; or larger than the whole ring).
  Result<std::span<std::byte>> reserve(u32 bytes, std::chrono::milliseconds timeout = {}) {
    return impl_->reserve(bytes, timeout);
  }
  void submit(std::span<std::byte> record) noexcept { impl_->finish(record, false); }
  void discard(std::span<std::byte> record) noexcept { impl_->finish(record, true); }
  /// A whole record. Errors: those of reserve().
  Result<void> write(std::span<const std::byte> data, std::chrono::milliseconds timeout = {}) {
    if (data.size() > ~u32{0}) return fail(Code::limit, "user ring buffer: a record of 4 GiB or more fits into none");
    const auto place = SKEP_TRY(reserve(static_cast<u32>(data.size()), timeout));
    if (!data.empty()) __builtin_memcpy(place.data(), data.data(), data.size());
    submit(place);
    return {};
  }

 private:
  std::unique_ptr<Impl> impl_;
};

/// Entries of a map, read many at once: what walks over large maps are made of.
struct MapBatch {
  u32 room = 4096;                  ///< the most entries wanted
  std::vector<std::byte> keys;      ///< `count` of them, side by side
  std::vector<std::byte> values;    ///< as many, each as Map::lookup() gives it
  std::vector<int> errors;          ///< errno by entry where a value could not be read; empty: all could
  u32 count = 0;                    ///< may be 0 before the end
  bool last = false;                ///< nothing follows
  std::vector<std::byte> position;  ///< where the walk goes on: the engine's own mark
};

/// A map of a loaded object, or one opened by id. Copies in and out; keys and values are in host byte order.
/// Per-CPU maps: a value is `possible_cpus * round_up(value_size, 8)` bytes, one slot a CPU, as in the kernel.
class Map {
 public:
  struct Impl {
    virtual ~Impl() = default;
    virtual const MapInfo& info() const = 0;
    virtual Result<std::vector<std::byte>> lookup(std::span<const std::byte> key) = 0;
    /// lookup() without memory of its own, where the engine can.
    virtual Result<void> lookup_into(std::span<const std::byte> key, std::span<std::byte> value) {
      const auto found = SKEP_TRY(lookup(key));
      if (found.size() != value.size())
        return fail(Code::invalid_argument, "map " + info().name + ": the value has " + std::to_string(found.size()) +
                                                " bytes, the buffer " + std::to_string(value.size()));
      if (!found.empty()) __builtin_memcpy(value.data(), found.data(), found.size());
      return {};
    }
    virtual Result<void> update(std::span<const std::byte> key, std::span<const std::byte> value, u64 flags) = 0;
    virtual Result<void> erase(std::span<const std::byte> key) = 0;
    virtual Result<std::optional<std::vector<std::byte>>> next_key(std::optional<std::span<const std::byte>> key) = 0;
    virtual Result<RingReader> open_ring() = 0;
    virtual Result<RingWriter> open_ring_writer() {
      return fail(Code::unsupported, "map " + info().name + ": only user ring buffers take records from their host");
    }
    virtual Result<std::span<std::byte>> memory() {
      return fail(Code::unsupported, "map " + info().name + ": this engine shares no memory of it");
    }
    /// lookup() that takes the element out.
    virtual Result<std::vector<std::byte>> take(std::span<const std::byte> key) = 0;
    virtual Result<void> freeze() = 0;
    /// The default goes from key to key.
    virtual Result<void> next_batch(MapBatch& batch);
  };
  explicit Map(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

  const MapInfo& info() const { return impl_->info(); }
  /// Errors: not_found (no such key), invalid_argument (key or value of the wrong size), unsupported.
  Result<std::vector<std::byte>> lookup(std::span<const std::byte> key) const { return impl_->lookup(key); }
  /// The same into `value`, which is exactly as large as the map's values.
  Result<void> lookup_into(std::span<const std::byte> key, std::span<std::byte> value) const {
    return impl_->lookup_into(key, value);
  }
  /// flags: 0 any, 1 only if absent (BPF_NOEXIST), 2 only if present (BPF_EXIST).
  Result<void> update(std::span<const std::byte> key, std::span<const std::byte> value, u64 flags = 0) const {
    return impl_->update(key, value, flags);
  }
  Result<void> erase(std::span<const std::byte> key) const { return impl_->erase(key); }
  /// The key after `key`, the first where there is none or `key` is gone; nullopt after the last.
  Result<std::optional<std::vector<std::byte>>> next_key(std::optional<std::span<const std::byte>> key) const {
    return impl_->next_key(key);
  }
  /// Looks an element up and takes it out, as one step: hashes; queues and stacks with a key of no bytes.
  Result<std::vector<std::byte>> take(std::span<const std::byte> key) const { return impl_->take(key); }
  /// From now on only programs can change it.
  Result<void> freeze() const { return impl_->freeze(); }
  /// The entries that follow batch.position, an empty one being the beginning. A map that changes meanwhile may give an
  /// entry twice or leave one out. Errors: those of lookup() that mean the whole map; invalid_argument for a batch
  /// without room, or of another map.
  Result<void> next_batch(MapBatch& batch) const;
  /// Ring buffers and perf event arrays only.
  Result<RingReader> open_ring() const { return impl_->open_ring(); }

  /// User ring buffers only.
  Result<RingWriter> open_ring_writer() const { return impl_->open_ring_writer(); }
  /// The map's memory itself, shared with programs: arenas (begin() is the address that programs see), and arrays with
  /// BPF_F_MMAPABLE (values of round_up(value_size, 8) bytes, one after the other). Valid as long as a handle to the
  /// map is. Errors: unsupported (other maps), permission, io.
  Result<std::span<std::byte>> memory() const { return impl_->memory(); }

  /// What the engine made: for engines, which look for their own maps among those that are handed to them.
  const std::shared_ptr<Impl>& impl() const { return impl_; }

  /// Typed access for trivially copyable keys and values; sizes are checked against the map's.
  template <class V, class K>
  Result<V> get(const K& key) const;

 private:
  std::shared_ptr<Impl> impl_;
};

template <class V, class K>
Result<V> Map::get(const K& key) const {
  static_assert(std::is_trivially_copyable_v<V> && std::is_trivially_copyable_v<K>);
  auto bytes = SKEP_TRY(lookup(std::as_bytes(std::span(&key, 1))));
  if (bytes.size() != sizeof(V))
    return fail(Code::invalid_argument, "map " + info().name + ": the value is " + std::to_string(bytes.size()) +
                                            " bytes, asked for " + std::to_string(sizeof(V)));
  V value;
  __builtin_memcpy(&value, bytes.data(), sizeof value);
  return value;
}

/// A loaded object: its programs and maps live as long as a handle to them does.
class Object {
 public:
  Object(std::string name, std::vector<Program> programs, std::vector<Map> maps)
      : name_(std::move(name)), programs_(std::move(programs)), maps_(std::move(maps)) {}
  const std::string& name() const { return name_; }
  std::span<Program> programs() { return programs_; }
  std::span<Map> maps() { return maps_; }
  Result<Program> program(std::string_view name) const;
  Result<Map> map(std::string_view name) const;

 private:
  std::string name_;
  std::vector<Program> programs_;
  std::vector<Map> maps_;
};

struct LoadOptions {
  std::vector<std::string> programs;  ///< names to load; empty: all with autoload
  bool verifier_log = false;          ///< keep the full log of an accepted program too
  /// Maps that are there already: the object's map of that name is this one, made by the same engine, and none is
  /// made. So programs of one object can be loaded one after the other, and objects can share a map.
  struct Given {
    std::string name;  ///< in ObjectSpec::maps
    Map map;
  };
  std::vector<Given> maps;
};

/// What to observe and how long.
struct Workload {
  std::vector<std::string> command;  ///< argv to start, or empty
  int pid = 0;                       ///< a running process to observe (user engine), or 0
  /// Called by run() when the hooks are in place and notes() are complete, with the command's process id (0: none).
  std::function<void(int command_pid)> on_start;
};

/// How the workload ended.
struct RunResult {
  bool exited = false;  ///< a command or process ended by itself; false: stop() was called first
  int wait_status = 0;  ///< as waitpid(2) gives it; valid when `exited` and a command was started
};

/// An engine.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;  ///< "user" or "kernel"
  /// Verifies and loads. Errors: rejected (message = the explanation), unsupported (names what is missing and where it
  /// exists).
  virtual Result<Object> load(const ObjectSpec& spec, const LoadOptions& options = {}) = 0;
  /// Starts the workload, serves the hooks until it ends or stop() is called. Programs must be attached before.
  /// An empty workload waits for stop() (kernel engine; an error on the user engine, which has nothing to observe).
  virtual Result<RunResult> run(const Workload& workload) = 0;
  /// Ends run() soon. Safe from any thread and from a signal handler.
  virtual void stop() noexcept = 0;
  /// trace_printk lines of this engine's programs; each call hands out complete lines without the newline.
  virtual Result<RingReader> open_trace_pipe() = 0;
  /// The objects of this engine, as `skep prog show` lists them.
  virtual Inspector& inspector() = 0;
  /// One line for people: which mechanism observes, and what was substituted ("" when there is nothing to say).
  virtual std::string notes() const { return {}; }
  /// The full verifier logs of the last load(): of the program that was refused, and with LoadOptions::verifier_log
  /// of the accepted ones ("" when there is none).
  virtual std::string verifier_log() const { return {}; }
};

struct UserOptions {
  bool serve_control_socket = true;  ///< lets `skep prog show` and others see this process
};

/// The engine in this process: no privileges, no kernel support needed.
Result<std::unique_ptr<Backend>> user_backend(const UserOptions& options = {});

struct KernelOptions {
  std::filesystem::path btf;  ///< kernel types for CO-RE; empty: /sys/kernel/btf/vmlinux
  /// A bpffs of this user namespace that delegates (delegate_cmds=...), from which a process that may not use bpf(2)
  /// makes its token (Linux 6.9). Empty: the variable LIBBPF_BPF_TOKEN_PATH, else /sys/fs/bpf.
  std::filesystem::path token;
};

/// The Linux kernel through bpf(2). Errors: permission and unsupported, naming the capability or kernel feature that is
/// missing.
Result<std::unique_ptr<Backend>> kernel_backend(const KernelOptions& options = {});

}  // namespace skep
