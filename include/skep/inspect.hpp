// What can be seen of loaded objects, the same for the kernel, this process, and other processes' user engines.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <skep/insn.hpp>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <string>
#include <vector>

namespace skep {

class Map;

/// A fact that only some objects of a kind have, under bpftool's key.
struct Fact {
  enum class Form : u8 { text, number, json };  ///< json: `text` is a JSON value as it stands
  std::string name;
  std::string text;
  Form form = Form::text;
};

/// The facts bpftool prints of a program (same meaning as its JSON keys).
struct ProgramInfo {
  u32 id = 0;
  ProgramType type = ProgramType::unspec;
  std::string name;
  std::string tag;  ///< 16 hex digits
  bool gpl_compatible = false;
  u64 loaded_at = 0;  ///< seconds since 1970
  u32 uid = 0;
  u32 bytes_xlated = 0;
  bool jited = false;
  u32 bytes_jited = 0;
  u64 bytes_memlock = 0;
  std::vector<u32> map_ids;
  u32 btf_id = 0;
  u64 run_count = 0;
  u64 run_time_ns = 0;
  u64 recursion_misses = 0;  ///< runs that the kernel left out because the program was running on that CPU
  u64 insns_processed = 0;   ///< by the verifier that accepted it
  int host_pid = 0;          ///< user engine: the process it lives in; kernel: 0
  std::string host_name;     ///< that process's comm
  std::vector<std::string> pinned;
};

struct MapInfo {
  u32 id = 0;
  MapType type = MapType::unspec;
  std::string name;
  u32 flags = 0;
  u32 key_size = 0;
  u32 value_size = 0;
  u32 max_entries = 0;
  u64 map_extra = 0;  ///< arenas: the address that was asked for; bloom filters: hash functions
  u64 bytes_memlock = 0;
  bool frozen = false;
  u32 btf_id = 0;
  u32 btf_key_type_id = 0;
  u32 btf_value_type_id = 0;
  ProgramType owner_type = ProgramType::unspec;  ///< program arrays: what type of program they take; unspec: undecided
  bool owner_jited = false;
  int host_pid = 0;
  std::string host_name;
  std::vector<std::string> pinned;
};

struct LinkInfo {
  u32 id = 0;
  std::string type;         ///< "tracing", "raw_tracepoint", "perf_event", "syscall"
  std::string target;       ///< the hook in the command line's form
  u32 program_id = 0;       ///< 0: it holds no program (struct_ops)
  std::vector<Fact> facts;  ///< kernel: what bpftool prints of this type of link
  int host_pid = 0;
  std::string host_name;
  std::vector<std::string> pinned;
};

struct BtfInfo {
  u32 id = 0;
  u64 size_bytes = 0;
  bool is_kernel = false;
  std::string name;  ///< "vmlinux", a module's; "" for types that a program brought
  int host_pid = 0;
  std::string host_name;
};

/// A loaded program's instructions as they run (after relocation), with what the printer needs.
struct ProgramCode {
  std::vector<Insn> insns;
  std::vector<SourceLine> lines;
  std::vector<FunctionInfo> functions;
  /// Machine code, and whose: "x86-64", "arm64".
  std::vector<std::byte> jited;
  std::string machine;
  /// How much of `jited` each function takes, in order. Empty: it is one.
  std::vector<u32> jited_lengths;
  /// Kernel: where each function's machine code begins; a call's immediate is an index into this list.
  std::vector<u64> jited_addresses;
  /// Kernel: for each of `lines`, the address of its machine code. Empty: not known.
  std::vector<u64> jited_lines;
};

/// Input of a test run (BPF_PROG_TEST_RUN, the user engine's equal).
struct TestRun {
  std::vector<std::byte> data;     ///< the packet, for program types that have one
  std::vector<std::byte> context;  ///< the context structure
  u32 repeat = 1;
};
struct TestRunResult {
  u64 result = 0;                  ///< r0
  std::vector<std::byte> data;     ///< the packet afterwards
  std::vector<std::byte> context;  ///< the context afterwards
  u64 duration_ns = 0;             ///< mean per run
};

/// What can be pinned.
enum class ObjectKind : u8 { program, map, link };

/// Lists and opens objects. Implementations: the kernel, this process, a client of another process's control socket.
class Inspector {
 public:
  virtual ~Inspector() = default;
  virtual Result<std::vector<ProgramInfo>> programs() = 0;
  virtual Result<std::vector<MapInfo>> maps() = 0;
  virtual Result<std::vector<LinkInfo>> links() = 0;
  /// What the lists leave out and why, told by the last of them; "" where nothing is left out.
  virtual std::string left_out() const { return {}; }
  /// What is pinned at `path`. Where this process may not open others' objects by their ids, it is held open from then
  /// on, and its id is good for what else is asked here. Errors: unsupported (user hosts), not_found (nothing, or an
  /// object of another kind), permission (the file's rights).
  virtual Result<ProgramInfo> pinned_program(const std::filesystem::path& path);
  virtual Result<MapInfo> pinned_map(const std::filesystem::path& path);
  virtual Result<LinkInfo> pinned_link(const std::filesystem::path& path);
  virtual Result<ProgramCode> program_code(u32 program_id) = 0;
  virtual Result<Map> map(u32 map_id) = 0;
  /// Types by BTF object id (ProgramInfo::btf_id, MapInfo::btf_id).
  virtual Result<std::shared_ptr<const btf::Btf>> btf(u32 btf_id) = 0;
  virtual Result<std::vector<BtfInfo>> btfs() = 0;

  /// Runs a program once (or repeatedly) on a given context or packet. Errors: unsupported, not_found.
  virtual Result<TestRunResult> test_run(u32 program_id, const TestRun& run) = 0;
  /// Gives an object a path in bpffs, which keeps it. Errors: unsupported (user hosts: their objects live as long as
  /// they do), not_found, invalid_argument (the path is in no bpffs, or taken).
  virtual Result<void> pin(ObjectKind kind, u32 id, const std::filesystem::path& path);
  /// Makes a map that belongs to nobody yet. `inner_map_id`: the template of a map of maps, or 0.
  virtual Result<Map> create_map(const MapSpec& spec, u32 inner_map_id);
  /// Detaches a link from its hook, whoever holds it. Errors: unsupported where its type cannot.
  virtual Result<void> detach_link(u32 link_id);
};

/// One inspector for every user-engine process of this user that serves a control socket; stale sockets are removed.
std::vector<std::unique_ptr<Inspector>> user_hosts();
/// The kernel's objects; who may not list them is shown those that are pinned where he may open them. Errors:
/// unsupported (no bpf(2)).
Result<std::unique_ptr<Inspector>> kernel_inspector();

}  // namespace skep
