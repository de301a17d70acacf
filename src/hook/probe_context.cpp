// See probe_context.hpp.
#include "hook/probe_context.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstring>

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

Result<std::vector<u64>> offsets_of(const elf::File& file, const Place& place, const std::string& text) {
  if (const auto number = whole_number(place.function)) return std::vector<u64>{*number + place.plus};
  std::vector<u64> offsets;
  for (const elf::Function& one :
       SKEP_TRY_AT(text, elf::functions(file, [&](std::string_view name) { return name == place.function; })))
    offsets.push_back(one.file_offset + place.plus);
  if (offsets.empty())
    return fail(Code::not_found, text + ": no function \"" + std::string(place.function) + "\" in " +
                                     std::string(place.file) + " (it may be inlined, or the file is stripped)");
  return offsets;
}

}  // namespace

Result<std::optional<ProbePlan>> plan_probe(const AttachTarget& target) {
  if (target.kind != AttachKind::uprobe && target.kind != AttachKind::uretprobe) return std::optional<ProbePlan>();
  const std::string text = target.text();
  const Place place = SKEP_TRY(read_place(target));
  ProbePlan plan;
  plan.at_return = target.kind == AttachKind::uretprobe;
  plan.cookie = target.cookie;
  if (plan.at_return && place.plus != 0) return fail(Code::invalid_argument, text + ": a return probe takes no offset");
  const auto binary = SKEP_TRY_AT(text, elf::open_user_binary(place.file, 0));
  struct stat status{};
  if (::stat(binary.path.c_str(), &status) != 0)
    return tl::unexpected<Error>(base::os_error(text + ": " + binary.path));
  for (const u64 offset : SKEP_TRY(offsets_of(binary.file, place, text))) {
    ProbeSite site{.path = binary.path, .device = status.st_dev, .inode = status.st_ino, .file_offset = offset};
    if (offset >= binary.bytes.size())
      return fail(Code::invalid_argument,
                  text + ": offset " + std::to_string(offset) + " lies behind the end of the file");
    std::memcpy(site.bytes.data(), binary.bytes.data() + offset,
                std::min(site.bytes.size(), binary.bytes.size() - static_cast<std::size_t>(offset)));
    if (!may_probe(site.bytes))
      return fail(Code::unsupported, text +
                                         ": the instruction there is a breakpoint, a system call or one that shows the "
                                         "machine's trap flag: it cannot be probed");
    plan.sites.push_back(std::move(site));
  }
  return std::optional(std::move(plan));
}

u32 SyscallInterest::add_probe(const ProbeSite& site, bool at_return) {
  auto found = std::ranges::find_if(probes, [&](const ProbeSite& known) { return known.same_place(site); });
  if (found == probes.end()) found = probes.insert(found, site);
  (at_return ? found->at_return : found->entry) = true;
  life.births = true;
  return static_cast<u32>(found - probes.begin());
}

void* ProbeContext::fill(SyscallEvent& frame) noexcept {
  registers_ = frame.regs;
  frame.readable = {};
  frame.readable[0] = std::as_bytes(std::span(&registers_, 1));
  return &registers_;
}

}  // namespace skep::hook
