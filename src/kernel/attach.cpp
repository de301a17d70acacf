// The table of ways, and what the attachers share.
#include "kernel/attach.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "kernel/attachers.hpp"
#include "kernel/info.hpp"

namespace skep::kernel {

namespace {

enum class Target : u8 { optional, named };

struct Way {
  AttachKind kind;
  Attached (*attacher)(const AttachRequest&);
  Target target;
  std::string_view form;
};

constexpr Way ways[] = {
#define SKEP_ATTACH_WAY(kind, attacher, target, form) {AttachKind::kind, attacher, Target::target, form},
#include "kernel/attach_ways.def"
};

struct NoWay {
  AttachKind kind;
  std::string_view reason;
};
constexpr NoWay no_ways[] = {
#define SKEP_NO_ATTACH_WAY(kind, reason) {AttachKind::kind, reason},
#include "kernel/attach_ways.def"
};

const Way* way_of(AttachKind kind) noexcept {
  for (const Way& way : ways)
    if (way.kind == kind) return &way;
  return nullptr;
}

}  // namespace

Attachment::~Attachment() {
  const u64 by_probes = missed_by_probes();
  if (undo_) undo_();
  while (!held_.empty()) held_.pop_back();
  if (!session_) return;
  if (const auto program = raw_program_info(program_.get()))
    session_->note_missed(program->id, {program_name_, program->recursion_misses, by_probes});
}

void Attachment::count_misses(std::shared_ptr<Session> session, int program_fd, std::string program) {
  program_ = base::Fd(::fcntl(program_fd, F_DUPFD_CLOEXEC, 0));
  if (!program_) return;  // out of descriptors: counting is not worth an error
  session_ = std::move(session);
  program_name_ = std::move(program);
}

u64 Attachment::missed_by_probes() const {
  if (!session_) return 0;
  u64 missed = 0;
  for (const base::Fd& fd : held_) {
    const auto link = raw_link_info(fd.get());  // an error: not a link but an event, or a kernel before 5.8
    if (!link) continue;
    const auto kind = static_cast<uapi::PerfEventKind>(link->of.perf_event.type);
    if (link->type == static_cast<u32>(uapi::LinkType::kprobe_multi)) missed += link->of.kprobe_multi.missed;
    if (link->type == static_cast<u32>(uapi::LinkType::perf_event) &&
        (kind == uapi::PerfEventKind::kprobe || kind == uapi::PerfEventKind::kretprobe))
      missed += link->of.perf_event.missed;
  }
  return missed;
}

std::vector<u32> Attachment::ids() const {
  std::vector<u32> ids;
  for (const base::Fd& fd : held_)
    if (const u64 id = FdInfo(fd.get()).number("link_id:"); id != 0) ids.push_back(static_cast<u32>(id));
  return ids;
}

Result<void> Attachment::leave() {
  if (!held_.empty())
    return fail(Code::unsupported,
                "the kernel ends this attachment when its last descriptor goes: pin its link instead");
  undo_ = nullptr;
  return {};
}

Result<void> Attachment::read_output(const std::function<bool(std::string_view)>& on_text) {
  if (held_.empty()) return fail(Code::unsupported, "this attachment writes nothing");
  uapi::IterCreate attr{static_cast<u32>(held_.back().get()), 0};
  const int fd = bpf(uapi::Cmd::iter_create, attr);
  if (fd == -EINVAL) return fail(Code::unsupported, "only iterators write something that can be read");
  if (fd < 0) return tl::unexpected(bpf_error(uapi::Cmd::iter_create, "read the iterator", -fd));
  const base::Fd reader(fd);
  std::array<char, 8192> buffer;
  for (;;) {
    const ssize_t count = ::read(reader.get(), buffer.data(), buffer.size());
    if (count == 0) return {};
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) return tl::unexpected(base::os_error("read the iterator"));
    if (!on_text({buffer.data(), static_cast<std::size_t>(count)})) return {};
  }
}

Attached attach(const AttachRequest& request) {
  const AttachKind kind = request.hook.kind;
  const Way* way = way_of(kind);
  if (way != nullptr) return way->attacher(request);
  for (const NoWay& no_way : no_ways)
    if (no_way.kind == kind)
      return fail(Code::unsupported,
                  fmt::format("a program of section {} is not attached by skep: {}", name_of(kind), no_way.reason));
  return fail(Code::unsupported, fmt::format("the kernel engine does not attach {} programs", name_of(kind)));
}

