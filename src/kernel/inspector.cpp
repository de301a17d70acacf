// Listing and opening kernel objects by id.
#include "kernel/inspector.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <skep/backend.hpp>

#include "backend/names.hpp"
#include "btf/btf.hpp"
#include "kernel/info.hpp"
#include "kernel/links.hpp"
#include "kernel/map_create.hpp"
#include "kernel/map_handle.hpp"
#include "kernel/open.hpp"
#include "kernel/pins.hpp"
#include "kernel/syscall.hpp"
#include "kernel/test_run.hpp"

namespace skep::kernel {

namespace {

constexpr u32 most_objects = 1u << 16;
constexpr std::size_t most_held = 256;  // a process has 1024 descriptors, as a rule
constexpr u32 most_code_bytes = 64u << 20, most_records = 1u << 20;

/// How the objects of a kind are listed and opened.
struct Commands {
  uapi::Cmd next, open;
  std::string_view kind;
};
constexpr Commands commands_of(ObjectKind kind) {
  using enum uapi::Cmd;
  switch (kind) {
    case ObjectKind::program:
      return {prog_get_next_id, prog_get_fd_by_id, "program"};
    case ObjectKind::map:
      return {map_get_next_id, map_get_fd_by_id, "map"};
    case ObjectKind::link:
      return {link_get_next_id, link_get_fd_by_id, "link"};
  }
  return {};
}
constexpr Commands of_types = {uapi::Cmd::btf_get_next_id, uapi::Cmd::btf_get_fd_by_id, "BTF object"};

Result<base::Fd> open_object(ObjectKind kind, u32 id) {
  const Commands commands = commands_of(kind);
  return open_by_id(commands.open, id, commands.kind);
}

/// The command that ended a walk. ENOENT from the one for the next number: everything was seen.
struct WalkEnd {
  uapi::Cmd command;
  int status;
};

/// Calls `look(fd)` for every object of a kind; objects that vanish meanwhile are skipped, and so are links that are
/// being made: those have a number and cannot be opened yet (EAGAIN).
template <class Look>
WalkEnd walk_ids(const Commands& commands, Look&& look) {
  uapi::ObjectId attr;
  for (u32 count = 0; count < most_objects; ++count) {
    const int status = bpf(commands.next, attr);
    if (status < 0) return {commands.next, status};
    const u32 id = attr.next_id;
    attr = {id, 0, 0};
    const base::Fd fd(bpf(commands.open, attr));
    if (fd)
      look(fd.get());
    else if (fd.get() != -ENOENT && fd.get() != -EAGAIN)
      return {commands.open, fd.get()};
    attr = {id, 0, 0};
  }
  return {commands.next, -ENOENT};
}

}  // namespace

template <class Look>
Result<void> KernelInspector::for_each(ObjectKind kind, const std::map<u32, std::vector<std::string>>& pins,
                                       Look&& look) {
  const Commands commands = commands_of(kind);
  const auto [command, status] = walk_ids(commands, look);
  left_out_.clear();
  if (status == -ENOENT) return {};
  if (status != -EPERM || command != commands.next)  // who may list, and not open, has been shown some
    return tl::unexpected(bpf_error(command, fmt::format("list {}s", commands.kind), -status));
  left_out_ = "of the kernel's objects only those are shown that are pinned where this process may open them: " +
              explain_refusal(commands.next);
  for (const auto& [id, paths] : pins)
    if (auto object = open_pinned(kind, paths.front())) {
      look(object->fd.get());
      if (held_.size() < most_held) held_.try_emplace({kind, object->id}, std::move(object->fd));
    }
  return {};
}

template <class Info>
Result<Info> KernelInspector::pinned(ObjectKind kind, const std::filesystem::path& path,
                                     const std::function<Result<Info>(int fd)>& ask) {
  auto object = SKEP_TRY(open_pinned(kind, path));
  auto info = SKEP_TRY(ask(object.fd.get()));
  const Pins pins = find_pins();
  const auto& of_kind = kind == ObjectKind::program ? pins.programs : kind == ObjectKind::map ? pins.maps : pins.links;
  if (const auto at = of_kind.find(object.id); at != of_kind.end()) info.pinned = at->second;
  if (std::ranges::find(info.pinned, path.native()) == info.pinned.end()) info.pinned.push_back(path.native());
  uapi::ObjectId attr{object.id, 0, 0};
  if (const base::Fd by_id(bpf(commands_of(kind).open, attr)); !by_id)
    held_.try_emplace({kind, object.id}, std::move(object.fd));
  return info;
}

Result<ProgramInfo> KernelInspector::pinned_program(const std::filesystem::path& path) {
  return pinned<ProgramInfo>(ObjectKind::program, path, [this](int fd) -> Result<ProgramInfo> {
    auto info = SKEP_TRY(program_info(fd));
    info.name = full_name(fd, info);
    return info;
  });
}
Result<MapInfo> KernelInspector::pinned_map(const std::filesystem::path& path) {
  return pinned<MapInfo>(ObjectKind::map, path, [](int fd) { return map_info(fd); });
}
Result<LinkInfo> KernelInspector::pinned_link(const std::filesystem::path& path) {
  return pinned<LinkInfo>(ObjectKind::link, path, link_info);
}

std::string KernelInspector::full_name(int fd, const ProgramInfo& info) {
  if (info.name.size() < backend::max_name_bytes || info.btf_id == 0) return info.name;
  uapi::ProgInfo raw;
  uapi::FuncInfo first;
  raw.nr_func_info = 1;
  raw.func_info_rec_size = sizeof first;
  raw.func_info = address_of(&first);
  uapi::InfoByFd attr{static_cast<u32>(fd), sizeof raw, address_of(&raw)};
  if (bpf(uapi::Cmd::obj_get_info_by_fd, attr) < 0 || raw.nr_func_info == 0) return info.name;
  const auto types = btf(info.btf_id);
  if (!types || first.type_id == 0 || first.type_id >= (*types)->type_count()) return info.name;
  const auto type = (*types)->type(first.type_id);
  return type.kind == btf::Kind::func && type.name.starts_with(info.name) ? std::string(type.name) : info.name;
}

Result<std::vector<ProgramInfo>> KernelInspector::programs() {
  std::vector<ProgramInfo> found;
  const Pins pins = find_pins();
  SKEP_TRY(for_each(ObjectKind::program, pins.programs, [&](int fd) {
    auto info = program_info(fd);
    if (!info) return;
    info->name = full_name(fd, *info);
    if (const auto at = pins.programs.find(info->id); at != pins.programs.end()) info->pinned = at->second;
    found.push_back(*std::move(info));
  }));
  return found;
}

Result<std::vector<MapInfo>> KernelInspector::maps() {
  std::vector<MapInfo> found;
  const Pins pins = find_pins();
  SKEP_TRY(for_each(ObjectKind::map, pins.maps, [&](int fd) {
    auto info = map_info(fd);
    if (!info) return;
    if (const auto at = pins.maps.find(info->id); at != pins.maps.end()) info->pinned = at->second;
    found.push_back(*std::move(info));
  }));
  return found;
}

Result<std::vector<LinkInfo>> KernelInspector::links() {
  std::vector<LinkInfo> found;
  const Pins pins = find_pins();
  SKEP_TRY(for_each(ObjectKind::link, pins.links, [&](int fd) {
    auto info = link_info(fd);
    if (!info) return;
    if (const auto at = pins.links.find(info->id); at != pins.links.end()) info->pinned = at->second;
    found.push_back(*std::move(info));
  }));
  return found;
}

Result<std::vector<BtfInfo>> KernelInspector::btfs() {
  std::vector<BtfInfo> found;
  const auto [command, status] = walk_ids(of_types, [&](int fd) {
    const auto object = btf_object_header(fd);
    if (!object) return;
    BtfInfo& info = found.emplace_back();
    info.id = object->id;
    info.size_bytes = object->size_bytes;
    info.is_kernel = object->is_kernel;
    info.name = object->name;
  });
  if (status != -ENOENT) return tl::unexpected(bpf_error(command, "the kernel's types are not shown", -status));
  return found;
}

Result<TestRunResult> KernelInspector::test_run(u32 program_id, const TestRun& run) {
  const auto fd = SKEP_TRY(open_object(ObjectKind::program, program_id));
  const auto info = SKEP_TRY(program_info(fd.get()));
  return kernel::test_run(fd.get(), info.type, info.name, run);
}

Result<void> KernelInspector::pin(ObjectKind kind, u32 id, const std::filesystem::path& path) {
  const auto fd = SKEP_TRY(open_object(kind, id));
  return pin_object(fd.get(), path);
}

Result<Map> KernelInspector::create_map(const MapSpec& spec, u32 inner_map_id) {
  base::Fd inner;
  if (inner_map_id != 0) inner = SKEP_TRY(open_object(ObjectKind::map, inner_map_id));
  return Map(SKEP_TRY(kernel::create_map(spec, inner.get())));
}

Result<void> KernelInspector::detach_link(u32 link_id) {
  const auto fd = SKEP_TRY(open_object(ObjectKind::link, link_id));
  uapi::LinkDetach attr{static_cast<u32>(fd.get())};
  const int status = bpf(uapi::Cmd::link_detach, attr);
  if (status == -EOPNOTSUPP) {
    const auto info = link_info(fd.get());
    return fail(
        Code::unsupported,
        fmt::format("link {}: the kernel cannot detach {} links; it goes when the processes that hold it end and "
                    "its pins are removed (see `skep prog why id {}`)",
                    link_id, info ? info->type : "such", info ? info->program_id : 0),
        EOPNOTSUPP);
  }
  if (status < 0) return tl::unexpected(bpf_error(uapi::Cmd::link_detach, fmt::format("link {}", link_id), -status));
  return {};
}

Result<ProgramCode> KernelInspector::program_code(u32 program_id) {
  const auto fd = SKEP_TRY(open_object(ObjectKind::program, program_id));
  const auto counts = SKEP_TRY(raw_program_info(fd.get()));
  const auto place = fmt::format("program {}", program_id);
  if (counts.xlated_prog_len > most_code_bytes || counts.jited_prog_len > most_code_bytes ||
      counts.nr_line_info > most_records || counts.nr_func_info > most_records ||
      counts.nr_jited_ksyms > most_records || counts.nr_jited_func_lens > most_records ||
      counts.nr_jited_line_info > most_records)
    return fail(Code::limit,
                fmt::format("{}: larger than skep reads ({} bytes of instructions)", place, counts.xlated_prog_len));
  ProgramCode code;
  std::vector<uapi::FuncInfo> functions(counts.nr_func_info);
  std::vector<uapi::LineInfo> lines(counts.nr_line_info);
  code.insns.resize(counts.xlated_prog_len / sizeof(Insn));
  code.jited.resize(counts.jited_prog_len);
  uapi::ProgInfo raw;
  raw.xlated_prog_len = static_cast<u32>(code.insns.size() * sizeof(Insn));
  raw.xlated_prog_insns = address_of(code.insns.data());
  raw.jited_prog_len = counts.jited_prog_len;
  raw.jited_prog_insns = address_of(code.jited.data());
  code.jited_addresses.resize(counts.nr_jited_ksyms);
  raw.nr_jited_ksyms = counts.nr_jited_ksyms;
  raw.jited_ksyms = address_of(code.jited_addresses.data());
  code.jited_lengths.resize(counts.nr_jited_func_lens);
  raw.nr_jited_func_lens = counts.nr_jited_func_lens;
  raw.jited_func_lens = address_of(code.jited_lengths.data());
  code.jited_lines.resize(counts.nr_jited_line_info);
  raw.nr_jited_line_info = counts.nr_jited_line_info;
  raw.jited_line_info_rec_size = sizeof(u64);
  raw.jited_line_info = address_of(code.jited_lines.data());
  raw.nr_func_info = counts.nr_func_info;
  raw.func_info_rec_size = sizeof(uapi::FuncInfo);
  raw.func_info = address_of(functions.data());
  raw.nr_line_info = counts.nr_line_info;
  raw.line_info_rec_size = sizeof(uapi::LineInfo);
  raw.line_info = address_of(lines.data());
  uapi::InfoByFd attr{static_cast<u32>(fd.get()), sizeof raw, address_of(&raw)};
  SKEP_TRY(bpf_ok(uapi::Cmd::obj_get_info_by_fd, attr, place));
  if (raw.xlated_prog_insns == 0 || raw.xlated_prog_len == 0)
    return fail(Code::permission, fmt::format("{}: the kernel does not show its instructions to this process; it needs "
                                              "CAP_BPF (before Linux 5.8 CAP_SYS_ADMIN), and sysctl "
                                              "net.core.bpf_jit_harden and kernel.kptr_restrict below 2",
                                              place));
  if (raw.jited_prog_insns == 0) code.jited.clear();
  if (raw.jited_ksyms == 0) code.jited_addresses.clear();
  if (raw.jited_func_lens == 0) code.jited_lengths.clear();
  if (raw.jited_line_info == 0) code.jited_lines.clear();
#if defined(__x86_64__)
  code.machine = "x86-64";
#elif defined(__aarch64__)
  code.machine = "arm64";
#endif
  if (raw.btf_id == 0) return code;
  const auto types = btf(raw.btf_id);
  if (!types) return code;  // the instructions are worth showing without their lines
  for (const auto& record : functions) {
    if (record.type_id >= (*types)->type_count()) continue;
    const auto type = (*types)->type(record.type_id);
    code.functions.push_back({record.insn_off, record.type_id, std::string(type.name), (*types)->linkage(type) == 1});
  }
  for (const auto& record : lines)
    code.lines.push_back({record.insn_off, std::string((*types)->string(record.file_name_off)),
                          std::string((*types)->string(record.line_off)), record.line_col >> 10,
                          record.line_col & 0x3ff});
  return code;
}

Result<Map> KernelInspector::map(u32 map_id) {
  auto fd = SKEP_TRY(open_object(ObjectKind::map, map_id));
  return Map(SKEP_TRY(KernelMap::adopt(std::move(fd))));
}

Result<std::shared_ptr<const btf::Btf>> KernelInspector::btf(u32 btf_id) { return types_by_id(btf_id); }

}  // namespace skep::kernel
