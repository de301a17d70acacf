// User functions: uprobe, uretprobe, and many at once.
//
// The kernel sets a user probe on a file at an offset, so the function is looked up in the file's symbol tables here.
// Source: Documentation/trace/uprobetracer.rst; kernel/trace/bpf_trace.c (uprobe_multi, 6.6).
#include <fmt/format.h>
#include <linux/perf_event.h>

#include <algorithm>
#include <cerrno>

#include "backend/names.hpp"
#include "elf/user_places.hpp"
#include "kernel/attachers.hpp"
#include "kernel/perf_event.hpp"
#include "kernel/step_over.hpp"
#include "kernel/user_probe.hpp"

namespace skep::kernel {

namespace {

bool is_return(AttachKind kind) { return kind == AttachKind::uretprobe || kind == AttachKind::uretprobe_multi; }
bool fires_at_return(AttachKind kind) { return is_return(kind) || kind == AttachKind::uprobe_session; }

struct Place {
  std::string_view file;
  std::string_view function;  ///< or a number
};

Result<Place> read_place(const AttachRequest& request) {
  const auto [file, function] = split_last(request.hook.target);
  if (file.empty() || function.empty()) return tl::unexpected(wrong_target(request, request.hook.target));
  return Place{file, function};
}

/// One link for all of them: BPF_LINK_CREATE's answer. When it goes, the kernel waits once, however many they are.
int open_multi_link(const AttachRequest& request, const UserProbes& probes, AttachType type) {
  std::vector<u64> offsets, semaphores, cookies;
  for (const UserProbe& probe : probes.places) {
    offsets.push_back(probe.offset);
    semaphores.push_back(probe.semaphore_offset);
    cookies.push_back(probe.cookie);
  }
  const auto is_set = [](u64 value) { return value != 0; };
  uapi::LinkCreateUprobeMulti attr{.on = link_target(request, 0, type)};
  attr.path = address_of(probes.path.c_str());
  attr.offsets = address_of(offsets.data());
  if (std::ranges::any_of(semaphores, is_set)) attr.semaphore_offsets = address_of(semaphores.data());
  if (std::ranges::any_of(cookies, is_set)) attr.cookies = address_of(cookies.data());
  attr.count = static_cast<u32>(offsets.size());
  attr.multi_flags = probes.at_return ? uapi::multi_flag_return : 0;
  attr.pid = static_cast<u32>(request.hook.pid);
  return bpf(uapi::Cmd::link_create, attr);
}

/// How perf_event_open(2) is asked for a user probe.
Result<perf_event_attr> probe_event(const AttachRequest& request, bool at_return) {
  const auto type = perf_source_type("uprobe");
  if (!type)
    return fail(Code::unsupported,
                fmt::format("{}: this kernel has no user probes (CONFIG_UPROBE_EVENTS)", request.place));
  perf_event_attr attr{};
  attr.size = sizeof attr;
  attr.type = *type;
  if (!at_return) return attr;
  const auto bit = perf_return_bit("uprobe");
  if (!bit)
    return fail(Code::unsupported, fmt::format("{}: this kernel's user probes have no return probes", request.place));
  attr.config = u64{1} << *bit;
  return attr;
}

/// One probe by an event of its own.
Result<void> set_by_event(const AttachRequest& request, const std::string& path, const UserProbe& probe,
                          perf_event_attr attr, Attachment& attachment) {
  attr.config1 = address_of(path.c_str());  // uprobe_path
  attr.config2 = probe.offset;              // probe_offset
  constexpr u32 semaphore_shift = 32;       // PERF_UPROBE_REF_CTR_OFFSET_SHIFT, since 4.20
  attr.config |= probe.semaphore_offset << semaphore_shift;
  const int pid = request.hook.pid != 0 ? request.hook.pid : -1;
  auto event = open_perf_event(attr, pid, pid == -1 ? 0 : -1);
  if (!event && event.error().os_error == ESRCH)
    return fail(Code::not_found, fmt::format("{}: there is no process {}", request.place, pid), ESRCH);
  if (!event && event.error().os_error == EINVAL)
    return fail(Code::invalid_argument,
                fmt::format("{}: the kernel sets no probe on {} at offset {:#x} (not the start of an instruction, an "
                            "instruction it cannot step over, or a file system that cannot be mapped)",
                            request.place, path, probe.offset),
                EINVAL);
  if (!event) return tl::unexpected(std::move(event).error().within(request.place));
  return attach_to_event(request, *std::move(event), attachment, probe.cookie);
}

/// The file and the places in it that the request names. A pattern's that no probe may stand at are left out, and told.
Result<UserProbes> find_probes(const AttachRequest& request) {
  const auto place = SKEP_TRY(read_place(request));
  const auto binary = SKEP_TRY_AT(request.place, elf::open_user_binary(place.file, request.hook.pid));
  const auto found =
      SKEP_TRY_AT(request.place, elf::user_places(binary, place.function, fires_at_return(request.hook.kind),
                                                  [&](u64 offset) { return why_no_user_probe(binary, offset); }));
  UserProbes probes{.path = binary.path, .at_return = is_return(request.hook.kind)};
  for (const elf::UserPlace& one : found.places)
    probes.places.push_back({.offset = one.offset, .cookie = request.hook.cookie});
  if (!found.left_out.empty()) probes.note = fmt::format("{}: {}", request.place, found.left_out);
  return probes;
}

}  // namespace

std::string why_no_user_probe(const elf::UserBinary& binary, u64 offset) {
  elf::InsnBytes code{};
  const auto count = binary.read(offset, std::as_writable_bytes(std::span(code)));
  const StepOver found = count ? step_over(code) : StepOver::right;
  if (found == StepOver::right) return {};
  return fmt::format(
      "at offset {:#x} stands a vector instruction ({:02x}) that Linux {}", offset,
      fmt::join(std::span(code).first(std::min<std::size_t>(elf::x86_insn(code).length, code.size())), " "),
      found == StepOver::refused ? "does not step over"
                                 : "takes for a jump: with a probe there the program would go wrong; the user engine "
                                   "performs it as it is");
}

Result<void> set_user_probes(const AttachRequest& request, const UserProbes& probes, Attachment& attachment) {
  if (request.on_multi_link) {
    const int link = open_multi_link(request, probes, AttachType::trace_uprobe_multi);
    if (link < 0) return tl::unexpected(link_error(request, -link));
    attachment.hold(base::Fd(link));
    return {};
  }
  const perf_event_attr attr = SKEP_TRY(probe_event(request, probes.at_return));
  for (const UserProbe& probe : probes.places) SKEP_TRY(set_by_event(request, probes.path, probe, attr, attachment));
  return {};
}

Attached attach_uprobe(const AttachRequest& request) {
  auto attachment = std::make_unique<Attachment>();
  const UserProbes probes = SKEP_TRY(find_probes(request));
  SKEP_TRY(set_user_probes(request, probes, *attachment));
  attachment->set_carried_by(probes.note);
  return attachment;
}

Attached attach_uprobe_multi(const AttachRequest& request) {
  const UserProbes probes = SKEP_TRY(find_probes(request));
  const int link = open_multi_link(request, probes, request.hook.attach_type());
  if (link >= 0) {
    auto attachment = std::make_unique<Attachment>(base::Fd(link));
    attachment->set_carried_by(probes.note);
    return attachment;
  }
  const bool session = request.hook.kind == AttachKind::uprobe_session;
  if (is_unknown(-link) && Features::version_code() < (session ? 6u << 16 | 13u << 8 : 6u << 16 | 6u << 8))
    return fail(Code::unsupported,
                session
                    ? fmt::format("{}: this kernel has no uprobe.session links (6.13)", request.place)
                    : fmt::format("{}: this kernel has no uprobe.multi links (6.6); the section uprobe takes the same "
                                  "pattern",
                                  request.place),
                -link);
  return tl::unexpected(link_error(request, -link, link == -ESRCH ? "there is no such process" : ""));
}

}  // namespace skep::kernel
