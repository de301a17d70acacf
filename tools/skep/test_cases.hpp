// Cases of `skep test`: what a program gets, and what should come of it.
//
//     case small packets are dropped        # begins a case; the name is for people
//     program filter                        # default: the file's first
//     packet 00112233 4455...               # bytes in hexadecimal, @FILE, or `zeroes 64`
//     context 01000000                      # the same, for programs without a packet
//     set counters 00000000 = 05000000      # a map before the run: key = value
//     result XDP_DROP                       # r0: a number or a verdict's name
//     output 0011...                        # the packet afterwards
//     map counters 00000000 = 06000000      # a map afterwards; `= none` for a key that must not be there
//
// One thing a line, `#` begins a comment. Every case has its own maps.
#pragma once
#include <optional>
#include <skep/result.hpp>
#include <string>
#include <string_view>
#include <vector>

#include <skep/types.hpp>

namespace skep::tools {

using Bytes = std::vector<std::byte>;

struct MapEntry {
  std::string map;
  Bytes key;
  std::optional<Bytes> value;  ///< none: the key must not be there
};

struct TestCase {
  std::string name;
  std::string program;  ///< "": the first
  Bytes packet, context;
  std::vector<MapEntry> before, after;
  std::optional<u64> result;
  std::optional<Bytes> output, context_after;
};

/// Errors: malformed, "path:line: what is wrong, what is expected".
Result<std::vector<TestCase>> read_test_cases(const std::string& path);
/// Hexadecimal (blanks between bytes are fine), @FILE, or "zeroes N".
Result<Bytes> read_bytes(std::string_view text);
/// A number, or the name of a verdict (XDP_PASS, TC_ACT_SHOT).
Result<u64> read_result(std::string_view text);
/// The verdict's name for that program type, or "".
std::string_view verdict_name(u32 program_type, u64 result);

}  // namespace skep::tools
