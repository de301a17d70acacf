// Classic BPF: the filters of tcpdump and SO_ATTACH_FILTER, as eBPF programs.
//
// A classic filter has two 32-bit registers (A and X), sixteen words of scratch memory, and loads that read the packet
// in network byte order; a load behind the packet's end ends the filter with 0. Everything here is a plain translation:
// A lives in r0, X in r7, the scratch memory on the stack. Two forms exist, because eBPF has two ways to a packet:
//
//   ld_abs / ld_ind       types with a socket buffer (socket_filter, sched_cls, sched_act)
//   data and data_end     types without: xdp. Every load checks the bounds itself.
//
// check_classic() refuses what the kernel refuses when such a filter is attached: unknown instructions, jumps out of
// the filter, a constant division by zero, scratch words that are read before they are written on some path. Source:
// Steven McCanne and Van Jacobson, "The BSD Packet Filter" (1993); Linux Documentation/networking/filter.rst;
// include/uapi/linux/filter.h.
#pragma once
#include <optional>
#include <skep/spec.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skep::spec {

/// struct sock_filter.
struct ClassicInsn {
  u16 code = 0;
  u8 jt = 0;
  u8 jf = 0;
  u32 k = 0;

  friend bool operator==(const ClassicInsn&, const ClassicInsn&) = default;
};
static_assert(sizeof(ClassicInsn) == 8);

/// BPF_MAXINSNS.
inline constexpr u32 max_classic_insns = 4096;

/// Whether a text could be a filter: it begins with a number or `{`, which no C source and no ELF object does.
bool looks_classic(std::string_view text) noexcept;

/// Reads `tcpdump -ddd` (a count, then four numbers a line; commas may stand for line ends, as iptables' bpf match
/// writes it) and `tcpdump -dd` (C initialisers). Errors: malformed, with the line.
Result<std::vector<ClassicInsn>> parse_classic(std::string_view text);

/// A `struct sock_filter` array as it lies in memory. Errors: malformed.
Result<std::vector<ClassicInsn>> classic_from_bytes(std::span<const std::byte> bytes);

/// Whether the kernel would attach it. Errors: malformed (names the instruction and the rule), limit (more than 4096
/// instructions).
Result<void> check_classic(std::span<const ClassicInsn> filter);

/// One instruction in tcpdump's notation: "jeq      #0x800           jt 2    jf 5".
std::string print_classic(std::span<const ClassicInsn> filter, u32 index);

struct ClassicOptions {
  ProgramType type = ProgramType::socket_filter;
  /// What the program returns instead of the filter's number of bytes; xdp without it: pass (2) and drop (1).
  struct Verdicts {
    u32 accepted = 0;
    u32 refused = 0;
  };
  std::optional<Verdicts> verdicts;
  std::string name = "filter";
};

/// The filter as a program that a verifier takes. Checks it first.
/// Errors: those of check_classic; unsupported, naming an ancillary load that the program type has no field for.
Result<ProgramSpec> translate_classic(std::span<const ClassicInsn> filter, const ClassicOptions& options = {});

/// The same as an object of one program.
Result<ObjectSpec> classic_object(std::span<const ClassicInsn> filter, const ClassicOptions& options = {});

}  // namespace skep::spec
