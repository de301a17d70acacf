// What the test and its runner say to each other over a pipe. The runner begins with the address of its helper; then
// each Request (with `code_bytes` of code behind it, 0: the code of the last one) is answered by a Response.
#pragma once
#include <skep/types.hpp>

namespace skep::tests::arm64 {

inline constexpr u32 memory_bytes = 512;
inline constexpr u32 most_code_bytes = 4u << 20;

/// The memory's byte i before every run.
constexpr u8 initial_byte(u32 i) { return static_cast<u8>(i * 37 + 11); }

struct Request {
  u32 code_bytes = 0;
  u32 entry = 0;           ///< offset of the function to call
  u64 parameters[4] = {};  ///< r2 to r5; r1 is the memory
};

struct Response {
  u64 result = 0;
  u64 calls = 0;   ///< of the helper
  u64 broken = 0;  ///< not 0: a callee-saved register or the stack pointer came back changed
  u8 memory[memory_bytes] = {};
};

/// The helper's answer: depends on every argument and on how often it was called.
constexpr u64 mixed(u64 calls, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) {
  u64 hash = calls;
  for (const u64 a : {a1, a2, a3, a4, a5}) hash = (hash ^ a) * 0x9e3779b97f4a7c15u;
  return hash;
}

}  // namespace skep::tests::arm64
