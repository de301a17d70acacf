// See probe_context.hpp.
#include "hook/probe_context.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>

#include "base/fd.hpp"
#include "elf/functions.hpp"
#include "elf/user_binary.hpp"
#include "hook/probe_step.hpp"

namespace skep::hook {
namespace {

std::optional<u64> whole_number(std::string_view text) {
  const int base = text.starts_with("0x") ? 16 : 10;
  if (base == 16) text.remove_prefix(2);
  u64 value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

struct Place {
  std::string_view file, function;
  u64 plus = 0;
};

Result<Place> read_place(const AttachTarget& target) {
  const std::string_view text = target.target;
  const auto colon = text.rfind(':');
  Place place;
  if (colon != std::string_view::npos) place = {text.substr(0, colon), text.substr(colon + 1), 0};
  if (const auto plus = place.function.find('+'); plus != std::string_view::npos) {
    const auto number = whole_number(place.function.substr(plus + 1));
    if (!number) place.file = {};
    place.plus = number.value_or(0);
    place.function = place.function.substr(0, plus);
  }
  if (place.file.empty() || place.function.empty())
    return fail(Code::invalid_argument,
                target.text() + ": expected FILE:FUNCTION[+OFFSET], such as /bin/bash:readline");
  return place;
}

Result<std::vector<u64>> offsets_of(const elf::UserBinary& binary, const Place& place, const std::string& text) {
  if (const auto number = whole_number(place.function)) return std::vector<u64>{*number + place.plus};
  std::vector<u64> offsets;
  for (const elf::Function& one :
       SKEP_TRY_AT(text, elf::functions(binary, [&](std::string_view name) { return name == place.function; }))) {
    if (place.plus != 0) SKEP_TRY_AT(text, elf::check_place(binary, one, place.plus));
    offsets.push_back(one.file_offset + place.plus);
  }
  if (offsets.empty())
    return fail(Code::not_found, text + ": no function \"" + std::string(place.function) + "\" in " +
                                     std::string(place.file) + " (" +
                                     elf::why_no_function(binary.file, place.function) + ")");
  return offsets;
}

/// A place of a binary. Errors: as plan_probe().
Result<ProbeSite> site_at(const elf::UserBinary& binary, u64 offset, const std::string& text) {
  struct stat status{};
  if (::stat(binary.path.c_str(), &status) != 0)
    return tl::unexpected<Error>(base::os_error(text + ": " + binary.path));
  ProbeSite site{.path = binary.path, .device = status.st_dev, .inode = status.st_ino, .file_offset = offset};
  if (offset >= binary.size)
    return fail(Code::invalid_argument,
                text + ": offset " + std::to_string(offset) + " lies behind the end of the file");
  SKEP_TRY_AT(text, binary.read(offset, std::as_writable_bytes(std::span(site.bytes))));
  if (!may_probe(site.bytes))
    return fail(Code::unsupported, text +
                                       ": the instruction there is a breakpoint, a system call or one that shows the "
                                       "machine's trap flag: it cannot be probed");
  return site;
}

Result<ProbePlan> plan_function(const AttachTarget& target, const std::string& text) {
  const Place place = SKEP_TRY(read_place(target));
  ProbePlan plan;
  plan.at_return = target.kind == AttachKind::uretprobe;
  if (plan.at_return && place.plus != 0) return fail(Code::invalid_argument, text + ": a return probe takes no offset");
  const auto binary = SKEP_TRY_AT(text, elf::open_user_binary(place.file, target.pid));
  for (const u64 offset : SKEP_TRY(offsets_of(binary, place, text))) {
    plan.sites.push_back(SKEP_TRY(site_at(binary, offset, text)));
    plan.sites.back().begins_function = place.plus == 0 && !whole_number(place.function);
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
  if (target.kind != AttachKind::uprobe && target.kind != AttachKind::uretprobe) return std::optional<ProbePlan>();
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
