// BPF_OBJ_GET_INFO_BY_FD of links. A link's structure has a part by type, and some parts point to room for a name,
// so what has a name is asked twice.
// Source: include/uapi/linux/bpf.h, struct bpf_link_info (Linux 6.18); bpftool's link.c for the keys.
#include "kernel/links.hpp"

#include <fmt/core.h>
#include <net/if.h>

#include <cstring>

#include "backend/names.hpp"
#include "btf/btf.hpp"
#include "kernel/info.hpp"
#include "kernel/open.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

std::string_view type_name(u32 type) {
  switch (type) {
#define SKEP_LINK_TYPE(name, number) \
  case number:                       \
    return #name;
#include <skep/tables/link_types.def>
#undef SKEP_LINK_TYPE
    default:
      return "unknown";
  }
}

/// One link being described.
class Reader {
 public:
  explicit Reader(int fd) : fd_(fd) {}

  Result<LinkInfo> read() {
    raw_ = SKEP_TRY(raw_link_info(fd_));
    info_.id = raw_.id;
    info_.type = type_name(raw_.type);
    info_.program_id = raw_.prog_id;
    facts();
    return std::move(info_);
  }

 private:
  void text(std::string_view key, std::string_view value) {
    info_.facts.push_back({std::string(key), std::string(value), Fact::Form::text});
  }
  void number(std::string_view key, u64 value) {
    info_.facts.push_back({std::string(key), std::to_string(value), Fact::Form::number});
  }
  void json(std::string_view key, std::string value) {
    info_.facts.push_back({std::string(key), std::move(value), Fact::Form::json});
  }
  void attach_type(u32 type) {
    const auto name = backend::attach_type_name(static_cast<AttachType>(type));
    name == "unknown" ? number("attach_type", type) : text("attach_type", name);
  }
  /// A link stays when its device goes; then it has none, and the kernel says 0.
  void device(u32 index) {
    char name[IF_NAMESIZE] = {};
    const bool known = index != 0 && ::if_indextoname(index, name) != nullptr;
    text("devname", index == 0 ? "(detached)" : known ? name : "(unknown)");
    number("ifindex", index);
    info_.target = index == 0 ? "a network device that is gone"
                   : known    ? std::string(name)
                              : fmt::format("network device {} of another network namespace", index);
  }
  /// Asks again with room for a name at a place of the structure that `place` sets.
  template <class Place>
  std::string name_at(Place place) {
    char name[256] = {};
    uapi::LinkInfo again;
    place(again, address_of(name), static_cast<u32>(sizeof name));
    uapi::InfoByFd attr{static_cast<u32>(fd_), sizeof again, address_of(&again)};
    if (bpf(uapi::Cmd::obj_get_info_by_fd, attr) < 0) return {};
    return std::string(name, ::strnlen(name, sizeof name));
  }

  void facts() {
    switch (static_cast<uapi::LinkType>(raw_.type)) {
      case uapi::LinkType::raw_tracepoint: {
        const auto name = name_at([](uapi::LinkInfo& at, u64 room, u32 size) { at.of.raw_tracepoint = {room, size}; });
        text("tp_name", name);
        info_.target = "raw_tracepoint:" + name;
        return;
      }
      case uapi::LinkType::tracing:
        return tracing();
      case uapi::LinkType::cgroup:
        number("cgroup_id", raw_.of.cgroup.cgroup_id);
        attach_type(raw_.of.cgroup.attach_type);
        if (raw_.of.cgroup.cgroup_id == 0) info_.target = "a control group that is gone";
        return;
      case uapi::LinkType::iter:
        return iterator();
      case uapi::LinkType::netns:
        number("netns_ino", raw_.of.netns.netns_ino);
        attach_type(raw_.of.netns.attach_type);
        if (raw_.of.netns.netns_ino == 0) info_.target = "a network namespace that is gone";
        return;
      case uapi::LinkType::xdp:
        return device(raw_.of.interface.ifindex);
      case uapi::LinkType::tcx:
      case uapi::LinkType::netkit:
        device(raw_.of.interface.ifindex);
        attach_type(raw_.of.interface.attach_type);
        return;
      case uapi::LinkType::perf_event:
        return perf_event();
      case uapi::LinkType::struct_ops:
        number("map_id", raw_.of.struct_ops.map_id);
        return;
      case uapi::LinkType::netfilter:
        number("pf", raw_.of.netfilter.pf);
        number("hook", raw_.of.netfilter.hooknum);
        json("prio", std::to_string(raw_.of.netfilter.priority));
        number("flags", raw_.of.netfilter.flags);
        return;
      case uapi::LinkType::kprobe_multi:
        json("retprobe", (raw_.of.kprobe_multi.flags & 1) != 0 ? "true" : "false");
        number("func_cnt", raw_.of.kprobe_multi.count);
        number("missed", raw_.of.kprobe_multi.missed);
        return;
      case uapi::LinkType::uprobe_multi:
        return uprobe_multi();
      case uapi::LinkType::sockmap:
        number("map_id", raw_.of.sockmap.map_id);
        attach_type(raw_.of.sockmap.attach_type);
        if (raw_.of.sockmap.map_id == 0) info_.target = "a map that is gone";
        return;
    }
  }

