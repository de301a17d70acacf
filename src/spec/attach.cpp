// Attach targets: SEC() names and the command line's form, both read against the rows of attach_points.def.
//
// A SEC() name is a row's section, alone or followed by '/' and a target; the longest row wins ("xdp/devmap" before
// "xdp"). The command line writes ':' where SEC() writes '/', and has one word of its own: "syscall:execve" is the
// entry of a system call (ksyscall), "syscall:execve:exit" its return. What a SEC() name cannot say (the interface of
// an XDP program, the control group) follows the colon: "xdp:eth0", "cgroup/connect4:/sys/fs/cgroup/test". Source:
// libbpf's section names; bpftrace's probe syntax for the colon form.
#include "spec/attach.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <skep/spec.hpp>

namespace skep {
namespace {

enum class Target : u8 { optional, required, never };

struct Row {
  AttachKind kind;
  std::string_view section;
  ProgramType program_type;
  AttachType attach_type;
  Target target;
};

constexpr Row rows[] = {
#define SKEP_ATTACH_POINT(name, section, program_type, attach_type, target) \
  {AttachKind::name, section, ProgramType::program_type, AttachType::attach_type, Target::target},
#include <skep/tables/attach_points.def>
#undef SKEP_ATTACH_POINT
};

constexpr bool kinds_index_rows() {
  for (std::size_t i = 0; i < std::size(rows); i++)
    if (static_cast<std::size_t>(rows[i].kind) != i + 1) return false;
  return true;
}
static_assert(kinds_index_rows());

const Row* row_of(AttachKind kind) {
  const auto index = static_cast<std::size_t>(kind);
  return index == 0 || index > std::size(rows) ? nullptr : &rows[index - 1];
}

const Row* row_named(std::string_view section) {
  const auto* found =
      std::find_if(std::begin(rows), std::end(rows), [&](const Row& r) { return r.section == section; });
  return found == std::end(rows) ? nullptr : found;
}

/// The longest row that `section` is, or begins with before a '/'.
const Row* row_for(std::string_view section) {
  const Row* best = row_named(section);
  if (best != nullptr) return best;
  for (const Row& row : rows) {
    const bool begins =
        section.starts_with(row.section) && section.size() > row.section.size() && section[row.section.size()] == '/';
    if (begins && row.target != Target::never && (best == nullptr || row.section.size() > best->section.size()))
      best = &row;
  }
  return best;
}

/// The same hook without ".s", where it has a row.
AttachKind plain_kind(const Row& row) {
  if (!row.section.ends_with(".s")) return row.kind;
  const Row* plain = row_named(row.section.substr(0, row.section.size() - 2));
  return plain == nullptr ? row.kind : plain->kind;
}

std::string_view without_question_mark(std::string_view section) {
  return section.starts_with('?') ? section.substr(1) : section;
}

std::string replaced(std::string_view text, char from, char to) {
  std::string out(text);
  std::replace(out.begin(), out.end(), from, to);
  return out;
}

bool is_tracepoint(AttachKind kind) { return kind == AttachKind::tracepoint || kind == AttachKind::tp; }

}  // namespace

std::string_view name_of(MapType type) noexcept {
  switch (type) {
    case MapType::unspec:
      return "unspec";
#define SKEP_MAP_TYPE(name, number, printed, since) \
  case MapType::name:                               \
    return printed;
#include <skep/tables/map_types.def>
#undef SKEP_MAP_TYPE
  }
  return "unknown";
}

std::string_view name_of(ProgramType type) noexcept {
  switch (type) {
    case ProgramType::unspec:
      return "unspec";
#define SKEP_PROGRAM_TYPE(name, number, printed, since) \
  case ProgramType::name:                               \
    return printed;
#include <skep/tables/program_types.def>
#undef SKEP_PROGRAM_TYPE
  }
  return "unknown";
}

std::string_view name_of(AttachKind kind) noexcept {
  const Row* row = row_of(kind);
  return row == nullptr ? std::string_view{} : row->section;
}

ProgramType AttachTarget::program_type() const noexcept {
  const Row* row = row_of(kind);
  return row == nullptr ? ProgramType::unspec : row->program_type;
}

AttachType AttachTarget::attach_type() const noexcept {
  const Row* row = row_of(kind);
  return row == nullptr ? AttachType::none : row->attach_type;
}

Result<AttachTarget> AttachTarget::from_section(std::string_view section) {
  section = without_question_mark(section);
  const Row* row = row_for(section);
  if (row == nullptr)
    return fail(Code::not_found, fmt::format("section \"{}\" names no known attach point; examples: "
                                             "tracepoint/syscalls/sys_enter_openat, kprobe/FUNCTION, xdp",
                                             section));
  AttachTarget out{plain_kind(*row), {}};
  if (section.size() > row->section.size()) out.target = section.substr(row->section.size() + 1);
  return out;
}

Result<AttachTarget> AttachTarget::from_text(std::string_view text) {
  constexpr std::string_view syscall = "syscall:";
  if (text.starts_with(syscall)) {
    std::string_view call = text.substr(syscall.size());
    AttachKind kind = AttachKind::ksyscall;
    if (call.ends_with(":exit")) {
      kind = AttachKind::kretsyscall;
      call.remove_suffix(5);
    } else if (call.ends_with(":enter")) {
      call.remove_suffix(6);
    }
    if (call.empty() || call.find(':') != std::string_view::npos)
      return fail(Code::invalid_argument,
                  fmt::format("\"{}\": expected syscall:NAME or syscall:NAME:exit, such as syscall:execve", text));
    return AttachTarget{kind, std::string(call)};
  }
  const auto colon = text.find(':');
  const Row* row = colon == std::string_view::npos ? nullptr : row_named(text.substr(0, colon));
  if (row != nullptr) {
    AttachTarget out{plain_kind(*row), std::string(text.substr(colon + 1))};
    if (is_tracepoint(out.kind)) out.target = replaced(out.target, ':', '/');
    if (out.target.empty()) return fail(Code::invalid_argument, fmt::format("\"{}\": nothing follows the colon", text));
    return out;
  }
  auto target = from_section(text);
  if (!target)
    return fail(
        Code::not_found,
        fmt::format(
            "\"{}\" is no attach point; examples: syscall:execve, syscall:execve:exit, "
            "tracepoint:syscalls:sys_enter_openat, kprobe:FUNCTION, raw_tracepoint:sys_enter, uprobe:FILE:FUNCTION, "
            "xdp:INTERFACE, cgroup/connect4:PATH, or a SEC() name",
            text));
  return target;
}

std::string AttachTarget::text() const {
  const Row* row = row_of(kind);
  if (row == nullptr) return "none";
  if (target.empty()) return std::string(row->section);
  if (kind == AttachKind::ksyscall) return "syscall:" + target;
  if (kind == AttachKind::kretsyscall) return "syscall:" + target + ":exit";
  if (is_tracepoint(kind)) return "tracepoint:" + replaced(target, '/', ':');
  if (kind == AttachKind::raw_tp) return "raw_tracepoint:" + target;
  return fmt::format("{}:{}", row->section, target);
}

namespace spec {

bool is_sleepable_section(std::string_view section) noexcept {
  const Row* row = row_for(without_question_mark(section));
  return row != nullptr && (row->section.ends_with(".s") || row->kind == AttachKind::syscall);
}

std::optional<AttachTarget> legacy_target(std::string_view section) {
  section = without_question_mark(section);
  static constexpr AttachKind kinds[] = {AttachKind::xdp,    AttachKind::socket,  AttachKind::classifier,
                                         AttachKind::action, AttachKind::tc,      AttachKind::sockops,
                                         AttachKind::sk_skb, AttachKind::sk_msg,  AttachKind::perf_event,
                                         AttachKind::lwt_in, AttachKind::lwt_out, AttachKind::lwt_xmit};
  for (const auto kind : kinds) {
    const auto prefix = name_of(kind);
    if (!section.starts_with(prefix) || section.size() == prefix.size()) continue;
    const char next = section[prefix.size()];
    if (next == '_' || next == '-' || (next >= '0' && next <= '9')) return AttachTarget{kind, {}};
  }
  return std::nullopt;
}

}  // namespace spec
}  // namespace skep
