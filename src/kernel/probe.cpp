// See probe.hpp. A refusal says by errno and log whether the kernel knew what it was asked.
// Source: libbpf's probes for which attributes the smallest map of each type needs; kernel/bpf/verifier.c for the
// words.
#include "kernel/probe.hpp"

#include <fmt/core.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/kernel_config.hpp"
#include "base/mapped_file.hpp"
#include "catalog/helpers.hpp"
#include "kernel/access.hpp"
#include "kernel/close.hpp"
#include "kernel/features.hpp"
#include "kernel/netlink.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

constexpr int enotsupp = 524;

struct Attempt {
  int error = 0;  ///< 0: loaded
  std::string log;
};

AttachType expected_of(ProgramType type) {
  switch (type) {
    case ProgramType::cgroup_sock_addr:
      return AttachType::cgroup_inet4_connect;
    case ProgramType::cgroup_sockopt:
      return AttachType::cgroup_getsockopt;
    case ProgramType::sk_lookup:
      return AttachType::sk_lookup;
    case ProgramType::netfilter:
      return AttachType::netfilter;
    case ProgramType::tracing:
      return AttachType::trace_fentry;
    case ProgramType::lsm:
      return AttachType::lsm_mac;
    default:
      return AttachType::none;
  }
}

bool names_kernel_type(ProgramType type) {
  return type == ProgramType::tracing || type == ProgramType::lsm || type == ProgramType::ext ||
         type == ProgramType::struct_ops;
}

Attempt load(ProgramType type, std::span<const Insn> insns, bool with_log, u32 device = 0) {
  Attempt attempt;
  attempt.log.resize(with_log ? 4096 : 0);
  uapi::ProgLoad attr;
  attr.prog_type = static_cast<u32>(type);
  attr.prog_ifindex = device;
  if (const AttachType expected = expected_of(type); expected != AttachType::none)
    attr.expected_attach_type = static_cast<u32>(expected);
  if (names_kernel_type(type)) attr.attach_btf_id = 1;  // a base type: never what a program is for
  if (type == ProgramType::syscall) attr.prog_flags = uapi::prog_flag_sleepable;
  attr.insns = address_of(insns.data());
  attr.insn_cnt = static_cast<u32>(insns.size());
  attr.license = address_of("GPL");
  attr.kern_version = Features::version_code();
  if (with_log) {
    attr.log_buf = address_of(attempt.log.data());
    attr.log_size = static_cast<u32>(attempt.log.size());
    attr.log_level = 1;
  }
  const int fd = bpf(uapi::Cmd::prog_load, attr);
  attempt.error = fd < 0 ? -fd : 0;
  if (fd >= 0) ::close(fd);
  attempt.log.resize(::strnlen(attempt.log.data(), attempt.log.size()));
  return attempt;
}

constexpr Insn move(u8 dst, s32 value) { return {0xb7, static_cast<u8>(dst & 15), 0, 0, value}; }
constexpr Insn leave{0x95, 0, 0, 0, 0};

/// Types of one 32-bit integer, which the storage maps want for their keys and values.
base::Fd load_int_type() {
  struct {
    u16 magic = 0xeb9f;
    u8 version = 1, flags = 0;
    u32 header_bytes = 24, type_offset = 0, type_bytes = 16, string_offset = 16, string_bytes = 5;
    u32 name = 1, kind = 1u << 24, size = 4, encoding = 32;  // BTF_KIND_INT of 32 bits
    char strings[8] = "\0int";
  } types;
  uapi::BtfLoad attr;
  attr.btf = address_of(&types);
  attr.btf_size = 24 + 16 + 5;
  return base::Fd(std::max(-1, bpf(uapi::Cmd::btf_load, attr)));
}

