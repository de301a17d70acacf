// The prototype table, and the proof that it matches the helper table.
#include "catalog/prototypes.hpp"

namespace skep::catalog {
namespace {

constexpr auto make_rows() {
  using namespace helper_flags;
  using namespace programs;
  return std::to_array<Prototype>({
#define SKEP_PROTOTYPE(name, callers, flags, returns, a1, a2, a3, a4, a5) \
  {HelperId::name, callers, flags, Returns::returns, {Arg::a1, Arg::a2, Arg::a3, Arg::a4, Arg::a5}},
#include "catalog/helper_prototypes.def"
#undef SKEP_PROTOTYPE
  });
}
constexpr auto rows = make_rows();

constexpr bool matches_helpers() {
  u32 expected = 1;
  for (const Prototype& row : rows)
    if (static_cast<u32>(row.id) != expected++) return false;
  return true;
}
static_assert(matches_helpers(), "helper_prototypes.def: one row per helper, in order of id");

struct ObjectOf {
  HelperId id;
  std::string_view type;
};
constexpr ObjectOf object_arguments[] = {
    {HelperId::seq_printf, "seq_file"},
    {HelperId::seq_write, "seq_file"},
    {HelperId::seq_printf_btf, "seq_file"},
    {HelperId::skb_output, "sk_buff"},
    {HelperId::xdp_output, "xdp_buff"},
    {HelperId::tcp_send_ack, "tcp_sock"},
    {HelperId::inode_storage_get, "inode"},
    {HelperId::inode_storage_delete, "inode"},
    {HelperId::d_path, "path"},
    {HelperId::bprm_opts_set, "linux_binprm"},
    {HelperId::ima_inode_hash, "inode"},
    {HelperId::ima_file_hash, "file"},
    {HelperId::sock_from_file, "file"},
    {HelperId::cgrp_storage_get, "cgroup"},
    {HelperId::cgrp_storage_delete, "cgroup"},
};
constexpr ObjectOf object_results[] = {
    {HelperId::skc_to_tcp6_sock, "tcp6_sock"},
    {HelperId::skc_to_tcp_sock, "tcp_sock"},
    {HelperId::skc_to_tcp_timewait_sock, "tcp_timewait_sock"},
    {HelperId::skc_to_tcp_request_sock, "tcp_request_sock"},
    {HelperId::skc_to_udp6_sock, "udp6_sock"},
    {HelperId::skc_to_unix_sock, "unix_sock"},
    {HelperId::skc_to_mptcp_sock, "mptcp_sock"},
    {HelperId::sock_from_file, "socket"},
    {HelperId::task_pt_regs, "pt_regs"},
};

template <std::size_t N>
std::string_view object_of(const ObjectOf (&table)[N], HelperId id) {
  for (const ObjectOf& row : table)
    if (row.id == id) return row.type;
  return {};
}

}  // namespace

std::span<const Prototype> prototypes() noexcept { return rows; }

const Prototype* prototype(u32 id) noexcept { return id >= 1 && id <= rows.size() ? &rows[id - 1] : nullptr; }

std::string_view object_argument(HelperId id) noexcept { return object_of(object_arguments, id); }
std::string_view object_result(HelperId id) noexcept { return object_of(object_results, id); }

bool takes_socket_for_context(HelperId id, ProgramType type) noexcept {
  if (type == ProgramType::cgroup_sockopt) return id == HelperId::setsockopt || id == HelperId::getsockopt;
  if (type == ProgramType::sk_reuseport) return id == HelperId::get_socket_cookie;
  if (!contains(programs::tracing | programs::struct_ops | programs::lsm, type)) return false;
  return id == HelperId::setsockopt || id == HelperId::getsockopt || id == HelperId::get_socket_cookie ||
         id == HelperId::get_netns_cookie;
}

std::string_view name_of(Arg arg) noexcept {
  switch (arg) {
    case Arg::object:
      return "a pointer to the kernel's structure";
    case Arg::object_or_null:
      return "a pointer to the kernel's structure, or 0";
    case Arg::percpu_object:
      return "a kernel variable that each CPU has";
    case Arg::none:
      return "nothing";
    case Arg::anything:
      return "any initialised value";
    case Arg::ctx:
      return "the context";
    case Arg::ctx_or_null:
      return "the context or 0";
    case Arg::map:
      return "a map";
    case Arg::map_key:
      return "a pointer to the map's key";
    case Arg::map_value:
      return "a pointer to a value for the map";
    case Arg::map_value_or_null:
      return "a pointer to a value for the map, or 0";
    case Arg::map_value_out:
      return "a pointer to room for a value of the map";
    case Arg::read:
      return "a pointer to memory to read";
    case Arg::read_or_null:
      return "a pointer to memory to read, or 0";
    case Arg::write:
      return "a pointer to memory to fill";
    case Arg::write_or_null:
      return "a pointer to memory to fill, or 0";
    case Arg::modify:
      return "a pointer to memory to read and write";
    case Arg::size:
      return "the size of the memory before it";
    case Arg::size_or_zero:
      return "the size of the memory before it, or 0";
    case Arg::alloc_size:
      return "a constant size";
    case Arg::record:
      return "a record from bpf_ringbuf_reserve";
    case Arg::out_u32:
      return "a pointer to 4 bytes to fill";
    case Arg::out_u64:
      return "a pointer to 8 bytes to fill";
    case Arg::inout_u32:
      return "a pointer to 4 bytes to read and write";
    case Arg::read_20:
      return "a pointer to a header of 20 bytes";
    case Arg::read_40:
      return "a pointer to a header of 40 bytes";
    case Arg::string:
      return "a constant string in a read-only map";
    case Arg::spin_lock:
      return "a pointer to the bpf_spin_lock of a map value";
    case Arg::sock_common:
    case Arg::any_sock:
      return "a socket";
    case Arg::socket:
      return "a full socket";
    case Arg::task:
      return "a task_struct";
    case Arg::task_or_null:
      return "a task_struct, or 0";
    case Arg::callback:
      return "a static function";
    case Arg::callback_ctx:
      return "stack memory or 0";
    case Arg::timer:
      return "a pointer to the bpf_timer of a map value";
    case Arg::dynptr:
      return "an initialised dynptr";
    case Arg::dynptr_local:
    case Arg::dynptr_new_record:
      return "a pointer to a struct bpf_dynptr on the stack";
    case Arg::dynptr_record:
      return "a dynptr from bpf_ringbuf_reserve_dynptr()";
    case Arg::kptr_field:
      return "a pointer to a __kptr field";
    case Arg::kptr_value:
      return "an owned object of the field's type, or 0";
    case Arg::unmodelled:
      return "a kind of pointer this verifier does not model yet";
  }
  return "?";
}

}  // namespace skep::catalog
