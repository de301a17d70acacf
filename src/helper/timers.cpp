// bpf_timer_*, and the kernel functions bpf_wq_*: thin, because Timers keeps the kernel's rules.
// Source: Linux 6.18, kernel/bpf/helpers.c.
#include "map/timers.hpp"

#include <cerrno>
#include <memory>

#include "base/linked_code.hpp"
#include "helper/bind.hpp"
#include "helper/kfuncs.hpp"
#include "map/fields.hpp"

namespace skep::helper {

namespace {

using map::Timers;
using What = map::Field::What;

/// Makes the field of that kind; `init`: Timers::init_timer or init_work.
template <auto init>
s64 make(Map& map, void* field, What what, u64 flags) noexcept {
  const map::Fields* const fields = map.fields();
  if (fields == nullptr || fields->timers() == nullptr || fields->offset_of(what) < 0) return -EINVAL;
  void* const value = static_cast<std::byte*>(field) - fields->offset_of(what);  // a value has one field of a kind
  return (fields->timers()->*init)(map, field, value, flags);
}

s64 set_callback(void* field, const base::Callback* callback) noexcept {
  Timers* const timers = Timers::of(field);
  if (timers == nullptr) return -EINVAL;
  const auto* code = static_cast<const base::CodeOwner*>(callback->code);
  return timers->set_callback(field, callback, code != nullptr ? code->owner.lock() : nullptr);
}

}  // namespace

static s64 timer_init(void* timer, Map& map, u64 flags) noexcept {
  return make<&Timers::init_timer>(map, timer, What::timer, flags);
}
SKEP_BIND(timer_init)

static s64 timer_set_callback(void* timer, void* callback) noexcept {
  return set_callback(timer, static_cast<const base::Callback*>(callback));
}
SKEP_BIND(timer_set_callback)

static s64 timer_start(void* timer, u64 nanoseconds, u64 flags) noexcept {
  Timers* const timers = Timers::of(timer);
  return timers != nullptr ? timers->start_timer(timer, nanoseconds, flags) : -EINVAL;
}
SKEP_BIND(timer_start)

static s64 timer_cancel(void* timer) noexcept {
  Timers* const timers = Timers::of(timer);
  return timers != nullptr ? timers->cancel(timer) : -EINVAL;
}
SKEP_BIND(timer_cancel)

// --- bpf_wq: the same without a time ---

namespace {

u64 wq_init(void*, u64 work, u64 map, u64 flags, u64, u64) noexcept {
  auto& owner = *reinterpret_cast<Map*>(map);  // NOLINT
  return static_cast<u32>(
      make<&Timers::init_work>(owner, reinterpret_cast<void*>(work), What::work, static_cast<u32>(flags)));  // NOLINT
}

u64 wq_set_callback(void*, u64 work, u64 callback, u64 flags, u64, u64) noexcept {
  if (static_cast<u32>(flags) != 0) return static_cast<u32>(-EINVAL);
  return static_cast<u32>(
      set_callback(reinterpret_cast<void*>(work), reinterpret_cast<const base::Callback*>(callback)));  // NOLINT
}

u64 wq_start(void*, u64 work, u64 flags, u64, u64, u64) noexcept {
  auto* const field = reinterpret_cast<void*>(work);  // NOLINT
  Timers* const timers = Timers::of(field);
  return static_cast<u32>(timers != nullptr ? timers->start_work(field, static_cast<u32>(flags)) : -EINVAL);
}

constexpr KfuncRow rows[] = {
    {"bpf_wq_init", wq_init}, {"bpf_wq_set_callback_impl", wq_set_callback}, {"bpf_wq_start", wq_start}};

}  // namespace

std::span<const KfuncRow> work_kfuncs() noexcept { return rows; }

}  // namespace skep::helper
