// bpf(2): the call, its retries, its errors as sentences.
#include "kernel/syscall.hpp"

#include <fmt/core.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "backend/names.hpp"
#include "kernel/access.hpp"

namespace skep::kernel {

namespace {
constexpr int eagain_retries = 5;  // the kernel's own advice; libbpf does the same number
}

int bpf_raw(uapi::Cmd cmd, void* attr, u32 size) noexcept {
  for (int attempt = 0;; ++attempt) {
    const long status = ::syscall(SYS_bpf, static_cast<u32>(cmd), attr, size);
    if (status >= 0) return static_cast<int>(status);
    if (errno != EAGAIN || attempt >= eagain_retries) return -errno;
  }
}

std::string_view name_of(uapi::Cmd cmd) noexcept {
  using uapi::Cmd;
  switch (cmd) {
    case Cmd::map_create:
      return "BPF_MAP_CREATE";
    case Cmd::map_lookup_elem:
      return "BPF_MAP_LOOKUP_ELEM";
    case Cmd::map_update_elem:
      return "BPF_MAP_UPDATE_ELEM";
    case Cmd::map_delete_elem:
      return "BPF_MAP_DELETE_ELEM";
    case Cmd::map_get_next_key:
      return "BPF_MAP_GET_NEXT_KEY";
    case Cmd::prog_load:
      return "BPF_PROG_LOAD";
    case Cmd::obj_pin:
      return "BPF_OBJ_PIN";
    case Cmd::obj_get:
      return "BPF_OBJ_GET";
    case Cmd::prog_attach:
      return "BPF_PROG_ATTACH";
    case Cmd::prog_detach:
      return "BPF_PROG_DETACH";
    case Cmd::prog_query:
      return "BPF_PROG_QUERY";
    case Cmd::task_fd_query:
      return "BPF_TASK_FD_QUERY";
    case Cmd::map_lookup_and_delete_elem:
      return "BPF_MAP_LOOKUP_AND_DELETE_ELEM";
    case Cmd::map_lookup_batch:
      return "BPF_MAP_LOOKUP_BATCH";
    case Cmd::enable_stats:
      return "BPF_ENABLE_STATS";
    case Cmd::iter_create:
      return "BPF_ITER_CREATE";
    case Cmd::link_detach:
      return "BPF_LINK_DETACH";
    case Cmd::prog_test_run:
      return "BPF_PROG_TEST_RUN";
    case Cmd::prog_get_next_id:
      return "BPF_PROG_GET_NEXT_ID";
    case Cmd::map_get_next_id:
      return "BPF_MAP_GET_NEXT_ID";
    case Cmd::prog_get_fd_by_id:
      return "BPF_PROG_GET_FD_BY_ID";
    case Cmd::map_get_fd_by_id:
      return "BPF_MAP_GET_FD_BY_ID";
    case Cmd::obj_get_info_by_fd:
      return "BPF_OBJ_GET_INFO_BY_FD";
    case Cmd::raw_tracepoint_open:
      return "BPF_RAW_TRACEPOINT_OPEN";
    case Cmd::btf_load:
      return "BPF_BTF_LOAD";
    case Cmd::btf_get_fd_by_id:
      return "BPF_BTF_GET_FD_BY_ID";
    case Cmd::map_freeze:
      return "BPF_MAP_FREEZE";
    case Cmd::btf_get_next_id:
      return "BPF_BTF_GET_NEXT_ID";
    case Cmd::link_create:
      return "BPF_LINK_CREATE";
    case Cmd::link_get_fd_by_id:
      return "BPF_LINK_GET_FD_BY_ID";
    case Cmd::link_get_next_id:
      return "BPF_LINK_GET_NEXT_ID";
  }
  return "bpf";
}

Error bpf_error(uapi::Cmd cmd, std::string_view what, int error_number) {
  if (error_number == ENOSYS)
    return Error{
        Code::unsupported,
        fmt::format("{}: this kernel has no bpf(2) (CONFIG_BPF_SYSCALL is off); the user engine needs none", what),
        error_number};
  Error error = base::os_error(fmt::format("{}: {}", what, name_of(cmd)), error_number);
  if (error_number == EPERM) error.message += ". " + explain_refusal(cmd);
  return error;
}

void set_object_name(char (&field)[uapi::object_name_bytes], std::string_view name) {
  const std::string stored = backend::stored_name(name);
  std::memcpy(field, stored.c_str(), stored.size() + 1);
}

}  // namespace skep::kernel
