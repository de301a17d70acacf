// The log of the kernel's verifier as lines: where its reason is, and which lines tell of an instruction.
//
// A refusal ends with the reason, after the trail of instructions that led there and before the statistics:
//
//   ; bpf_probe_read_kernel(&x, 8, p); @ hello.bpf.c:14
//   7: (79) r1 = *(u64 *)(r0 +0)
//   R0 invalid mem access 'map_value_or_null'
//   processed 8 insns (limit 1000000) max_states_per_insn 0 ...
//
// A log may come from a file that anyone wrote: of a long one only the end is read, of a long line the beginning.
#pragma once
#include <optional>
#include <skep/types.hpp>
#include <string_view>
#include <vector>

namespace skep::catalog {

/// The lines in their order, up to the reason: none where there is nothing but statistics.
std::vector<std::string_view> lines_of_kernel_log(std::string_view log);

/// The reason, or "".
std::string_view reason_in_kernel_log(std::string_view log);

/// "12: (79) r1 = ..." gives 12.
std::optional<u32> insn_of_kernel_line(std::string_view line) noexcept;

}  // namespace skep::catalog