uapi::MapCreate smallest_map(MapType type) {
  uapi::MapCreate attr;
  attr.map_type = static_cast<u32>(type);
  attr.key_size = attr.value_size = sizeof(u32);
  attr.max_entries = 1;
  switch (type) {
    case MapType::stack_trace:
      attr.value_size = sizeof(u64);
      break;
    case MapType::lpm_trie:
      attr.key_size = attr.value_size = sizeof(u64);
      attr.map_flags = 1;  // BPF_F_NO_PREALLOC
      break;
    case MapType::cgroup_storage:
    case MapType::percpu_cgroup_storage:
      attr.key_size = 16;  // struct bpf_cgroup_storage_key
      attr.value_size = sizeof(u64);
      attr.max_entries = 0;
      break;
    case MapType::queue:
    case MapType::stack:
    case MapType::bloom_filter:
      attr.key_size = 0;
      break;
    case MapType::sk_storage:
    case MapType::inode_storage:
    case MapType::task_storage:
    case MapType::cgrp_storage:
      attr.max_entries = 0;
      attr.map_flags = 1;
      attr.btf_key_type_id = attr.btf_value_type_id = 1;
      break;
    case MapType::ringbuf:
    case MapType::user_ringbuf:
      attr.key_size = attr.value_size = 0;
      attr.max_entries = static_cast<u32>(::sysconf(_SC_PAGESIZE));
      break;
    case MapType::arena:
      attr.key_size = attr.value_size = 0;
      attr.map_flags = map_flag::mmapable;
      break;
    case MapType::struct_ops:
      attr.btf_vmlinux_value_type_id = 1;
      break;
    default:
      break;
  }
  return attr;
}

}  // namespace

Result<void> probe_access() {
  // With some of them the kernel would seem to have the types of some programs only.
  constexpr CapabilitySet all = Capability::bpf | Capability::perfmon | Capability::net_admin;
  if (const std::string missing = explain_missing(all); !missing.empty() && !in_user_namespace())
    return fail(Code::permission,
                "probe this kernel: " + missing + ". `feature probe unprivileged` tells what goes without", EPERM);
  const Insn insns[] = {move(0, 0), leave};
  const auto attempt = load(ProgramType::socket_filter, insns, false);
  if (attempt.error == 0) return {};
  return tl::unexpected(bpf_error(uapi::Cmd::prog_load, "probe this kernel", attempt.error));
}

Result<void> drop_bpf_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, sets) < 0)
    return tl::unexpected(Error{Code::io, fmt::format("capget: {}", strerrordesc_np(errno)), errno});
  for (const int capability : {CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON})
    sets[CAP_TO_INDEX(capability)].effective &= ~CAP_TO_MASK(capability);
  if (::syscall(SYS_capset, &header, sets) < 0)
    return tl::unexpected(Error{Code::io, fmt::format("capset: {}", strerrordesc_np(errno)), errno});
  return {};
}

Result<u32> probe_device(const std::string& name) {
  const u32 index = device_index(name);
  if (index == 0) return fail(Code::not_found, fmt::format("dev '{}': no such network device", name));
  return index;
}

bool probe(ProgramType type, u32 device) {
  const Insn insns[] = {move(0, type == ProgramType::cgroup_sock_addr ? 1 : 0), leave};
  const auto attempt = load(type, insns, names_kernel_type(type), device);
  if (attempt.error == 0) return true;
  // The kernel looked at type 1 and said that it is no function (or structure): it has the program type.
  return names_kernel_type(type) && (!attempt.log.empty() || attempt.error == enotsupp);
}

bool probe(MapType type, u32 device) {
  auto attr = smallest_map(type);
  attr.map_ifindex = device;
  base::Fd types, inner;
  if (attr.btf_key_type_id != 0) {
    types = load_int_type();
    if (types.get() < 0) return false;
    attr.btf_fd = static_cast<u32>(types.get());
  }
  if (type == MapType::array_of_maps || type == MapType::hash_of_maps) {
    auto array = smallest_map(MapType::array);
    inner = base::Fd(std::max(-1, bpf(uapi::Cmd::map_create, array)));
    if (inner.get() < 0) return false;
    attr.inner_map_fd = static_cast<u32>(inner.get());
  }
  const int fd = bpf(uapi::Cmd::map_create, attr);
  if (fd >= 0) ::close(fd);
  return fd >= 0 || (type == MapType::struct_ops && fd == -enotsupp);
}

bool is_noisy(std::string_view helper) {
  return helper == "trace_printk" || helper == "trace_vprintk" || helper == "probe_write_user";
}

std::vector<std::string> probe_helpers(ProgramType type, bool full, u32 device) {
  std::vector<std::string> names;
  if (names_kernel_type(type) || !probe(type, device)) return names;
  for (const auto& row : catalog::helpers()) {
    if (!full && is_noisy(row.name)) continue;
    const Insn insns[] = {{0x85, 0, 0, 0, static_cast<s32>(row.id)}, leave};
    const auto attempt = load(type, insns, true, device);
    const bool unknown = attempt.log.find("invalid func ") != std::string::npos ||
                         attempt.log.find("unknown func ") != std::string::npos ||
                         attempt.log.find("cannot use helper") != std::string::npos ||
                         attempt.log.find("program of this type") != std::string::npos;
    // Refused for its arguments or its result means that the helper is there.
    if (attempt.error == 0 || (!attempt.log.empty() && !unknown)) names.push_back("bpf_" + std::string(row.name));
  }
  return names;
}

