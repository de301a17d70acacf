// The kernel's verifier log, read for its last words: which message of ours it is, which instruction, which C line, and
// where the register it complains of got its value.
//
//   ; __u64 *value = bpf_map_lookup_elem(&counts, &key); @ count.bpf.c:12
//   5: (85) call bpf_map_lookup_elem#1    ; R0_w=map_value_or_null(id=1,map=counts,ks=4,vs=8)
//   ; *value += 1; @ count.bpf.c:13
//   6: (79) r1 = *(u64 *)(r0 +0)
//   R0 invalid mem access 'map_value_or_null'
//   processed 7 insns (limit 1000000) ...
//
// A log may come from a file that anyone wrote: it is read once, its end only where it is long, and what it says is
// made printable before it is shown.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "verify/diagnosis.hpp"

namespace skep::explain {

/// What `program` (as it was loaded) was refused for, told as our own verifier tells it. None where the log holds no
/// refusal. A wording that no row knows has the id "kernel".
std::optional<verify::Refused> refusal_from_log(std::string_view log, const ProgramSpec& program);

/// Whether the instructions that the log shows are this program's: the last one it looked at has the same opcode there.
bool is_log_of(std::string_view log, const ProgramSpec& program);

}  // namespace skep::explain
