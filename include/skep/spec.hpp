// What an object file says, as plain values: the first stage of every flow.
//
// ObjectSpec -> VerifiedProgram -> running program. A spec is the same on every machine: nothing here
// was asked of the kernel or of an engine. It can be read from an ELF object, inspected, changed and
// handed to any Backend.
#pragma once
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <skep/insn.hpp>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skep {

namespace btf {
class Btf;
}

/// Map types by their UAPI numbers (tables/map_types.def).
enum class MapType : u32 {
  unspec = 0,
#define SKEP_MAP_TYPE(name, number, printed, since) name = number,
#include <skep/tables/map_types.def>
#undef SKEP_MAP_TYPE
};

/// Program types by their UAPI numbers (tables/program_types.def).
enum class ProgramType : u32 {
  unspec = 0,
#define SKEP_PROGRAM_TYPE(name, number, printed, since) name = number,
#include <skep/tables/program_types.def>
#undef SKEP_PROGRAM_TYPE
};

/// Attach types by their UAPI numbers (tables/attach_types.def); `none` where a program type has none.
enum class AttachType : u32 {
#define SKEP_ATTACH_TYPE(name, number) name = number,
#include <skep/tables/attach_types.def>
#undef SKEP_ATTACH_TYPE
  none = 0xffffffff,
};

/// Where a program goes, by section prefix (tables/attach_points.def).
enum class AttachKind : u16 {
  none = 0,
#define SKEP_ATTACH_POINT(name, section, program_type, attach_type, target) name,
#include <skep/tables/attach_points.def>
#undef SKEP_ATTACH_POINT
};

/// bpftool's name of a map type ("percpu_hash"), or "unknown".
std::string_view name_of(MapType type) noexcept;
/// bpftool's name of a program type ("raw_tracepoint"), or "unknown".
std::string_view name_of(ProgramType type) noexcept;
/// The section prefix of an attach kind ("tracepoint"), or "".
std::string_view name_of(AttachKind kind) noexcept;

/// One place to attach a program to: the row, and what it names there.
struct AttachTarget {
  AttachKind kind = AttachKind::none;
  std::string target;  ///< "syscalls/sys_enter_openat", "execve", "__x64_sys_execve"; may be empty
  int pid = 0;         ///< user functions and perf events: in this process only; 0: in every process
  u64 cookie = 0;      ///< what bpf_get_attach_cookie() answers there, where the hook has cookies

  /// Reads a SEC() name ("tracepoint/syscalls/sys_enter_openat", "ksyscall/execve", "xdp").
  /// A leading '?' (do not load by default) is skipped. Errors: not_found for a section without a row.
  static Result<AttachTarget> from_section(std::string_view section);

  /// Reads the command line's form: "syscall:execve", "syscall:execve:exit", "tracepoint:syscalls:sys_enter_openat",
  /// "kprobe:__x64_sys_execve", "raw_tracepoint:sys_enter", or a SEC() name.
  static Result<AttachTarget> from_text(std::string_view text);

  /// The command line's form of this target.
  std::string text() const;

  ProgramType program_type() const noexcept;
  AttachType attach_type() const noexcept;
};

/// BPF_F_* of map creation (MapSpec::flags). Source: include/uapi/linux/bpf.h.
namespace map_flag {
inline constexpr u32 no_prealloc = 1u << 0;
inline constexpr u32 no_common_lru = 1u << 1;
inline constexpr u32 numa_node = 1u << 2;
inline constexpr u32 rdonly = 1u << 3;
inline constexpr u32 wronly = 1u << 4;
inline constexpr u32 zero_seed = 1u << 6;
inline constexpr u32 rdonly_prog = 1u << 7;
inline constexpr u32 wronly_prog = 1u << 8;
inline constexpr u32 mmapable = 1u << 10;
inline constexpr u32 preserve_elems = 1u << 11;
inline constexpr u32 inner_map = 1u << 12;
inline constexpr u32 link = 1u << 13;
}  // namespace map_flag

/// One map as the file describes it.
struct MapSpec {
  std::string name;
  MapType type = MapType::unspec;
  u32 key_size = 0;     ///< bytes
  u32 value_size = 0;   ///< bytes
  u32 max_entries = 0;  ///< 0: the engine sizes it where its type allows that (perf_event_array: CPUs)
  u32 flags = 0;        ///< map_flag
  u64 map_extra = 0;
  u32 numa_node = 0;
  bool pin_by_name = false;  ///< LIBBPF_PIN_BY_NAME
  u32 btf_key_type_id = 0;   ///< in ObjectSpec::btf; 0: none
  u32 btf_value_type_id = 0;

  /// Global data (.data, .rodata, .bss): an array of one element with these bytes. `frozen` for .rodata.
  std::vector<std::byte> initial_value;
  bool is_global_data = false;
  bool frozen = false;

  /// Map-in-map: the template of the inner maps.
  std::shared_ptr<const MapSpec> inner;
  /// Static contents of a map of maps or a program array: index -> name of a map or program in the same object.
  struct Slot {
    u32 index = 0;
    std::string name;
  };
  std::vector<Slot>
      slots;  ///< struct_ops: index = byte offset of the function pointer in initial_value, name = program

  bool autocreate = true;  ///< false for sections "?.struct_ops": made only when asked for
};

/// A place in the C source (from .BTF.ext line info).
struct SourceLine {
  u32 insn = 0;  ///< the first instruction of this line, as an index into ProgramSpec::insns
  std::string file;
  std::string text;
  u32 line = 0;    ///< 1-based
  u32 column = 0;  ///< 1-based
};

/// What an ld_imm64 or a call at `insn` refers to; the instruction itself holds no number yet.
struct Reference {
  enum class Kind : u8 {
    map,        ///< ld_imm64 src 1: the map itself
    map_value,  ///< ld_imm64 src 2: address `addend` inside the map's single value (global data)
    kconfig,    ///< ld_imm64: address of a kconfig extern; `name`, `type_id`
    ksym,       ///< ld_imm64: address of a kernel symbol; `name`, `type_id` (0: untyped)
    kfunc,      ///< call src 2: kernel function; `name`, `type_id`
    function,   ///< ld_imm64 src 4: address of the subprogram at instruction `addend`
  };
  u32 insn = 0;
  Kind kind = Kind::map;
  u32 map = 0;  ///< index into ObjectSpec::maps (map, map_value)
  u32 addend = 0;
  std::string name;
  u32 type_id = 0;  ///< in ObjectSpec::btf
  bool weak = false;
};

/// A CO-RE relocation record (.BTF.ext), not yet applied.
struct CoreRelocation {
  u32 insn = 0;
  u32 type_id = 0;     ///< root type, in ObjectSpec::btf
  std::string access;  ///< "0:1:2"
  u32 kind = 0;        ///< enum bpf_core_relo_kind, 0..12
};

/// A function inside a program's instructions: the entry at 0, then every subprogram it reaches.
struct FunctionInfo {
  u32 insn = 0;
  u32 type_id = 0;  ///< BTF_KIND_FUNC in ObjectSpec::btf; 0: none
  std::string name;
  bool is_global = false;
};

/// One program: its entry function followed by the subprograms it calls, calls between them resolved.
struct ProgramSpec {
  std::string name;                        ///< the C function's name
  std::string section;                     ///< as in the file
  ProgramType type = ProgramType::unspec;  ///< unspec: decided by the attach target (BCC dialect)
  AttachTarget attach;
  std::string one_of;      ///< the group of SKEP_ONE_OF, of which a load without names takes one; "": none
  bool autoload = true;    ///< false for SEC("?...") outside of a group
  bool sleepable = false;  ///< SEC("....s")
  std::vector<Insn> insns;
  std::vector<Reference> references;        ///< sorted by insn
  std::vector<CoreRelocation> relocations;  ///< sorted by insn
  std::vector<FunctionInfo> functions;      ///< sorted by insn; the first is the entry
  std::vector<SourceLine> lines;            ///< sorted by insn

  /// The line an instruction belongs to, or nullptr where the file has no line info. What a compiler adds of its own
  /// (line 0) belongs to the line before it.
  const SourceLine* line_at(u32 insn) const noexcept;
};

/// One object file: its programs, maps, types and licence.
struct ObjectSpec {
  std::string name;  ///< file name without directories and suffixes
  std::string license;
  u32 kernel_version = 0;
  std::vector<MapSpec> maps;
  std::vector<ProgramSpec> programs;
  std::shared_ptr<const btf::Btf> btf;  ///< null where the file has none

  /// Reads an ELF object (EM_BPF, little endian). Bytes are hostile: every offset and count is checked.
  /// Errors: io (cannot read the file), malformed, unsupported; messages name the section and the offset.
  static Result<ObjectSpec> from_file(const std::filesystem::path& path);
  static Result<ObjectSpec> from_bytes(std::span<const std::byte> elf, std::string_view name);

  const ProgramSpec* program(std::string_view name) const noexcept;
  ProgramSpec* program(std::string_view name) noexcept;
  const MapSpec* map(std::string_view name) const noexcept;

  /// Where a global variable lies: in the value of maps[map].
  struct Variable {
    std::size_t map = 0;
    u32 offset = 0, size = 0;  ///< bytes
  };
  /// Nothing where no section has it, or the object has no types. Of two static variables of a name, the first.
  std::optional<Variable> variable(std::string_view name) const;
};

}  // namespace skep