  void tracing() {
    const auto& at = raw_.of.tracing;
    if (const auto fd = open_by_id(uapi::Cmd::prog_get_fd_by_id, raw_.prog_id, "program"))
      if (const auto program = raw_program_info(fd->get()))
        text("prog_type", name_of(static_cast<ProgramType>(program->type)));
    attach_type(at.attach_type);
    number("target_obj_id", at.target_obj_id);
    number("target_btf_id", at.target_btf_id);
    const auto types =
        at.target_obj_id != 0 ? types_by_id(at.target_obj_id) : btf::Btf::from_file("/sys/kernel/btf/vmlinux");
    if (!types || at.target_btf_id == 0 || at.target_btf_id >= (*types)->type_count()) return;
    std::string_view target = (*types)->type(at.target_btf_id).name;
    if (at.attach_type == static_cast<u32>(AttachType::trace_raw_tp)) {
      if (target.starts_with("btf_trace_")) target.remove_prefix(10);
      info_.target = fmt::format("tp_btf:{}", target);
    } else if (at.attach_type == static_cast<u32>(AttachType::trace_fentry)) {
      info_.target = fmt::format("fentry:{}", target);
    } else if (at.attach_type == static_cast<u32>(AttachType::trace_fexit)) {
      info_.target = fmt::format("fexit:{}", target);
    } else {
      info_.target = target;
    }
  }

  void uprobe_multi() {
    const auto probes = user_probe_link(fd_);
    if (!probes) return;  // kernels before 6.8 say nothing of it
    json("retprobe", probes->at_return ? "true" : "false");
    text("path", probes->path);
    number("func_cnt", probes->places.size());
    number("pid", probes->pid);
    std::string places;
    for (const auto& place : probes->places)
      places += fmt::format(R"({}{{"offset":{},"ref_ctr_offset":{},"cookie":{}}})", places.empty() ? "" : ",",
                            place.offset, place.semaphore_offset, place.cookie);
    json("funcs", "[" + places + "]");
    info_.target = fmt::format("{}:{}:{:#x}", probes->at_return ? "uretprobe" : "uprobe", probes->path,
                               probes->places.front().offset);
    if (probes->places.size() > 1) info_.target += fmt::format(" and {} more", probes->places.size() - 1);
  }

  void iterator() {
    const auto name = name_at([](uapi::LinkInfo& at, u64 room, u32 size) {
      at.of.iter.target_name = room;
      at.of.iter.target_name_len = size;
    });
    text("target_name", name);
    info_.target = "iter:" + name;
    if (name == "bpf_map_elem" || name == "bpf_sk_storage_map") number("map_id", raw_.of.iter.map_id);
    if (name.starts_with("task")) {
      if (raw_.of.iter.map_id != 0) number("tid", raw_.of.iter.map_id);
      if (raw_.of.iter.second != 0) number("pid", raw_.of.iter.second);
    }
  }

  void perf_event() {
    const auto kind = static_cast<uapi::PerfEventKind>(raw_.of.perf_event.type);
    if (kind == uapi::PerfEventKind::event || raw_.of.perf_event.type == 0) return;
    const auto name = name_at([](uapi::LinkInfo& at, u64 room, u32 size) {
      at.of.perf_event.name = room;
      at.of.perf_event.name_len = size;
    });
    const u64 offset = raw_.of.perf_event.offset;
    const bool at_return = kind == uapi::PerfEventKind::kretprobe || kind == uapi::PerfEventKind::uretprobe;
    switch (kind) {
      case uapi::PerfEventKind::tracepoint:
        text("tracepoint", name);
        info_.target = "tracepoint:" + name;
        return;
      case uapi::PerfEventKind::kprobe:
      case uapi::PerfEventKind::kretprobe:
        json("retprobe", at_return ? "true" : "false");
        text("func", name);
        number("offset", offset);
        info_.target = fmt::format("{}:{}", at_return ? "kretprobe" : "kprobe", name);
        return;
      case uapi::PerfEventKind::uprobe:
      case uapi::PerfEventKind::uretprobe:
        json("retprobe", at_return ? "true" : "false");
        text("file", name);
        number("offset", offset);
        info_.target = fmt::format("{}:{}:{:#x}", at_return ? "uretprobe" : "uprobe", name, offset);
        return;
      case uapi::PerfEventKind::event:
        return;
    }
  }

  int fd_;
  uapi::LinkInfo raw_;
  LinkInfo info_;
};

}  // namespace

std::optional<UserProbeLink> user_probe_link(int fd) {
  uapi::LinkInfo info;
  uapi::InfoByFd attr{static_cast<u32>(fd), sizeof info, address_of(&info)};
  if (bpf(uapi::Cmd::obj_get_info_by_fd, attr) < 0 || info.of.uprobe_multi.count == 0 ||
      info.type != static_cast<u32>(uapi::LinkType::uprobe_multi))
    return std::nullopt;
  char path[4096] = {};
  std::vector<u64> offsets(info.of.uprobe_multi.count), semaphores(offsets.size()), cookies(offsets.size());
  info.of.uprobe_multi.path = address_of(path);
  info.of.uprobe_multi.path_size = sizeof path;
  info.of.uprobe_multi.offsets = address_of(offsets.data());
  info.of.uprobe_multi.ref_ctr_offsets = address_of(semaphores.data());
  info.of.uprobe_multi.cookies = address_of(cookies.data());
  if (bpf(uapi::Cmd::obj_get_info_by_fd, attr) < 0) return std::nullopt;
  UserProbeLink link{.path = std::string(path, ::strnlen(path, sizeof path)),
                     .at_return = (info.of.uprobe_multi.flags & uapi::multi_flag_return) != 0,
                     .pid = info.of.uprobe_multi.pid,
                     .program_id = info.prog_id,
                     .places = {}};
  for (std::size_t i = 0; i < offsets.size(); ++i) link.places.push_back({offsets[i], semaphores[i], cookies[i]});
  return link;
}

Result<LinkInfo> link_info(int fd) { return Reader(fd).read(); }

}  // namespace skep::kernel
