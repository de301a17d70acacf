// Tracepoints, BPF trampolines (fentry and its kind, LSM, freplace) and iterators.
#include <fmt/core.h>
#include <linux/perf_event.h>

#include <algorithm>
#include <cerrno>

#include "base/mapped_file.hpp"
#include "kernel/attachers.hpp"
#include "kernel/perf_event.hpp"
#include "kernel/tracefs.hpp"

namespace skep::kernel {

Attached attach_tracepoint(const AttachRequest& request) {
  const std::string_view target = request.hook.target;
  const auto [category, name] = split_first(target, '/');
  if (name.empty()) return tl::unexpected(wrong_target(request, target));
  const Tracefs* tracefs = SKEP_TRY(request.session.tracefs());
  perf_event_attr attr{};
  attr.size = sizeof attr;
  attr.type = PERF_TYPE_TRACEPOINT;
  attr.config = SKEP_TRY(tracefs->event_id(category, name));
  attr.sample_period = 1;
  attr.wakeup_events = 1;
  // One event on one CPU is enough: the program hangs on the tracepoint itself and runs wherever it fires.
  auto event = SKEP_TRY_AT(request.place, open_perf_event(attr, -1, 0));
  auto attachment = std::make_unique<Attachment>();
  SKEP_TRY(attach_to_event(request, std::move(event), *attachment, request.hook.cookie));
  return attachment;
}

Attached attach_raw_tracepoint(const AttachRequest& request) {
  const std::string& name = request.hook.target;
  uapi::RawTracepointOpen attr;
  attr.name = address_of(name.c_str());
  attr.prog_fd = static_cast<u32>(request.program_fd);
  attr.cookie = request.cookie();
  const int link = bpf(uapi::Cmd::raw_tracepoint_open, attr);
  if (link >= 0) return std::make_unique<Attachment>(base::Fd(link));
  if (link == -ENOENT)
    return fail(Code::not_found, fmt::format("this kernel has no raw tracepoint \"{}\"", name), ENOENT);
  Error error = bpf_error(uapi::Cmd::raw_tracepoint_open, request.place, -link);
  if (link == -EINVAL && request.cookie() != 0)
    error.message += " (cookies of raw tracepoints came with 6.10)";
  else if (link == -EINVAL)
    error.message += " (the program reads more arguments than the tracepoint has, or its type does not fit)";
  return tl::unexpected(std::move(error));
}

namespace {

/// Programs can be attached to security hooks that the kernel then never calls: those of a module that is not active.
Result<void> check_security_module(const AttachRequest& request) {
  const auto active = base::read_text("/sys/kernel/security/lsm", 4096);  // absent: securityfs is not mounted
  if (!active || fmt::format(",{},", *active).find(",bpf,") != std::string::npos) return {};
  return fail(
      Code::unsupported,
      fmt::format("{}: the kernel would not call it: bpf is not among its active security modules ({}); they are "
                  "set at boot (lsm=...,bpf on the kernel's command line)",
                  request.place, *active));
}

}  // namespace

Attached attach_trampoline(const AttachRequest& request) {
  if (request.hook.kind == AttachKind::lsm) SKEP_TRY(check_security_module(request));
  const bool takes_cookie_here = request.hook.kind == AttachKind::tp_btf;  // others lose it without a word
  if (request.cookie() != 0 && !takes_cookie_here) {
    uapi::LinkCreateTracing with_cookie{.on = link_target(request, 0, request.hook.attach_type()),
                                        .cookie = request.cookie()};
    const int link = bpf(uapi::Cmd::link_create, with_cookie);
    if (link >= 0) return std::make_unique<Attachment>(base::Fd(link));
    return tl::unexpected(link_error(request, -link, is_unknown(-link) ? "cookies of this hook came with 5.19" : ""));
  }
  // The program named its target when it was loaded; the link needs the program only.
  uapi::RawTracepointOpen attr;
  attr.prog_fd = static_cast<u32>(request.program_fd);
  attr.cookie = request.cookie();
  const int link = bpf(uapi::Cmd::raw_tracepoint_open, attr);
  if (link >= 0) return std::make_unique<Attachment>(base::Fd(link));
  Error error = bpf_error(uapi::Cmd::raw_tracepoint_open, request.place, -link);
  if (link == -E2BIG) error.message += " (38 programs are attached to that function, which is all that it can have)";
  if (link == -EBUSY) error.message += " (another tool patches that function)";
  return tl::unexpected(std::move(error));
}

Attached attach_lsm_cgroup(const AttachRequest& request) {
  const auto [hook, path] = split_first(request.hook.target);
  if (path.empty()) return tl::unexpected(wrong_target(request, request.hook.target));
  SKEP_TRY(check_security_module(request));
  const auto group = SKEP_TRY(open_path(request, std::string(path), "control group"));
  uapi::LinkCreate attr{link_target(request, group.get(), AttachType::lsm_cgroup), 0};
  const int link = bpf(uapi::Cmd::link_create, attr);
  if (link < 0) return tl::unexpected(link_error(request, -link));
  return std::make_unique<Attachment>(base::Fd(link));
}

namespace {

/// What an iterator walks over, where it walks over one thing.
struct IterScope {
  uapi::IterMap map;
  uapi::IterCgroup group;
  uapi::IterTask task;
  base::Fd held;
  const void* chosen = nullptr;  ///< one of the three
  u32 bytes = 0;