Instructions probe_instructions(u32 device) {
  constexpr std::size_t old_limit = 4096;
  const auto type = device == 0 ? ProgramType::socket_filter : ProgramType::xdp;  // what devices take
  const auto loads = [&](std::span<const Insn> insns) { return load(type, insns, false, device).error == 0; };
  Instructions found;
  std::vector<Insn> many(old_limit, move(0, 1));
  many.push_back(leave);
  found.large_programs = loads(many);
  const std::array loop{move(0, 10), Insn{0x07, 0, 0, 0, -1}, Insn{0x55, 0, 0, -2, 0}, leave};
  found.bounded_loops = loads(loop);
  const std::array v2{move(0, 0), Insn{0xa5, 0, 0, 1, 1}, move(0, 1), leave};  // if r0 < 1
  found.isa_v2 = loads(v2);
  const std::array v3{move(0, 0), Insn{0xa6, 0, 0, 1, 1}, move(0, 1), leave};  // if w0 < 1
  found.isa_v3 = loads(v3);
  const std::array v4{move(1, 1), Insn{0xbf, 0, 1, 8, 0}, leave};  // r0 = (s8)r1
  found.isa_v4 = loads(v4);
  return found;
}

std::vector<Setting> probe_settings() {
  struct Sysctl {
    const char *name, *path;
  };
  constexpr Sysctl sysctls[] = {{"unprivileged_bpf_disabled", "/proc/sys/kernel/unprivileged_bpf_disabled"},
                                {"bpf_jit_enable", "/proc/sys/net/core/bpf_jit_enable"},
                                {"bpf_jit_harden", "/proc/sys/net/core/bpf_jit_harden"},
                                {"bpf_jit_kallsyms", "/proc/sys/net/core/bpf_jit_kallsyms"},
                                {"bpf_jit_limit", "/proc/sys/net/core/bpf_jit_limit"}};
  constexpr const char* options[] = {"BPF",
                                     "BPF_SYSCALL",
                                     "HAVE_EBPF_JIT",
                                     "BPF_JIT",
                                     "BPF_JIT_ALWAYS_ON",
                                     "DEBUG_INFO_BTF",
                                     "DEBUG_INFO_BTF_MODULES",
                                     "CGROUPS",
                                     "CGROUP_BPF",
                                     "CGROUP_NET_CLASSID",
                                     "SOCK_CGROUP_DATA",
                                     "BPF_EVENTS",
                                     "KPROBE_EVENTS",
                                     "UPROBE_EVENTS",
                                     "TRACING",
                                     "FTRACE_SYSCALLS",
                                     "FUNCTION_ERROR_INJECTION",
                                     "BPF_KPROBE_OVERRIDE",
                                     "NET",
                                     "XDP_SOCKETS",
                                     "LWTUNNEL_BPF",
                                     "NET_ACT_BPF",
                                     "NET_CLS_BPF",
                                     "NET_CLS_ACT",
                                     "NET_SCH_INGRESS",
                                     "XFRM",
                                     "IP_ROUTE_CLASSID",
                                     "IPV6_SEG6_BPF",
                                     "BPF_LIRC_MODE2",
                                     "BPF_STREAM_PARSER",
                                     "NETFILTER_XT_MATCH_BPF",
                                     "BPFILTER",
                                     "BPFILTER_UMH",
                                     "TEST_BPF",
                                     "HZ"};
  std::vector<Setting> settings;
  for (const Sysctl& sysctl : sysctls) {
    auto text = base::read_text(sysctl.path, 64);
    while (text && !text->empty() && text->back() == '\n') text->pop_back();
    settings.push_back({sysctl.name, text ? std::optional(*text) : std::nullopt, true});
  }
  const auto config = base::kernel_config();
  for (const char* option : options) {
    const std::string name = fmt::format("CONFIG_{}", option);
    settings.push_back({name, config ? config_value(*config, name) : std::nullopt, false});
  }
  return settings;
}

}  // namespace skep::kernel
