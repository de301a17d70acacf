// The engine inside your own program: verified eBPF functions at your own hooks, without kernel, root or hooks of ours.
//
//   skep::host::Options options;
//   options.context = {.name = "struct request", .bytes = sizeof(Request)};  // what programs get as r1
//   auto module  = SKEP_TRY(skep::host::Module::from_file("filter.bpf.o", options));
//   auto program = SKEP_TRY(module.program("on_request"));
//   if (program.run(&request) == 0) drop(request);
//
// Programs are those of any object file: maps, helpers, subprograms, tail calls. What r1 points to is up to the
// section: SEC("syscall") gets the host's own structure, field by field as Options::context says; SEC("xdp"), SEC("tc")
// and SEC("socket") get a packet, which may be any bytes the host has.
//
// What a program may do is touch its context, its maps and its own stack, and call helpers. It reads no other memory of
// the process: bpf_probe_read_user() and its relatives answer -EFAULT or -EPERM here. It ends: the verifier proves that
// its loops do, though not how soon.
//
// Ownership: Module, Program and Map are shared handles; each keeps what it needs. Threads: any number may run programs
// and use maps at once; loading is free of shared state. Values of per-CPU maps are those of the CPU the run began on:
// two threads that take turns on a CPU share them, so programs that count there in several threads add atomically.
// C programs take the same engine from <skep/skep_vm.h>. Guide: docs/guides/embed.md.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <skep/backend.hpp>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skep::host {

/// What a helper's argument must be; the verifier proves it before the program ever runs.
enum class Argument : u8 {
  number,   ///< any value
  context,  ///< the run's context
  read,     ///< memory to read; the next argument is its size
  write,    ///< memory to fill; the next argument is its size
  size,     ///< bytes of the memory before it, not 0
};

/// A helper of the host's. Called by machine code: it must return, on any thread that runs programs, and nothing may be
/// thrown out of it. `run` is for host_data().
using HelperFn = u64 (*)(void* run, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) noexcept;

struct Helper {
  u32 id = 0;  ///< 1000 to 1999: programs call it by this number
  std::string name;
  std::vector<Argument> arguments;  ///< at most five
  HelperFn function = nullptr;
};
inline constexpr u32 first_helper_id = 1000, last_helper_id = 1999;

/// The pointer that was given to Program::run(), for the host's helpers.
void* host_data(void* run) noexcept;

/// A field of the host's structure. Programs access fields at constant offsets only.
struct ContextField {
  enum class Kind : u8 {
    number,      ///< 1, 2, 4 or 8 bytes, aligned; written whole
    bytes,       ///< an array: any aligned 1, 2, 4 or 8 bytes of it
    data_begin,  ///< a pointer (8 bytes) to bytes that programs may read after they compared it with data_end
    data_end,    ///< the pointer behind them
  };
  std::string name;
  u32 offset = 0, size = 0;
  Kind kind = Kind::number;
  bool writable = false;  ///< numbers and bytes; pointers never are
};

/// The structure that SEC("syscall") programs get.
struct ContextType {
  std::string name;  ///< as in the program's source: functions that take a pointer to it receive the context
  u32 bytes = 0;     ///< at most 4096; 0: programs get no context
  /// Empty: all of it is numbers, readable and writable, at any offset the verifier can bound.
  std::vector<ContextField> fields;
  bool data_writable = false;  ///< whether programs may change the bytes from data_begin on
};

enum class Tier : u8 {
  automatic,    ///< machine code at once, better machine code for what is hot
  interpreter,  ///< no machine code
  baseline,
  optimised,
};

/// Compiles hot programs in a thread of its own. Modules that are given the same one share it.
class Compiler {
 public:
  static Compiler create();

  struct Data;

 private:
  friend class Loader;
  explicit Compiler(std::shared_ptr<Data> data) : data_(std::move(data)) {}
  std::shared_ptr<Data> data_;
};

struct Options {
  ContextType context;
  std::vector<Helper> helpers;
  Tier tier = Tier::automatic;
  /// For Tier::automatic. None: the module has its own, with a thread that starts when it is first needed.
  std::optional<Compiler> compiler;
  /// Numbers of the program do not appear in machine code as they are (such programs stay in the baseline tier): for
  /// programs of somebody who might hide machine code in numbers.
  bool blind_constants = false;
  /// Lines of bpf_trace_printk, in the trace pipe's form; called by the thread that runs the program and must not
  /// throw. Empty: dropped.
  std::function<void(std::string_view line)> on_trace;
};

/// A packet with room around it, for programs that make it longer or shorter.
struct PacketBuffer {
  std::span<std::byte> room;
  std::size_t offset = 0;  ///< where in `room` the packet begins, before and after the run
  std::size_t size = 0;    ///< its bytes
};

/// A verified program, ready to run. Cheap to copy; keeps its module alive. Any number of threads may run it.
class Program {
 public:
  /// Runs it on the host's structure, which has ContextType::bytes bytes: r0. Never fails, allocates nothing. `host` is
  /// what host_data() gives to helpers. A packet program gets an empty packet.
  u64 run(void* context, void* host = nullptr) const noexcept;
  /// Runs a packet program on `packet`, which it may change in place. Other programs do not run: 0.
  u64 run_packet(std::span<std::byte> packet, void* host = nullptr) const noexcept;
  /// The same with room to move: bpf_xdp_adjust_head() and others succeed inside of it.
  u64 run_packet(PacketBuffer& packet, void* host = nullptr) const noexcept;

  const std::string& name() const noexcept;
  /// Whether run_packet() is the way to run it (xdp, tc, socket programs).
  bool takes_packet() const noexcept;
  /// "interpreter", "baseline", "optimised": what the next run is in. The text is static.
  std::string_view tier() const noexcept;

  struct Data;
  explicit Program(std::shared_ptr<const Data> data) : data_(std::move(data)) {}

 private:
  std::shared_ptr<const Data> data_;
};

/// An object's programs and maps.
class Module {
 public:
  /// Reads, verifies and compiles every program that loads by default. The bytes may be an ELF object or a classic
  /// filter (`tcpdump -ddd`). `name` is for messages.
  /// Errors: malformed, rejected (the verifier's explanation), unsupported (names what this engine lacks),
  /// invalid_argument (a helper, a context field; each names what is wrong with it), limit.
  static Result<Module> from_bytes(std::span<const std::byte> bytes, std::string_view name,
                                   const Options& options = {});
  static Result<Module> from_file(const std::filesystem::path& path, const Options& options = {});
  /// Bare 8-byte instructions as one program named like the module.
  static Result<Module> from_instructions(std::span<const Insn> insns, ProgramType type, std::string_view name,
                                          const Options& options = {});
  static Result<Module> from_spec(const ObjectSpec& spec, const Options& options = {});

  /// The program of that name; "" means the only one. Errors: not_found, with the names there are.
  Result<Program> program(std::string_view name = {}) const;
  /// A map, which outlives the module if need be. Errors: not_found.
  Result<Map> map(std::string_view name) const;
  std::vector<std::string> program_names() const;
  std::vector<std::string> map_names() const;

  struct Data;
  explicit Module(std::shared_ptr<const Data> data) : data_(std::move(data)) {}

 private:
  std::shared_ptr<const Data> data_;
};

}  // namespace skep::host
