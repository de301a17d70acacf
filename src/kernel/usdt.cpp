// Statically defined tracepoints of user programs (SEC("usdt")).
//
// Each place is a user probe on a nop, whose cookie says which description of spec/usdt.hpp is meant. (Where the kernel
// has no cookies, places with the same description share a load of the program: cookies.hpp.)
#include <fmt/core.h>

#include <map>

#include "elf/user_binary.hpp"
#include "kernel/attachers.hpp"
#include "kernel/user_probe.hpp"
#include "spec/usdt.hpp"

namespace skep::kernel {

namespace {

/// Descriptions that an attachment uses; free again when it goes.
class Descriptions {
 public:
  Descriptions(std::shared_ptr<Session> session, u32 map_id)
      : session_(std::move(session)), slots_(session_->usdt_slots(map_id)) {}
  Descriptions(const Descriptions&) = delete;
  ~Descriptions() {
    for (const u32 slot : taken_) slots_.give_back(slot);
  }
  u32 take() { return taken_.emplace_back(slots_.take()); }

 private:
  std::shared_ptr<Session> session_;
  spec::UsdtSlots& slots_;
  std::vector<u32> taken_;
};

/// A program without the map of descriptions reads no arguments: its places are user probes like others.
Attached attach_bare(const AttachRequest& request, const std::string& file, const std::vector<elf::UsdtNote>& notes) {
  UserProbes probes{.path = file};
  for (const elf::UsdtNote& note : notes)
    probes.places.push_back({note.file_offset, request.hook.cookie, note.semaphore_offset});
  auto attachment = std::make_unique<Attachment>();
  SKEP_TRY(set_user_probes(request, probes, *attachment));
  return attachment;
}

}  // namespace

Attached attach_usdt(const AttachRequest& request) {
  const auto target = spec::usdt_target(request.hook.target);
  if (!target) return tl::unexpected(wrong_target(request, request.hook.target));
  const auto binary = SKEP_TRY_AT(request.place, elf::open_user_binary(target->file, request.hook.pid));
  const auto notes = SKEP_TRY_AT(request.place, spec::usdt_places(binary.file, *target));
  for (const elf::UsdtNote& note : notes)
    if (const std::string why = why_no_user_probe(binary, note.file_offset); !why.empty())
      return fail(Code::unsupported, fmt::format("{}: {}", request.place, why));
  KernelMap* const specs = map_named(request, spec::usdt_specs_map);
  if (specs == nullptr) return attach_bare(request, binary.path, notes);
  if (specs->info().value_size != sizeof(spec::UsdtSpec)) return tl::unexpected(spec::wrong_usdt_specs(request.place));
  auto attachment = std::make_unique<Attachment>();
  const auto descriptions = std::make_shared<Descriptions>(request.session.shared_from_this(), specs->info().id);
  attachment->keep(descriptions);
  UserProbes probes{.path = binary.path};
  std::map<std::string, u32, std::less<>> known;  // places with the same arguments share a description
  for (const elf::UsdtNote& note : notes) {
    const auto description = SKEP_TRY_AT(fmt::format("{}: \"{}\"", request.place, note.arguments),
                                         spec::usdt_spec(note, request.hook.cookie));
    auto [at, is_new] = known.try_emplace(note.arguments, 0);
    if (is_new) {
      at->second = descriptions->take();
      if (at->second >= specs->info().max_entries)
        return tl::unexpected(spec::too_many_usdt_specs(request.place, specs->info().max_entries));
      SKEP_TRY(specs->update(std::as_bytes(std::span(&at->second, 1)), std::as_bytes(std::span(&description, 1)), 0));
    }
    probes.places.push_back({note.file_offset, at->second, note.semaphore_offset});
  }
  SKEP_TRY(set_user_probes(request, probes, *attachment));
  return attachment;
}

}  // namespace skep::kernel
