// A program's control flow as a picture: basic blocks as DOT for Graphviz, or laid out here as SVG.
#pragma once
#include <skep/inspect.hpp>
#include <string>
#include <vector>

namespace skep::inspect {

/// A stretch of instructions that is entered at its first and left at its last.
struct Block {
  u32 begin = 0, end = 0;  ///< instructions, half open
  u32 function = 0;        ///< index into ProgramCode::functions
  s32 next = -1;           ///< the block that follows when no jump is taken, or -1
  s32 taken = -1;          ///< the block that a jump goes to, or -1
};

/// Blocks in the order of their instructions. Jumps that lead nowhere end a block and are left out.
std::vector<Block> blocks_of(const ProgramCode& code);

std::string graph_as_dot(const ProgramCode& code, bool kernel);
/// No program is needed to see it but a browser. Forward edges run down, backward ones (loops) on the right.
std::string graph_as_svg(const ProgramCode& code, bool kernel);

}  // namespace skep::inspect
