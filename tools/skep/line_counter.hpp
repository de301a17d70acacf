// Counting how often each C line of a program runs, by counters put into a copy of it.
//
// One counter a basic block is enough: its instructions run equally often. A counter is a word of a map, and counting
// takes two registers, so it stands where two hold nothing that is read later: the program behaves as before. A block
// without such a place (none has been seen in compiled C) has no count, and says so.
#pragma once
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <vector>

namespace skep::tools {

struct CountedLine {
  SourceLine line;
  u32 insns = 0;             ///< of the program that come from it
  std::optional<u32> count;  ///< index of its counter; none: it could not be counted
};

struct CountedProgram {
  ObjectSpec object;               ///< with the program instrumented and one more map, the last
  std::vector<CountedLine> lines;  ///< in order of file and line; a line in several blocks is there once for each
  u32 counters = 0;
};

/// Errors: not_found, invalid_argument (no line information), those of moving jumps.
Result<CountedProgram> count_lines(const ObjectSpec& prepared, const std::string& program);

/// For tests: which registers hold nothing that is read later, a bit each, in front of every instruction.
std::vector<u16> dead_registers(std::span<const Insn> insns, std::span<const FunctionInfo> functions);

}  // namespace skep::tools
