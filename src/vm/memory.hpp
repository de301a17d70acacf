// Loads, stores and atomics on real addresses, by row: shared by both loops.
//
// Plain accesses go through memcpy, so alignment never matters; atomics use the compiler's builtins on the
// address itself, which must be a multiple of the size (the verifier proves it, the checked loop asks).
// Ordering (Linux, Documentation/bpf/linux-notes): an atomic without fetch is relaxed, all others order fully.
#pragma once
#include <cstring>

#include "isa/semantics.hpp"

namespace skep::vm {

template <u32 bytes>
using Uint =
    std::conditional_t<bytes == 1, u8, std::conditional_t<bytes == 2, u16, std::conditional_t<bytes == 4, u32, u64>>>;

/// Where an access to the arena goes: any 32-bit offset lies inside the window, and the guards take `off`.
inline u64 arena_address(u64 window, u64 pointer, s16 off) noexcept {
  return window + static_cast<u32>(pointer) + static_cast<u64>(static_cast<s64>(off));
}

/// addr_space_cast: to the program's view (imm 1) a pointer into the arena is its low 32 bits; to the user's view
/// (imm 1 << 16) a whole address again, null stays null.
inline u64 arena_cast(u64 window, u64 pointer, s32 imm) noexcept {
  const u64 low = static_cast<u32>(pointer);
  return imm == 1 || low == 0 ? low : window | low;
}

/// Bytes a load, store or atomic row touches.
constexpr u32 row_bytes(isa::Op op) { return isa::access_bytes(Insn{.code = isa::row(op).code}); }

/// What the load row `op` reads at `address`.
template <isa::Op op>
inline u64 load(u64 address) noexcept {
  Uint<row_bytes(op)> raw;
  std::memcpy(&raw, reinterpret_cast<const void*>(address), sizeof raw);
  return isa::loaded(op, raw);
}

template <isa::Op op>
inline void store(u64 address, u64 value) noexcept {
  const auto raw = static_cast<Uint<row_bytes(op)>>(value);
  std::memcpy(reinterpret_cast<void*>(address), &raw, sizeof raw);
}

/// The atomic row `op` without fetch.
template <isa::Op op>
inline void atomic_update(u64 address, u64 operand) noexcept {
  using U = Uint<row_bytes(op)>;
  auto* word = reinterpret_cast<U*>(address);
  const U value = static_cast<U>(operand);
  constexpr s32 kind = isa::row(op).imm & 0xf0;
  if constexpr (kind == 0x00) __atomic_fetch_add(word, value, __ATOMIC_RELAXED);
  if constexpr (kind == 0x40) __atomic_fetch_or(word, value, __ATOMIC_RELAXED);
  if constexpr (kind == 0x50) __atomic_fetch_and(word, value, __ATOMIC_RELAXED);
  if constexpr (kind == 0xa0) __atomic_fetch_xor(word, value, __ATOMIC_RELAXED);
}

/// The atomic_fetch row `op`: returns the old value, zero-extended.
template <isa::Op op>
inline u64 atomic_fetch(u64 address, u64 operand) noexcept {
  using U = Uint<row_bytes(op)>;
  auto* word = reinterpret_cast<U*>(address);
  const U value = static_cast<U>(operand);
  constexpr s32 kind = isa::row(op).imm & 0xf0;
  if constexpr (kind == 0x00) return __atomic_fetch_add(word, value, __ATOMIC_SEQ_CST);
  if constexpr (kind == 0x40) return __atomic_fetch_or(word, value, __ATOMIC_SEQ_CST);
  if constexpr (kind == 0x50) return __atomic_fetch_and(word, value, __ATOMIC_SEQ_CST);
  if constexpr (kind == 0xa0) return __atomic_fetch_xor(word, value, __ATOMIC_SEQ_CST);
  return __atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);
}

/// Returns the old value, zero-extended.
template <isa::Op op>
inline u64 compare_exchange(u64 address, u64 expected, u64 desired) noexcept {
  using U = Uint<row_bytes(op)>;
  U old = static_cast<U>(expected);
  __atomic_compare_exchange_n(reinterpret_cast<U*>(address), &old, static_cast<U>(desired), false, __ATOMIC_SEQ_CST,
                              __ATOMIC_SEQ_CST);
  return old;
}

template <isa::Op op>
inline u64 load_acquire(u64 address) noexcept {
  return __atomic_load_n(reinterpret_cast<Uint<row_bytes(op)>*>(address), __ATOMIC_ACQUIRE);
}

template <isa::Op op>
inline void store_release(u64 address, u64 value) noexcept {
  using U = Uint<row_bytes(op)>;
  __atomic_store_n(reinterpret_cast<U*>(address), static_cast<U>(value), __ATOMIC_RELEASE);
}

}  // namespace skep::vm