bool needs_target(AttachKind kind) noexcept {
  const Way* way = way_of(kind);
  return way != nullptr && way->target == Target::named;
}

std::string_view target_form(AttachKind kind) noexcept {
  const Way* way = way_of(kind);
  return way != nullptr ? way->form : std::string_view();
}

bool is_narrowed_by_pid(AttachKind kind) noexcept {
  const Way* way = way_of(kind);
  return way != nullptr && (way->attacher == attach_uprobe || way->attacher == attach_uprobe_multi ||
                            way->attacher == attach_usdt || way->attacher == attach_perf_event);
}

// What the attachers share.

Error link_error(const AttachRequest& request, int error_number, std::string_view hint) {
  // Programs on packets of control groups are loaded by anybody with CAP_BPF, and attached by administrators of
  // networks.
  const ProgramType type = request.hook.program_type();
  const CapabilitySet more = type == ProgramType::cgroup_skb ? Capability::net_admin : needed_by(type);
  Error error = bpf_error(uapi::Cmd::link_create, request.place, error_number, more);
  const bool is_explained = error_number == EPERM && !explain_missing(more).empty();
  if (!hint.empty() && !is_explained) error.message += fmt::format(" ({})", hint);
  if (error_number == ENODEV || error_number == ENOENT) error.code = Code::not_found;
  return error;
}

KernelMap* map_named(const AttachRequest& request, std::string_view name) {
  const auto found = std::ranges::find(request.maps, name, [](const auto& map) { return map->info().name; });
  return found == request.maps.end() ? nullptr : found->get();
}

bool is_unknown(int error_number) noexcept {
  constexpr int enotsupp = 524;  // the kernel's own, in no header
  return error_number == EINVAL || error_number == ENOSYS || error_number == EOPNOTSUPP || error_number == enotsupp;
}

std::pair<std::string_view, std::string_view> split_first(std::string_view text, char at) {
  const auto place = text.find(at);
  return place == text.npos ? std::pair(text, std::string_view())
                            : std::pair(text.substr(0, place), text.substr(place + 1));
}

std::pair<std::string_view, std::string_view> split_last(std::string_view text, char at) {
  const auto place = text.rfind(at);
  return place == text.npos ? std::pair(text, std::string_view())
                            : std::pair(text.substr(0, place), text.substr(place + 1));
}

Error wrong_target(const AttachRequest& request, std::string_view found) {
  return {Code::invalid_argument, fmt::format("{}: found \"{}\", expected {}:{}", request.place, found,
                                              name_of(request.hook.kind), target_form(request.hook.kind))};
}

Result<base::Fd> open_path(const AttachRequest& request, const std::string& path, std::string_view what) {
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() >= 0) return fd;
  const int reason = errno;
  if (reason == ENOENT)
    return fail(Code::not_found, fmt::format("{}: there is no {} \"{}\"", request.place, what, path), ENOENT);
  return tl::unexpected(base::os_error(fmt::format("{}: open {}", request.place, path), reason));
}

Result<void> attach_to_event(const AttachRequest& request, base::Fd event, Attachment& attachment, u64 cookie) {
  const int program = request.program_with ? SKEP_TRY(request.program_with(cookie)) : request.program_fd;
  uapi::LinkCreate attr{link_target(request, event.get(), AttachType::perf_event), request.program_with ? 0 : cookie};
  attr.on.prog_fd = static_cast<u32>(program);
  const int link = bpf(uapi::Cmd::link_create, attr);
  if (link >= 0) {
    attachment.hold(std::move(event));
    attachment.hold(base::Fd(link));
    return {};
  }
  if (cookie != 0 && request.session.features.event_cookies()) return tl::unexpected(link_error(request, -link));
  if (::ioctl(event.get(), PERF_EVENT_IOC_SET_BPF, program) != 0) {
    Error error = base::os_error(fmt::format("{}: attach to the event", request.place));
    if (error.os_error == EINVAL)
      error.message += " (the program's type does not fit this event, or it reads beyond the event's context)";
    if (error.os_error == EEXIST) error.message += " (another program is attached to it; this kernel allows one)";
    return tl::unexpected(std::move(error));
  }
  if (::ioctl(event.get(), PERF_EVENT_IOC_ENABLE, 0) != 0)
    return tl::unexpected(base::os_error(fmt::format("{}: enable the event", request.place)));
  attachment.hold(std::move(event));
  return {};
}

}  // namespace skep::kernel
