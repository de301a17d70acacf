// CPU masks: bpf_cpumask_*.
//
// A mask is an object of a pool of its own (map/object_pool.hpp), so it can be counted and kept in map values. It has a
// bit for every possible CPU; a CPU that does not exist is in no mask and cannot be put into one. Single bits change
// atomically, whole masks word by word, as in the kernel.
// Source: Linux 6.18, kernel/bpf/cpumask.c, lib/cpumask.c (cpumask_any_and_distribute).
#include "helper/cpumask.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "helper/call.hpp"
#include "helper/kfuncs.hpp"
#include "map/object_pool.hpp"
#include "map/run.hpp"
#include "map/words.hpp"

namespace skep::helper {

namespace {

u32 word_count() noexcept { return (map::possible_cpus() + 63) / 64; }
/// The bits of a word that stand for CPUs.
u64 valid_bits(u32 word) noexcept {
  const u32 rest = map::possible_cpus() - word * 64;
  return rest >= 64 ? ~u64{0} : (u64{1} << rest) - 1;
}

std::atomic_ref<u64> word_of(u64 mask, u32 word) noexcept {
  return map::word_at(reinterpret_cast<void*>(mask), u64{word} * 8);  // NOLINT
}
u64 bits(u64 mask, u32 word) noexcept { return word_of(mask, word).load(std::memory_order_relaxed); }

/// The first CPU from `from` on for which `of(word)` has a bit, or the number of CPUs.
template <class Of>
u32 next(u32 from, Of of) noexcept {
  for (u32 word = from / 64; word < word_count(); ++word) {
    u64 found = of(word) & valid_bits(word);
    if (word == from / 64) found &= ~u64{0} << from % 64;
    if (found != 0) return word * 64 + static_cast<u32>(std::countr_zero(found));
  }
  return map::possible_cpus();
}

u64 create(void* run, u64 pool, u64, u64, u64, u64) noexcept {
  void* const made = map::object_new(*reinterpret_cast<map::ObjectPool*>(pool));  // NOLINT
  static_cast<base::Run*>(run)->lend(made, cpumask_bytes(), false);
  return reinterpret_cast<u64>(made);
}
u64 acquire(void*, u64 mask, u64, u64, u64, u64) noexcept {
  map::object_get(reinterpret_cast<void*>(mask));  // NOLINT: whoever asks has one already
  return mask;
}
u64 release(void*, u64 mask, u64, u64, u64, u64) noexcept {
  map::object_put(reinterpret_cast<void*>(mask));  // NOLINT
  return 0;
}

u64 first(void*, u64 mask, u64, u64, u64, u64) noexcept {
  return next(0, [mask](u32 w) { return bits(mask, w); });
}
u64 first_zero(void*, u64 mask, u64, u64, u64, u64) noexcept {
  return next(0, [mask](u32 w) { return ~bits(mask, w); });
}
u64 first_and(void*, u64 a, u64 b, u64, u64, u64) noexcept {
  return next(0, [a, b](u32 w) { return bits(a, w) & bits(b, w); });
}

// --- one CPU ---

bool exists(u64 cpu) noexcept { return static_cast<u32>(cpu) < map::possible_cpus(); }
u64 bit_of(u64 cpu) noexcept { return u64{1} << cpu % 64; }
std::atomic_ref<u64> place_of(u64 mask, u64 cpu) noexcept { return word_of(mask, static_cast<u32>(cpu) / 64); }

u64 set_cpu(void*, u64 cpu, u64 mask, u64, u64, u64) noexcept {
  if (exists(cpu)) place_of(mask, cpu).fetch_or(bit_of(cpu), std::memory_order_relaxed);
  return 0;
}
u64 clear_cpu(void*, u64 cpu, u64 mask, u64, u64, u64) noexcept {
  if (exists(cpu)) place_of(mask, cpu).fetch_and(~bit_of(cpu), std::memory_order_relaxed);
  return 0;
}
u64 test_cpu(void*, u64 cpu, u64 mask, u64, u64, u64) noexcept {
  return exists(cpu) && (place_of(mask, cpu).load(std::memory_order_relaxed) & bit_of(cpu)) != 0;
}
u64 test_and_set(void*, u64 cpu, u64 mask, u64, u64, u64) noexcept {
  return exists(cpu) && (place_of(mask, cpu).fetch_or(bit_of(cpu)) & bit_of(cpu)) != 0;
}
u64 test_and_clear(void*, u64 cpu, u64 mask, u64, u64, u64) noexcept {
  return exists(cpu) && (place_of(mask, cpu).fetch_and(~bit_of(cpu)) & bit_of(cpu)) != 0;
}

// --- whole masks ---

template <class Of>
bool fill(u64 mask, Of of) noexcept {
  u64 any = 0;
  for (u32 w = 0; w < word_count(); ++w) {
    const u64 value = of(w) & valid_bits(w);
    word_of(mask, w).store(value, std::memory_order_relaxed);
    any |= value;
  }
  return any != 0;
}
template <class Of>
bool all(Of of) noexcept {
  for (u32 w = 0; w < word_count(); ++w)
    if ((of(w) & valid_bits(w)) != valid_bits(w)) return false;
  return true;
}

u64 setall(void*, u64 mask, u64, u64, u64, u64) noexcept {
  return fill(mask, [](u32) { return ~u64{0}; }), 0;
}
u64 clear(void*, u64 mask, u64, u64, u64, u64) noexcept {
  return fill(mask, [](u32) { return u64{0}; }), 0;
}
u64 and_(void*, u64 mask, u64 a, u64 b, u64, u64) noexcept {
  return fill(mask, [a, b](u32 w) { return bits(a, w) & bits(b, w); });
}
u64 or_(void*, u64 mask, u64 a, u64 b, u64, u64) noexcept {
  return fill(mask, [a, b](u32 w) { return bits(a, w) | bits(b, w); }), 0;
}
u64 xor_(void*, u64 mask, u64 a, u64 b, u64, u64) noexcept {
  return fill(mask, [a, b](u32 w) { return bits(a, w) ^ bits(b, w); }), 0;
}
u64 copy(void*, u64 mask, u64 from, u64, u64, u64) noexcept {
  return fill(mask, [from](u32 w) { return bits(from, w); }), 0;
}
u64 equal(void*, u64 a, u64 b, u64, u64, u64) noexcept {
  return all([a, b](u32 w) { return ~(bits(a, w) ^ bits(b, w)); });
}
u64 intersects(void*, u64 a, u64 b, u64, u64, u64) noexcept {
  return !all([a, b](u32 w) { return ~(bits(a, w) & bits(b, w)); });
}
/// Whether every CPU of the first is in the second.
u64 subset(void*, u64 a, u64 b, u64, u64, u64) noexcept {
  return all([a, b](u32 w) { return ~bits(a, w) | bits(b, w); });
}
u64 empty(void*, u64 mask, u64, u64, u64, u64) noexcept {
  return all([mask](u32 w) { return ~bits(mask, w); });
}
u64 full(void*, u64 mask, u64, u64, u64, u64) noexcept {
  return all([mask](u32 w) { return bits(mask, w); });
}
u64 weight(void*, u64 mask, u64, u64, u64, u64) noexcept {
  u64 count = 0;
  for (u32 w = 0; w < word_count(); ++w) count += static_cast<u64>(std::popcount(bits(mask, w) & valid_bits(w)));
  return count;
}

/// The next CPU after the one this thread was given last, around the end.
template <class Of>
u32 distribute(Of of) noexcept {
  static thread_local u32 last = 0;
  u32 found = next(last + 1, of);
  if (found == map::possible_cpus()) found = next(0, of);
  if (found < map::possible_cpus()) last = found;
  return found;
}
u64 any(void*, u64 mask, u64, u64, u64, u64) noexcept {
  return distribute([mask](u32 w) { return bits(mask, w); });
}
u64 any_and(void*, u64 a, u64 b, u64, u64, u64) noexcept {
  return distribute([a, b](u32 w) { return bits(a, w) & bits(b, w); });
}

/// From a program's bytes. 0, -EACCES (fewer than a mask has), -EINVAL (not aligned as words are).
u64 populate(void*, u64 mask, u64 from, u64 size, u64, u64) noexcept {
  if (size < cpumask_bytes()) return static_cast<u32>(-EACCES);
  if (from % sizeof(long) != 0) return static_cast<u32>(-EINVAL);
  const auto* words = reinterpret_cast<const u64*>(from);  // NOLINT
  return fill(mask, [words](u32 w) { return words[w]; }), 0;
}

constexpr KfuncRow rows[] = {
    {"bpf_cpumask_create", create},
    {"bpf_cpumask_acquire", acquire},
    {"bpf_cpumask_release", release},
    {"bpf_cpumask_first", first},
    {"bpf_cpumask_first_zero", first_zero},
    {"bpf_cpumask_first_and", first_and},
    {"bpf_cpumask_set_cpu", set_cpu},
    {"bpf_cpumask_clear_cpu", clear_cpu},
    {"bpf_cpumask_test_cpu", test_cpu},
    {"bpf_cpumask_test_and_set_cpu", test_and_set},
    {"bpf_cpumask_test_and_clear_cpu", test_and_clear},
    {"bpf_cpumask_setall", setall},
    {"bpf_cpumask_clear", clear},
    {"bpf_cpumask_and", and_},
    {"bpf_cpumask_or", or_},
    {"bpf_cpumask_xor", xor_},
    {"bpf_cpumask_equal", equal},
    {"bpf_cpumask_intersects", intersects},
    {"bpf_cpumask_subset", subset},
    {"bpf_cpumask_empty", empty},
    {"bpf_cpumask_full", full},
    {"bpf_cpumask_copy", copy},
    {"bpf_cpumask_any_distribute", any},
    {"bpf_cpumask_any_and_distribute", any_and},
    {"bpf_cpumask_weight", weight},
    {"bpf_cpumask_populate", populate},
};

}  // namespace

u32 cpumask_bytes() noexcept { return word_count() * 8; }

std::span<const KfuncRow> cpumask_kfuncs() noexcept { return rows; }

}  // namespace skep::helper
