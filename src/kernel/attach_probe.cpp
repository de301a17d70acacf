// Kernel functions (kprobe, kretprobe, many at once) and counters (perf_event).
//
// A pattern means every function of the kernel whose name fits and that may be probed: by one kprobe.multi link where
// the program was loaded for it (plan.cpp says when), else by one event each. Functions that the kernel refuses are
// skipped and named.
// Source: Documentation/trace/kprobetrace.rst; kernel/trace/bpf_trace.c (kprobe_multi, 5.18).
#include <fmt/core.h>
#include <fnmatch.h>
#include <linux/perf_event.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/cpus.hpp"
#include "kernel/attachers.hpp"
#include "kernel/functions.hpp"
#include "kernel/perf_event.hpp"

namespace skep::kernel {

namespace {

constexpr std::size_t most_events = 4096;  ///< two descriptors each

Result<std::vector<std::string>> matching(const AttachRequest& request, const std::string& pattern) {
  constexpr u32 first_that_looks_into_modules = 6u << 16 | 2u << 8;  // kprobe.multi; single events always do
  const bool single = request.hook.kind == AttachKind::kprobe || request.hook.kind == AttachKind::kretprobe;
  auto names = SKEP_TRY(
      probeable_functions(request.session, single || Features::version_code() >= first_that_looks_into_modules));
  std::erase_if(names, [&](const std::string& name) { return ::fnmatch(pattern.c_str(), name.c_str(), 0) != 0; });
  if (names.empty())
    return fail(Code::not_found, fmt::format("{}: no function that can be probed fits this pattern "
                                             "(available_filter_functions lists them)",
                                             request.place));
  return names;
}

struct ProbeSource {
  u32 type = 0;
  u64 config = 0;  ///< the bit of return probes
};

Result<ProbeSource> probe_source(const AttachRequest& request, bool at_return) {
  const auto type = perf_source_type("kprobe");
  if (!type)
    return fail(Code::unsupported,
                fmt::format("{}: this kernel has no kprobes (CONFIG_KPROBES, CONFIG_KPROBE_EVENTS)", request.place));
  if (!at_return) return ProbeSource{*type, 0};
  const auto bit = perf_return_bit("kprobe");
  if (!bit)
    return fail(Code::unsupported, fmt::format("{}: this kernel's kprobes have no return probes", request.place));
  return ProbeSource{*type, u64{1} << *bit};
}

Result<void> probe_one(const AttachRequest& request, const ProbeSource& source, const std::string& function, u64 offset,
                       Attachment& attachment) {
  perf_event_attr attr{};
  attr.size = sizeof attr;
  attr.type = source.type;
  attr.config = source.config;
  attr.config1 = address_of(function.c_str());  // kprobe_func
  attr.config2 = offset;                        // probe_offset
  auto event = open_perf_event(attr, -1, 0);
  if (!event && event.error().os_error == ENOENT)
    return fail(Code::not_found,
                fmt::format("{}: the kernel has no such function to probe (it may be inlined, renamed or not "
                            "traceable; see /proc/kallsyms)",
                            request.place),
                ENOENT);
  if (!event && event.error().os_error == EADDRNOTAVAIL)
    return fail(Code::not_found,
                fmt::format("{}: several functions of the kernel have this name; add the offset of one in another "
                            "symbol (SYMBOL+OFFSET)",
                            request.place),
                EADDRNOTAVAIL);
  if (!event) return tl::unexpected(std::move(event).error().within(request.place));
  return attach_to_event(request, *std::move(event), attachment, request.hook.cookie);
}

/// "a, b, c and 12 more".
std::string listed(const std::vector<std::string>& names) {
  constexpr std::size_t shown = 5;
  std::string text;
  for (std::size_t i = 0; i < std::min(shown, names.size()); ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > shown) text += fmt::format(" and {} more", names.size() - shown);
  return text;
}

Attached probe_each(const AttachRequest& request, const ProbeSource& source, const std::vector<std::string>& names) {
  if (names.size() > most_events)
    return fail(Code::limit, fmt::format("{}: {} functions fit, at most {} can be probed one by one; use the section "
                                         "kprobe.multi, or a narrower pattern",
                                         request.place, names.size(), most_events));
  auto attachment = std::make_unique<Attachment>();
  std::vector<std::string> skipped;
  std::optional<Error> first;
  for (const std::string& name : names) {
    auto done = probe_one(request, source, name, 0, *attachment);
    if (done) continue;
    const int reason = done.error().os_error;  // these are ours, not the function's
    if (done.error().code == Code::permission || reason == EMFILE || reason == ENFILE || reason == ENOMEM)
      return tl::unexpected(std::move(done).error());
    skipped.push_back(name);
    if (!first) first = std::move(done).error();
  }
  if (attachment->empty()) return tl::unexpected(*std::move(first));
  if (!skipped.empty())
    request.session.note(fmt::format("{}: {} functions probed, {} skipped, which the kernel refuses: {}", request.place,
                                     names.size() - skipped.size(), skipped.size(), listed(skipped)));
  return attachment;
}

/// One link for all of them: BPF_LINK_CREATE's answer. When it goes, the kernel waits once, however many they are.
int open_multi_link(const AttachRequest& request, const std::vector<std::string>& names, AttachType type,
                    bool at_return) {
  std::vector<u64> symbols;
  for (const std::string& name : names) symbols.push_back(address_of(name.c_str()));
  const std::vector<u64> cookies(request.hook.cookie != 0 ? names.size() : 0, request.hook.cookie);
  uapi::LinkCreateKprobeMulti attr{.on = link_target(request, 0, type)};
  attr.multi_flags = at_return ? uapi::multi_flag_return : 0;
  attr.count = static_cast<u32>(names.size());
  attr.symbols = address_of(symbols.data());
  attr.cookies = cookies.empty() ? 0 : address_of(cookies.data());
  return bpf(uapi::Cmd::link_create, attr);
}

Attached probe_by_link(const AttachRequest& request, const std::vector<std::string>& names, bool at_return) {
  const int link = open_multi_link(request, names, AttachType::trace_kprobe_multi, at_return);
  if (link < 0) return tl::unexpected(link_error(request, -link));
  return std::make_unique<Attachment>(base::Fd(link));
}

}  // namespace

Attached attach_kprobe(const AttachRequest& request) {
  const bool at_return = request.hook.kind == AttachKind::kretprobe || request.hook.kind == AttachKind::kretsyscall;
  const auto source = SKEP_TRY(probe_source(request, at_return));
  const auto [function, digits] = split_first(request.hook.target, '+');
  if (is_pattern(function)) {
    const auto names = SKEP_TRY(matching(request, std::string(function)));
    return request.on_multi_link ? probe_by_link(request, names, at_return) : probe_each(request, source, names);
  }
  const auto offset = digits.empty() ? std::optional<u64>(0) : whole_number(digits);
  if (!offset || (digits.empty() && request.hook.target.ends_with('+')))
    return fail(Code::invalid_argument, fmt::format("{}: \"{}\" is not an offset", request.place, digits));
  if (at_return && *offset != 0)
    return fail(Code::invalid_argument, fmt::format("{}: a return probe takes no offset", request.place));
  auto attachment = std::make_unique<Attachment>();
  SKEP_TRY(probe_one(request, source, std::string(function), *offset, *attachment));
  return attachment;
}

Attached attach_kprobe_multi(const AttachRequest& request) {
  const std::string& target = request.hook.target;
  const auto names = is_pattern(target) ? SKEP_TRY(matching(request, target)) : std::vector<std::string>{target};
  const int link =
      open_multi_link(request, names, request.hook.attach_type(), request.hook.kind == AttachKind::kretprobe_multi);
  if (link >= 0) return std::make_unique<Attachment>(base::Fd(link));
  if (is_unknown(-link))
    return fail(Code::unsupported,
                request.hook.kind == AttachKind::kprobe_session
                    ? fmt::format("{}: this kernel has no kprobe.session links (6.10, CONFIG_FPROBE)", request.place)
                    : fmt::format("{}: this kernel has no kprobe.multi links (5.18, CONFIG_FPROBE); the section kprobe "
                                  "takes the same pattern",
                                  request.place),
                -link);
  if (link == -ENOENT || link == -ESRCH)
    return fail(Code::not_found, fmt::format("{}: the kernel has no such function to probe", request.place), -link);
  return tl::unexpected(link_error(request, -link));
}

namespace {

/// "cpu-clock:99hz", "page-faults:100".
Result<perf_event_attr> read_counter(const AttachRequest& request) {
  auto [name, rate] = split_first(request.hook.target);
  const bool is_frequency = rate.ends_with("hz");
  if (is_frequency) rate.remove_suffix(2);
  const auto number = whole_number(rate);
  if (!number || *number == 0) return tl::unexpected(wrong_target(request, request.hook.target));
  const PerfCounter counter = SKEP_TRY_AT(request.place, perf_counter(name));
  perf_event_attr attr{};
  attr.size = sizeof attr;
  attr.type = counter.type;
  attr.config = counter.config;
  attr.freq = is_frequency ? 1 : 0;
  attr.sample_period = *number;  // or sample_freq: a union
  return attr;
}

/// The threads of a process: an event follows one of them, and those that it starts.
Result<std::vector<int>> threads_of(const AttachRequest& request, int pid) {
  std::vector<int> threads;
  std::error_code error;
  using Walk = std::filesystem::directory_iterator;
  for (Walk at(fmt::format("/proc/{}/task", pid), error), end; !error && at != end; at.increment(error))
    if (const auto thread = whole_number(at->path().filename().native())) threads.push_back(static_cast<int>(*thread));
  if (threads.empty())
    return fail(Code::not_found, fmt::format("{}: there is no process {}", request.place, pid), ESRCH);
  return threads;
}

/// Samples one thread (-1: all) on one CPU. A CPU or a thread that is gone meanwhile is no error.
Result<void> sample(const AttachRequest& request, perf_event_attr& attr, int thread, u32 cpu, Attachment& attachment) {
  auto event = open_perf_event(attr, thread, static_cast<int>(cpu));
  if (event) return attach_to_event(request, *std::move(event), attachment, request.hook.cookie);
  const int reason = event.error().os_error;
  if (reason == ENODEV || reason == ESRCH) return {};
  if (reason == ENOENT || reason == EOPNOTSUPP) {
    const auto counter = perf_counter(split_first(request.hook.target).first);
    return fail(Code::unsupported,
                fmt::format("{}: {}", request.place, counter ? why_no_counter(*counter) : counter.error().message),
                reason);
  }
  return tl::unexpected(std::move(event).error().within(request.place));
}

}  // namespace

Attached attach_perf_event(const AttachRequest& request) {
  perf_event_attr attr = SKEP_TRY(read_counter(request));
  const bool one_process = request.hook.pid != 0;
  attr.inherit = one_process ? 1 : 0;  // on a named CPU only, so each thread has an event on each
  const auto threads = one_process ? SKEP_TRY(threads_of(request, request.hook.pid)) : std::vector<int>{-1};
  auto attachment = std::make_unique<Attachment>();
  for (const int thread : threads)
    for (const u32 cpu : base::online_cpus()) SKEP_TRY(sample(request, attr, thread, cpu, *attachment));
  if (attachment->empty()) return fail(Code::unsupported, fmt::format("{}: no CPU took the event", request.place));
  return attachment;
}

}  // namespace skep::kernel
