// Instructions as text and back, in the syntax of the kernel's verifier log and `bpftool prog dump xlated`.
//
// print() writes one instruction exactly as the kernel does; assemble() reads that syntax (a pasted dump
// included), the small differences of LLVM's assembler, and labels. The two are inverse: what print() writes,
// assemble() turns into the same bytes. The only extensions are where the kernel's text loses a field (the
// second number of some ld_imm64 kinds, a kfunc's descriptor index).
//
//     r0 = 0
//     r2 = *(u32 *)(r1 +4)
//     if r2 != 0x8 goto done      ; `goto pc+3` and `goto +3` count instructions from the next one
//     lock *(u64 *)(r10 -8) += r2
//     call bpf_ktime_get_ns#5     ; or `call 5`
//     done: exit
//
// A number after `rN =` is a 32-bit mov when written in decimal, and a 64-bit ld_imm64 (two slots) when written
// in hexadecimal or followed by `ll`, as in the kernel's dumps. Comments start with `;`, `//`, or a `#` at the
// beginning of a word.
// Source: Linux kernel/bpf/disasm.c and tools/bpf/bpftool/xlated_dumper.c for the format (own code).
#pragma once
#include <functional>
#include <optional>
#include <skep/insn.hpp>
#include <skep/result.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skep::isa {

/// How print() names what instructions refer to. Unset or returning "": the number.
struct PrintOptions {
  /// "(b7) " in front, as bpftool prints.
  bool opcode = false;
  /// Name of what a call calls: "bpf_trace_printk", "bpf_rcu_read_lock", a subprogram's name.
  std::function<std::string(const Insn& call, std::size_t index)> call;
  /// Text of an ld_imm64's value: "map[id:5]".
  std::function<std::string(const Insn& load, std::size_t index)> immediate;
};

/// The instruction at `index`, without a line end. What does not decode prints as its bytes.
std::string print(std::span<const Insn> insns, std::size_t index, const PrintOptions& options = {});

/// All instructions, one per line, with index and opcode as bpftool prints them.
std::string disassemble(std::span<const Insn> insns);
std::string disassemble(std::span<const Insn> insns, PrintOptions options);

/// What parse() cannot know: helper numbers by name ("bpf_ktime_get_ns" or without the prefix).
struct ParseOptions {
  std::function<std::optional<s32>(std::string_view name)> helper_id;
};

struct Assembly {
  std::vector<Insn> insns;
  std::vector<u32> lines;  ///< 1-based text line of each instruction
  std::vector<std::pair<std::string, u32>> labels;
  /// ld_imm64 of `map[name]`: the name, for the caller to resolve (src is 1; 2 with `map[name][0]+8`, the offset
  /// in the second imm).
  struct MapName {
    u32 insn = 0;
    std::string name;
  };
  std::vector<MapName> maps;
};

/// Reads a program. Errors: malformed, "line 3: ...".
Result<Assembly> parse(std::string_view text, const ParseOptions& options = {});

/// parse() for programs whose references are all numbers.
Result<std::vector<Insn>> assemble(std::string_view text);

}  // namespace skep::isa
