// See control.hpp.
#include "kernel/control.hpp"

#include <fmt/core.h>

#include <cerrno>

#include "backend/names.hpp"
#include "kernel/open.hpp"
#include "kernel/pins.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

Result<void> change(uapi::Cmd cmd, u32 program_id, AttachType type, u32 map_id) {
  const auto program = SKEP_TRY(open_by_id(uapi::Cmd::prog_get_fd_by_id, program_id, "program"));
  base::Fd map;
  if (map_id != 0) map = SKEP_TRY(open_by_id(uapi::Cmd::map_get_fd_by_id, map_id, "map"));
  uapi::ProgAttach attr;
  attr.target_fd = map_id != 0 ? static_cast<u32>(map.get()) : 0;
  attr.attach_bpf_fd = static_cast<u32>(program.get());
  attr.attach_type = static_cast<u32>(type);
  const int status = bpf(cmd, attr);
  const std::string place = fmt::format("program {} at {}", program_id, backend::attach_type_name(type));
  if (status == -EINVAL)
    return fail(Code::invalid_argument,
                fmt::format("{}: the program's type does not fit, or it is not attached there", place), EINVAL);
  if (status == -EOPNOTSUPP || status == -ENOTSOCK)
    return fail(Code::invalid_argument, fmt::format("{}: the map must be a sockmap or sockhash", place), -status);
  if (status < 0) return tl::unexpected(bpf_error(cmd, place, -status));
  return {};
}

}  // namespace

Result<base::Fd> enable_statistics() {
  struct {
    u32 type = 0;  // BPF_STATS_RUN_TIME
  } attr;
  return bpf_fd(uapi::Cmd::enable_stats, attr, "count runs of programs");
}

Result<std::string> read_stream(u32 program_id, ProgramStream stream) {
  const auto program = SKEP_TRY(open_by_id(uapi::Cmd::prog_get_fd_by_id, program_id, "program"));
  // What the kernel keeps of one, several times over: a program that goes on writing has no last piece.
  constexpr std::size_t most_bytes = 1u << 20;
  std::string text;
  while (text.size() < most_bytes) {
    char piece[4096];
    uapi::ProgStreamRead attr;
    attr.buffer = address_of(piece);
    attr.size = sizeof piece;
    attr.stream = static_cast<u32>(stream);
    attr.prog_fd = static_cast<u32>(program.get());
    const int got = bpf(uapi::Cmd::prog_stream_read_by_fd, attr);
    if (got == -EINVAL)
      return fail(Code::unsupported, "this kernel keeps no streams of single programs: they came with Linux 6.17",
                  EINVAL);
    if (got < 0)
      return tl::unexpected(bpf_error(uapi::Cmd::prog_stream_read_by_fd, fmt::format("program {}", program_id), -got));
    if (got == 0) break;
    text.append(piece, static_cast<std::size_t>(got));
  }
  return text;
}

Result<void> attach_program(u32 program_id, AttachType type, u32 map_id) {
  return change(uapi::Cmd::prog_attach, program_id, type, map_id);
}
Result<void> detach_program(u32 program_id, AttachType type, u32 map_id) {
  return change(uapi::Cmd::prog_detach, program_id, type, map_id);
}

Result<void> pin_iterator(u32 program_id, u32 map_id, const std::string& path) {
  const auto program = SKEP_TRY(open_by_id(uapi::Cmd::prog_get_fd_by_id, program_id, "program"));
  base::Fd map;
  uapi::IterMap over;
  uapi::LinkCreateIter attr;
  attr.on.prog_fd = static_cast<u32>(program.get());
  attr.on.attach_type = static_cast<u32>(AttachType::trace_iter);
  if (map_id != 0) {
    map = SKEP_TRY(open_by_id(uapi::Cmd::map_get_fd_by_id, map_id, "map"));
    over.map_fd = static_cast<u32>(map.get());
    attr.iter_info = address_of(&over);
    attr.iter_info_len = sizeof over;
  }
  const int link = bpf(uapi::Cmd::link_create, attr);
  if (link == -EINVAL)
    return fail(
        Code::invalid_argument,
        fmt::format("program {}: the kernel makes no iterator of it: its section must be iter/..., and iterators "
                    "over map elements need `map MAP`",
                    program_id),
        EINVAL);
  if (link < 0) return tl::unexpected(bpf_error(uapi::Cmd::link_create, "iterator", -link));
  const base::Fd held(link);
  return pin_object(held.get(), path);
}

}  // namespace skep::kernel
