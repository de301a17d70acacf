// Static probes of user programs (SEC("usdt")): what both engines tell a program of a place that is hit.
//
// Each place is a nop. Where its arguments are differs from place to place, so the program looks it up: the map
// __bpf_usdt_specs is an array of descriptions, which usdt.bpf.h defines and libbpf and skep fill; the probe's cookie
// says which is meant. Source: libbpf's usdt.bpf.h for the layout, sys/sdt.h for the notes.
#pragma once
#include <skep/result.hpp>
#include <string>
#include <string_view>

#include "elf/usdt.hpp"

namespace skep::spec {

inline constexpr std::string_view usdt_specs_map = "__bpf_usdt_specs";
inline constexpr std::size_t most_usdt_arguments = 12;  ///< BPF_USDT_MAX_ARG_CNT

/// struct __bpf_usdt_arg_spec.
struct UsdtArgumentSpec {
  u64 number = 0;    ///< constant, or displacement
  u8 kind = 0;       ///< 0 constant, 1 register, 2 memory, 3 memory with an index register
  u8 index_low = 0;  ///< 12 bits: offset of the index register in pt_regs; 4 bits: log2 of the scale
  u8 index_high = 0;
  u8 reserved = 0;
  s16 reg_offset = 0;  ///< in struct pt_regs
  u8 is_signed = 0;
  u8 shift = 0;  ///< 64 minus the width in bits
};
static_assert(sizeof(UsdtArgumentSpec) == 16);

/// struct __bpf_usdt_spec.
struct UsdtSpec {
  UsdtArgumentSpec arguments[most_usdt_arguments];
  u64 cookie = 0;
  s16 count = 0;
  u8 padding[6] = {};
};
static_assert(sizeof(UsdtSpec) == most_usdt_arguments * 16 + 16);

/// Errors: unsupported, naming the operand.
Result<UsdtSpec> usdt_spec(const elf::UsdtNote& note, u64 cookie);

/// Why a program cannot be attached to `place`: its map of descriptions has others, or room for so many only. (One that
/// has no such map reads no arguments, and needs none.)
Error wrong_usdt_specs(std::string_view place);
Error too_many_usdt_specs(std::string_view place, u32 room);

/// FILE:PROVIDER:NAME in its parts; nullopt where one is empty.
struct UsdtTarget {
  std::string_view file, provider, name;
};
std::optional<UsdtTarget> usdt_target(std::string_view text);

/// The places of a probe. Errors: not_found (says how many others there are), malformed.
Result<std::vector<elf::UsdtNote>> usdt_places(const elf::File& file, const UsdtTarget& target);

}  // namespace skep::spec
