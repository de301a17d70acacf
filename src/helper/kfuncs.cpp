// Bodies of kernel functions: iterators over numbers and bits, exceptions, sections, arenas.
//
// An iterator lives on the program's stack, in the room the verifier has set aside for it: its layout is ours. RCU,
// preemption and interrupts need nothing here: what a program looked up lives as long as its run, and a run is its
// thread's own. Source: Linux 6.18, kernel/bpf/helpers.c and bpf_iter.c.
#include "helper/kfuncs.hpp"

#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "helper/call.hpp"
#include "helper/memory.hpp"
#include "map/arena.hpp"

namespace skep::helper {

namespace {

Call& call_of(void* run) noexcept { return *static_cast<Call*>(static_cast<base::Run*>(run)); }
template <class T>
T& at(u64 address) noexcept {
  return *reinterpret_cast<T*>(address);
}

// --- numbers ---

struct Numbers {
  s32 current, end;
};
static_assert(sizeof(Numbers) == 8);
constexpr s64 most_rounds = 8 << 20;  // Linux BPF_MAX_LOOPS

u64 iter_num_new(void*, u64 it, u64 start, u64 end, u64, u64) noexcept {
  auto& numbers = at<Numbers>(it);
  const s64 first = static_cast<s32>(start), last = static_cast<s32>(end);
  numbers = {0, 0};
  if (first > last) return static_cast<u64>(-EINVAL);
  if (last - first > most_rounds) return static_cast<u64>(-E2BIG);
  // One below the first: the first call of next steps onto it.
  numbers = {static_cast<s32>(static_cast<u32>(start) - 1), static_cast<s32>(last)};
  return 0;
}

u64 iter_num_next(void*, u64 it, u64, u64, u64, u64) noexcept {
  auto& numbers = at<Numbers>(it);
  if (static_cast<s32>(static_cast<u32>(numbers.current) + 1) >= numbers.end) {
    numbers = {0, 0};
    return 0;
  }
  numbers.current++;
  return it;
}

u64 iter_num_destroy(void*, u64 it, u64, u64, u64, u64) noexcept {
  at<Numbers>(it) = {0, 0};
  return 0;
}

// --- bits ---

struct Bits {
  u64* words;  ///< owned
  u32 count;   ///< of bits
  s32 bit;
};
static_assert(sizeof(Bits) == 16);
constexpr u32 most_words = 511;

u64 iter_bits_new(void* run, u64 it, u64 words, u64 word_count, u64, u64) noexcept {
  auto& bits = at<Bits>(it);
  const u32 count = static_cast<u32>(word_count);
  bits = {nullptr, 0, -1};
  if (words == 0 || count == 0) return static_cast<u64>(-EINVAL);
  if (count > most_words) return static_cast<u64>(-E2BIG);
  auto* copy = static_cast<u64*>(std::malloc(count * sizeof(u64)));
  if (copy == nullptr) return static_cast<u64>(-ENOMEM);
  if (const s64 error = read_memory(call_of(run), Space::kernel, copy, words, count * sizeof(u64)); error != 0) {
    std::free(copy);
    return static_cast<u64>(error);
  }
  bits.words = copy;
  bits.count = count * 64;
  return 0;
}

u64 iter_bits_next(void*, u64 it, u64, u64, u64, u64) noexcept {
  auto& bits = at<Bits>(it);
  if (bits.words == nullptr) return 0;
  for (u32 next = static_cast<u32>(bits.bit + 1); next < bits.count;) {
    if (const u64 rest = bits.words[next / 64] >> (next % 64); rest != 0) {
      bits.bit = static_cast<s32>(next + static_cast<u32>(std::countr_zero(rest)));
      return it + offsetof(Bits, bit);
    }
    next = (next / 64 + 1) * 64;
  }
  bits.bit = static_cast<s32>(bits.count);
  return 0;
}

u64 iter_bits_destroy(void*, u64 it, u64, u64, u64, u64) noexcept {
  std::free(at<Bits>(it).words);
  at<Bits>(it) = {nullptr, 0, -1};
  return 0;
}

// --- exceptions and sections ---

u64 throw_cookie(void* run, u64 cookie, u64, u64, u64, u64) noexcept {
  auto& own = call_of(run);
  own.thrown_value = cookie;
  own.thrown = true;
  return 0;
}

u64 nothing(void*, u64, u64, u64, u64, u64) noexcept { return 0; }

/// There are no interrupts to hold off in a process: the flag is what the program has to give back, no more.
u64 local_irq_save(void*, u64 flags, u64, u64, u64, u64) noexcept {
  at<u64>(flags) = 0;
  return 0;
}

// --- a task's memory, a map's elements ---

/// The length with the terminator, or an error; `flags`: 1 fills the rest with zeros.
u64 copy_from_user_str(void* run, u64 to, u64 size, u64 from, u64 flags, u64) noexcept {
  constexpr u64 pad_zeros = 1;
  auto* const text = &at<char>(to);
  size = static_cast<u32>(size);
  if ((flags & ~pad_zeros) != 0) return static_cast<u32>(-EINVAL);
  if (size == 0) return 0;
  const s64 length = read_string(call_of(run), Space::user, text, from, size);
  if ((flags & pad_zeros) != 0) {
    const u64 used = length > 0 ? static_cast<u64>(length) : 0;
    std::memset(text + used, 0, size - used);
  }
  return static_cast<u32>(length);
}

// --- arenas ---

map::Map& map_of(u64 address) noexcept { return at<map::Map>(address); }

u64 arena_alloc(void*, u64 map, u64 address, u64 pages, u64 node, u64 flags) noexcept {
  return map::arena_alloc_pages(map_of(map), address, static_cast<u32>(pages), static_cast<s32>(node), flags);
}
u64 arena_free(void*, u64 map, u64 address, u64 pages, u64, u64) noexcept {
  map::arena_free_pages(map_of(map), address, static_cast<u32>(pages));
  return 0;
}
u64 arena_reserve(void*, u64 map, u64 address, u64 pages, u64, u64) noexcept {
  return static_cast<u64>(map::arena_reserve_pages(map_of(map), address, static_cast<u32>(pages)));
}

constexpr KfuncRow rows[] = {
    {"bpf_iter_num_new", iter_num_new},
    {"bpf_iter_num_next", iter_num_next},
    {"bpf_iter_num_destroy", iter_num_destroy},
    {"bpf_iter_bits_new", iter_bits_new},
    {"bpf_iter_bits_next", iter_bits_next},
    {"bpf_iter_bits_destroy", iter_bits_destroy},
    {"bpf_throw", throw_cookie},
    {"bpf_rcu_read_lock", nothing},
    {"bpf_rcu_read_unlock", nothing},
    {"bpf_preempt_disable", nothing},
    {"bpf_preempt_enable", nothing},
    {"bpf_local_irq_save", local_irq_save},
    {"bpf_local_irq_restore", nothing},
    {"bpf_arena_alloc_pages", arena_alloc},
    {"bpf_arena_free_pages", arena_free},
    {"bpf_arena_reserve_pages", arena_reserve},
    {"bpf_copy_from_user_str", copy_from_user_str},
};

}  // namespace

std::span<const KfuncRow> basic_kfuncs() noexcept { return rows; }

base::HelperFn kfunc(std::string_view name) noexcept {
  name = name.substr(0, name.find("___"));
  for (const auto list : {basic_kfuncs(), lock_kfuncs(), dynptr_kfuncs(), string_kfuncs(), object_kfuncs(),
                          cpumask_kfuncs(), work_kfuncs()})
    for (const KfuncRow& row : list)
      if (row.name == name) return row.body;
  return nullptr;
}

}  // namespace skep::helper
