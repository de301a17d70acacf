// Three sources of one struct: the table of system calls, a format file, BTF.
//
// Layout of all of them: 8 bytes common to every event, then the fields at their offsets. A system call's
// arguments take 8 bytes each although the format names their narrower C types; fields are declared with the
// narrow type and 8-byte alignment, so that `int dfd` reads as -100 and not as 4294967196.
// Source: kernel Documentation/trace/events.rst, kernel/trace/trace_syscalls.c.
#include "compile/tracepoints.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "base/mapped_file.hpp"
#include "base/tracefs_root.hpp"
#include "btf/btf.hpp"

namespace skep::compile {
namespace {

struct SyscallRow {
  std::string_view name;
  std::string_view parameters;
};
constexpr SyscallRow syscall_rows[] = {
#define SKEP_SYSCALL_ARGS(name, parameters) {#name, parameters},
#include "compile/syscall_args.def"
#undef SKEP_SYSCALL_ARGS
};

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

/// Types that C knows without a header, and the kernel's short names for them.
struct PlainType {
  std::string_view name;
  std::string_view c;
};
constexpr PlainType plain_types[] = {
    {"char", "char"},
    {"unsigned char", "unsigned char"},
    {"short", "short"},
    {"unsigned short", "unsigned short"},
    {"int", "int"},
    {"unsigned", "unsigned int"},
    {"unsigned int", "unsigned int"},
    {"long", "long"},
    {"unsigned long", "unsigned long"},
    {"long long", "long long"},
    {"unsigned long long", "unsigned long long"},
    {"void", "void"},
    {"bool", "_Bool"},
    {"u8", "unsigned char"},
    {"u16", "unsigned short"},
    {"u32", "unsigned int"},
    {"u64", "unsigned long long"},
    {"s8", "signed char"},
    {"s16", "short"},
    {"s32", "int"},
    {"s64", "long long"},
    {"__u8", "unsigned char"},
    {"__u16", "unsigned short"},
    {"__u32", "unsigned int"},
    {"__u64", "unsigned long long"},
    {"__s32", "int"},
    {"__s64", "long long"},
    {"pid_t", "int"},
    {"uid_t", "unsigned int"},
    {"gid_t", "unsigned int"},
    {"qid_t", "unsigned int"},
    {"umode_t", "unsigned short"},
    {"size_t", "unsigned long"},
    {"ssize_t", "long"},
    {"off_t", "long"},
    {"loff_t", "long long"},
    {"key_t", "int"},
    {"mqd_t", "int"},
    {"rwf_t", "int"},
    {"timer_t", "int"},
    {"clockid_t", "int"},
    {"key_serial_t", "int"},
    {"aio_context_t", "unsigned long"},
    {"dev_t", "unsigned int"},
    {"ino_t", "unsigned long"},
    {"gfp_t", "unsigned int"},
    {"sector_t", "unsigned long long"},
};

std::string_view plain(std::string_view type) {
  for (const PlainType& t : plain_types)
    if (t.name == type) return t.c;
  return {};
}

/// A pointer type with what it points at reduced to what compiles without headers ("fd_set *" -> "void *").
std::string pointer_type(std::string_view type) {
  const std::size_t star = type.find('*');
  std::string_view base = trim(type.substr(0, star));
  std::string prefix;
  if (base.starts_with("const ")) {
    prefix = "const ";
    base = trim(base.substr(6));
  }
  const bool tagged = base.starts_with("struct ") || base.starts_with("union ");
  const std::string_view simple = tagged ? base : plain(base);
  return fmt::format("{}{} {}", prefix, simple.empty() ? "void" : simple, type.substr(star));
}

std::string begin_struct(const TracepointName& name) {
  return fmt::format("struct tracepoint__{}__{} {{\n  unsigned long long skep_common;\n", name.category, name.event);
}

/// `const char *filename` as one argument of a system call.
std::string syscall_field(std::string_view parameter) {
  const std::size_t split = parameter.find_last_of(" *") + 1;
  const std::string_view name = parameter.substr(split);
  std::string_view type = trim(parameter.substr(0, split));
  if (type.find('*') != type.npos) return fmt::format("  {}{};\n", pointer_type(type), name);
  if (type.starts_with("const ")) type = trim(type.substr(6));
  std::string_view simple = plain(type);
  if (simple.empty()) simple = type.starts_with("enum ") ? "int" : "unsigned long";
  return fmt::format("  {} {} __attribute__((aligned(8)));\n", simple, name);
}

std::string struct_of_syscall(const TracepointName& name, std::string_view parameters) {
  std::string out = begin_struct(name) + "  int __syscall_nr;\n";
  if (parameters != "void")
    while (!parameters.empty()) {
      const std::size_t comma = std::min(parameters.find(','), parameters.size());
      out += syscall_field(trim(parameters.substr(0, comma)));
      parameters.remove_prefix(std::min(comma + 1, parameters.size()));
    }
  return out + "};\n";
}

std::string struct_of_syscall_exit(const TracepointName& name) {
  return begin_struct(name) + "  int __syscall_nr;\n  long ret __attribute__((aligned(8)));\n};\n";
}

std::optional<std::string> syscall_struct(const TracepointName& name) {
  if (name.category == "raw_syscalls" && name.event == "sys_enter")
    return begin_struct(name) + "  long id;\n  unsigned long args[6];\n};\n";
  if (name.category == "raw_syscalls" && name.event == "sys_exit")
    return begin_struct(name) + "  long id;\n  long ret;\n};\n";
  if (name.category != "syscalls") return std::nullopt;
  const std::string_view event = name.event;
  const bool enter = event.starts_with("sys_enter_");
  if (!enter && !event.starts_with("sys_exit_")) return std::nullopt;
  const std::string_view call = event.substr(enter ? 10 : 9);
  for (const SyscallRow& row : syscall_rows)
    if (row.name == call) return enter ? struct_of_syscall(name, row.parameters) : struct_of_syscall_exit(name);
  return std::nullopt;
}

// ---- format files ------------------------------------------------------------------------------------------------

struct Field {
  std::string type;  ///< "char", "__data_loc char[]"
  std::string name;
  u32 count = 0;  ///< elements of an array; 0: none
  u32 offset = 0;
  u32 size = 0;
  bool is_signed = false;
};

u32 number_after(std::string_view line, std::string_view key) {
  const std::size_t at = line.find(key);
  if (at == line.npos) return 0;
  u32 value = 0;
  std::from_chars(line.data() + at + key.size(), line.data() + line.size(), value);
  return value;
}

/// `field:TYPE NAME[COUNT];\toffset:O;\tsize:S;\tsigned:G;`
std::optional<Field> parse_field(std::string_view line) {
  line = trim(line);
  if (!line.starts_with("field:")) return std::nullopt;
  const std::size_t end = line.find(';');
  if (end == line.npos) return std::nullopt;
  std::string_view declaration = line.substr(6, end - 6);
  Field field;
  field.offset = number_after(line, "offset:");
  field.size = number_after(line, "size:");
  field.is_signed = number_after(line, "signed:") != 0;
  const bool dynamic = declaration.starts_with("__data_loc ") || declaration.starts_with("__rel_loc ");
  if (!dynamic && declaration.ends_with(']')) {
    const std::size_t bracket = declaration.rfind('[');
    if (bracket == declaration.npos) return std::nullopt;
    declaration = declaration.substr(0, bracket);
    field.count = 1;
  }
  const std::size_t split = declaration.find_last_of(" *");
  if (split == declaration.npos) return std::nullopt;
  field.name = declaration.substr(split + 1);
  field.type = trim(declaration.substr(0, split + 1));
  const bool is_name = !field.name.empty() && std::all_of(field.name.begin(), field.name.end(),
                                                          [](unsigned char c) { return std::isalnum(c) || c == '_'; });
  if (!is_name || field.size > 65536 || field.offset > 65536) return std::nullopt;
  return field;
}

std::string_view integer_of_size(u32 size, bool is_signed) {
  switch (size) {
    case 1:
      return is_signed ? "signed char" : "unsigned char";
    case 2:
      return is_signed ? "short" : "unsigned short";
    case 4:
      return is_signed ? "int" : "unsigned int";
    case 8:
      return is_signed ? "long long" : "unsigned long long";
    default:
      return {};
  }
}

u32 plain_size(std::string_view c) {
  if (c == "char" || c.ends_with(" char") || c == "_Bool") return 1;
  if (c.ends_with("short")) return 2;
  if (c.ends_with("int")) return 4;
  return c == "void" ? 0 : 8;
}

/// The declaration of one field; fields that no C type here can stand for become bytes.
std::string declare(const Field& f) {
  if (f.type.starts_with("__data_loc") || f.type.starts_with("__rel_loc"))
    return fmt::format("unsigned int data_loc_{}", f.name);
  if (f.type.find('*') != f.type.npos && f.size == 8 && f.count == 0)
    return fmt::format("{}{}", pointer_type(f.type), f.name);
  std::string_view type = f.type;
  if (type.starts_with("const ")) type = trim(type.substr(6));
  std::string_view simple = plain(type);
  if (f.count != 0) {
    const u32 unit = simple.empty() ? 1 : std::max(plain_size(simple), 1u);
    return fmt::format("{} {}[{}]", simple.empty() ? "unsigned char" : simple, f.name, f.size / unit);
  }
  if (simple.empty() || plain_size(simple) > f.size) simple = integer_of_size(f.size, f.is_signed);
  if (simple.empty()) return fmt::format("unsigned char {}[{}]", f.name, f.size);
  return fmt::format("{} {}", simple, f.name);
}

// ---- BTF ---------------------------------------------------------------------------------------------------------

/// The struct trace_event_raw_EVENT of the running kernel; only events that are their own class have one.
std::optional<std::string> struct_from_btf(const TracepointName& name, const std::string& path) {
  auto types = btf::Btf::from_file(path);
  if (!types) return std::nullopt;
  const btf::Btf& btf = **types;
  const auto id = btf.find("trace_event_raw_" + name.event, btf::Kind::struct_);
  if (!id) return std::nullopt;
  std::string format;
  for (const btf::Member& m : btf.members(btf.type(*id))) {
    const btf::Type t = btf.type(btf.resolve(m.type_id));
    const auto size = btf.size_of(m.type_id);
    if (m.name == "ent" || m.name == "__data" || m.bit_size != 0 || !size) continue;
    const bool dynamic = m.name.starts_with("__data_loc_");
    const bool is_signed = t.kind == btf::Kind::int_ && btf.int_encoding(t).is_signed;
    const std::string_view type = t.kind == btf::Kind::ptr ? "void *" : "unknown";
    format += fmt::format("field:{} {};offset:{};size:{};signed:{};\n", dynamic ? "__data_loc char[]" : type,
                          dynamic ? m.name.substr(11) : m.name, m.bit_offset / 8, *size, is_signed ? 1 : 0);
  }
  auto out = struct_from_format(name, format);
  return out ? std::optional(*out) : std::nullopt;
}

}  // namespace

Result<std::string> struct_from_format(const TracepointName& name, std::string_view format) {
  std::string out = begin_struct(name);
  u32 at = 8;
  int gaps = 0;
  while (!format.empty()) {
    const std::size_t end = std::min(format.find('\n'), format.size());
    const std::string_view line = format.substr(0, end);
    format.remove_prefix(std::min(end + 1, format.size()));
    if (trim(line).starts_with("print fmt")) break;
    const auto field = parse_field(line);
    if (!field || field->offset < 8) continue;
    if (field->offset < at)
      return fail(Code::malformed, fmt::format("tracepoint {}:{}: field {} at offset {} overlaps the one before it",
                                               name.category, name.event, field->name, field->offset));
    if (field->offset > at) out += fmt::format("  unsigned char skep_gap{}[{}];\n", gaps++, field->offset - at);
    out += fmt::format("  {} __attribute__((packed));\n", declare(*field));
    at = field->offset + field->size;
  }
  if (at == 8)
    return fail(Code::malformed, fmt::format("tracepoint {}:{}: its format lists no field", name.category, name.event));
  return out + "};\n";
}

Result<std::string> tracepoint_struct(const TracepointName& name, const TracepointSources& sources) {
  if (auto known = syscall_struct(name)) return *std::move(known);
  bool forbidden = false;
  const auto format_in = [&](const std::string& root) -> std::optional<std::string> {
    auto format = base::read_text(fmt::format("{}/events/{}/{}/format", root, name.category, name.event), 1 << 20);
    if (format) return *std::move(format);
    forbidden |= format.error().code == Code::permission;
    return std::nullopt;
  };
  for (const std::string& root : {sources.tracefs, sources.debugfs})
    if (const auto format = format_in(root)) return struct_from_format(name, *format);
  if (sources.may_mount) {
    bool is_private = false;
    const base::Fd own = base::open_tracefs(is_private);
    if (own)
      if (const auto format = format_in(fmt::format("/proc/self/fd/{}", own.get())))
        return struct_from_format(name, *format);
  }
  if (auto from_btf = struct_from_btf(name, sources.btf)) return *std::move(from_btf);
  return fail(
      Code::not_found,
      fmt::format("no description of tracepoint {0}:{1}: {2} {3}/events/{0}/{1}/format, and BTF has no struct "
                  "trace_event_raw_{1}; check the name, {4}",
                  name.category, name.event, forbidden ? "no permission to read" : "there is no", sources.tracefs,
                  forbidden ? "or run as root" : "mount tracefs, or run on a kernel that has the event"));
}

}  // namespace skep::compile
