// See probe_context.hpp.
#include "hook/probe_context.hpp"

#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "base/fd.hpp"
#include "elf/user_places.hpp"
#include "hook/probe_step.hpp"

namespace skep::hook {
namespace {

/// Why no probe may stand at a place, as a clause; "" where one may.
std::string why_no_probe(const elf::UserBinary& binary, u64 offset) {
  InsnBytes bytes{};
  const auto count = binary.read(offset, std::as_writable_bytes(std::span(bytes)));
  if (!count) return count.error().message;
  if (*count == 0) return fmt::format("offset {} lies behind the end of the file", offset);
  if (may_probe(bytes)) return {};
  return "the instruction there is a breakpoint, a system call or one that shows the machine's trap flag: it cannot be "
         "probed";
}

/// A place of a binary where a probe may stand. Errors: io.
Result<ProbeSite> site_at(const elf::UserBinary& binary, u64 offset, const std::string& text) {
  struct stat status{};
  if (::stat(binary.path.c_str(), &status) != 0)
    return tl::unexpected<Error>(base::os_error(text + ": " + binary.path));
  ProbeSite site{.path = binary.path, .device = status.st_dev, .inode = status.st_ino, .file_offset = offset};
  SKEP_TRY_AT(text, binary.read(offset, std::as_writable_bytes(std::span(site.bytes))));
  return site;
}

Result<ProbePlan> plan_function(const AttachTarget& target, const std::string& text) {
  const auto colon = target.target.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == target.target.size())
    return fail(Code::invalid_argument, text + ": expected FILE:FUNCTION[+OFFSET], such as /bin/bash:readline");
  const std::string_view file = std::string_view(target.target).substr(0, colon),
                         function = std::string_view(target.target).substr(colon + 1);
  ProbePlan plan;
  plan.at_return = target.kind == AttachKind::uretprobe || target.kind == AttachKind::uretprobe_multi;
  const auto binary = SKEP_TRY_AT(text, elf::open_user_binary(file, target.pid));
  auto found = SKEP_TRY_AT(text, elf::user_places(binary, function, plan.at_return,
                                                  [&](u64 offset) { return why_no_probe(binary, offset); }));
  plan.note = std::move(found.left_out);
  for (const elf::UserPlace& one : found.places) {
    plan.sites.push_back(SKEP_TRY(site_at(binary, one.offset, text)));
    plan.sites.back().begins_function = one.begins_function;
    plan.cookies.push_back(target.cookie);
  }
  return plan;
}

/// Places with the same arguments share a description.
Result<ProbePlan> plan_static(const AttachTarget& target, const std::string& text) {
  const auto wanted = spec::usdt_target(target.target);
  if (!wanted)
    return fail(Code::invalid_argument,
                text + ": expected FILE:PROVIDER:NAME, such as /usr/bin/python3:python:function__entry");
  ProbePlan plan;
  const auto binary = SKEP_TRY_AT(text, elf::open_user_binary(wanted->file, target.pid));
  std::map<std::string, u64, std::less<>> known;
  for (const elf::UsdtNote& note : SKEP_TRY_AT(text, spec::usdt_places(binary.file, *wanted))) {
    const auto [at, is_new] = known.try_emplace(note.arguments, plan.descriptions.size());
    if (is_new)
      plan.descriptions.push_back(
          SKEP_TRY_AT(text + ": \"" + note.arguments + "\"", spec::usdt_spec(note, target.cookie)));
    if (const std::string why = why_no_probe(binary, note.file_offset); !why.empty())
      return fail(Code::unsupported, fmt::format("{}: {}", text, why));
    ProbeSite site = SKEP_TRY(site_at(binary, note.file_offset, text));
    site.semaphore_offset = note.semaphore_offset;
    plan.sites.push_back(std::move(site));
    plan.cookies.push_back(at->second);
  }
  return plan;
}

}  // namespace

Result<std::optional<ProbePlan>> plan_probe(const AttachTarget& target) {
  const std::string text = target.text();
  if (target.kind == AttachKind::usdt) return std::optional(SKEP_TRY(plan_static(target, text)));
  constexpr AttachKind kinds[] = {AttachKind::uprobe, AttachKind::uretprobe, AttachKind::uprobe_multi,
                                  AttachKind::uretprobe_multi};
  if (std::ranges::find(kinds, target.kind) == std::end(kinds)) return std::optional<ProbePlan>();
  return std::optional(SKEP_TRY(plan_function(target, text)));
}

u32 SyscallInterest::add_probe(const ProbeSite& site, bool at_return) {
  auto found = std::ranges::find_if(probes, [&](const ProbeSite& known) { return known.same_place(site); });
  if (found == probes.end()) found = probes.insert(found, site);
  (at_return ? found->at_return : found->entry) = true;
  if (site.semaphore_offset != 0) found->semaphore_offset = site.semaphore_offset;
  found->begins_function |= site.begins_function;
  life.births = true;
  return static_cast<u32>(found - probes.begin());
}

bool SyscallInterest::has_semaphores() const noexcept {
  return std::ranges::any_of(probes, [](const ProbeSite& one) { return one.semaphore_offset != 0; });
}

bool SyscallInterest::wants_mapping(u64 protection, u64 flags) const noexcept {
  if (probes.empty()) return false;
  return (protection & PROT_EXEC) != 0 ||
         (has_semaphores() && (protection & PROT_WRITE) != 0 && (flags & MAP_ANONYMOUS) == 0);
}

void* ProbeContext::fill(SyscallEvent& frame) noexcept {
  registers_ = frame.regs;
  frame.readable = {};
  frame.readable[0] = std::as_bytes(std::span(&registers_, 1));
  return &registers_;
}

}  // namespace skep::hook