  template <class Chosen>
  void choose(const Chosen& one) {
    chosen = &one;
    bytes = sizeof one;
  }
};

Result<void> read_scope(const AttachRequest& request, std::string_view kind, std::string_view text, IterScope& scope) {
  if (text.empty()) return {};
  if (kind == "bpf_map_elem" || kind == "bpf_sk_storage_map" || kind == "sockmap") {
    const KernelMap* const map = map_named(request, text);
    if (map == nullptr)
      return fail(Code::not_found, fmt::format("{}: this object has no map \"{}\"", request.place, text));
    scope.map.map_fd = static_cast<u32>(map->fd());
    scope.choose(scope.map);
    return {};
  }
  if (kind == "cgroup") {
    scope.held = SKEP_TRY(open_path(request, std::string(text), "control group"));
    constexpr u32 parents_before_children = 2;  // BPF_CGROUP_ITER_DESCENDANTS_PRE
    scope.group.order = parents_before_children;
    scope.group.cgroup_fd = static_cast<u32>(scope.held.get());
    scope.choose(scope.group);
    return {};
  }
  const auto pid = whole_number(text);
  if (!kind.starts_with("task") || !pid) return tl::unexpected(wrong_target(request, request.hook.target));
  scope.task.pid = static_cast<u32>(*pid);
  scope.choose(scope.task);
  return {};
}

}  // namespace

Attached attach_iterator(const AttachRequest& request) {
  const auto [kind, text] = split_first(request.hook.target);
  IterScope scope;
  SKEP_TRY(read_scope(request, kind, text, scope));
  uapi::LinkCreateIter attr{.on = link_target(request, 0, AttachType::trace_iter),
                            .iter_info = address_of(scope.chosen),
                            .iter_info_len = scope.bytes};
  const int link = bpf(uapi::Cmd::link_create, attr);
  if (link >= 0) return std::make_unique<Attachment>(base::Fd(link));
  std::string_view hint;
  if (text.empty() && (link == -EBADF || link == -EINVAL))
    hint =
        "this iterator walks over one map or control group: name it, such as iter:bpf_map_elem:MAP or iter:cgroup:PATH";
  if (link == -ESRCH) hint = "there is no such process";
  if (link == -E2BIG || (link == -EINVAL && !text.empty())) {
    Error error = link_error(request, -link, "before Linux 6.1 iterators walk over all tasks and control groups only");
    error.code = Code::unsupported;
    return tl::unexpected(std::move(error));
  }
  return tl::unexpected(link_error(request, -link, hint));
}

}  // namespace skep::kernel
