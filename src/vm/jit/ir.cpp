// The intermediate form as text, and its rules.
//
// check() is what the passes' tests call after every pass: a broken invariant is found where it was made, not in the
// machine code that it becomes.
#include "vm/jit/ir.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "vm/jit/dominators.hpp"

namespace skep::vm::ir {
namespace {

constexpr const char* condition_names[] = {"eq",  "ne",  "ult", "ule", "ugt", "uge",
                                           "slt", "sle", "sgt", "sge", "set", "clear"};
constexpr const char* atomic_names[] = {"add", "or", "and", "xor"};

bool has_width(Op op) {
  return (op >= Op::add && op <= Op::neg) || op == Op::sext || op == Op::select || op == Op::branch ||
         op == Op::switch_;
}
bool has_bits(Op op) {
  return op == Op::sext || op == Op::zext || op == Op::bswap || (op >= Op::load && op <= Op::store_release);
}
bool has_imm(Op op) {
  return op == Op::constant || op == Op::parameter || op == Op::frame || (op >= Op::load && op <= Op::call_local) ||
         op == Op::switch_;
}

std::string text_of(const Function& f, Value v) {
  const Inst& inst = f.insns[v];
  std::string out = fmt::format("  v{} = {}", v, row(inst.op).name);
  if (inst.op == Op::atomic) out += fmt::format(".{}", atomic_names[static_cast<u8>(inst.atomic)]);
  if (inst.op == Op::branch || inst.op == Op::select)
    out += fmt::format(".{}", condition_names[static_cast<u8>(inst.condition)]);
  if (has_width(inst.op) && inst.width == 32) out += ".32";
  if (has_bits(inst.op)) out += fmt::format(".{}{}", inst.has(Inst::sign) ? "s" : "b", inst.bits);
  if (inst.has(Inst::fetch)) out += ".fetch";
  for (const Value operand : f.operands_of(inst)) out += fmt::format(" v{}", operand);
  if (has_imm(inst.op)) out += inst.op == Op::call ? fmt::format(" {:#x}", inst.imm) : fmt::format(" #{}", inst.imm);
  if (inst.has(Inst::stack)) out += " stack";
  if (inst.has(Inst::cold)) out += " cold";
  if (inst.has(Inst::last)) out += " last";
  return out;
}

class Checker {
 public:
  explicit Checker(const Function& f) : f_(f), dominators_(f), position_(f.insns.size(), 0) {}

  std::string run() {
    if (f_.blocks.empty() || f_.blocks[0].insns.empty()) return "there is no entry block";
    if (!f_.blocks[0].predecessors.empty()) return "the entry block has predecessors";
    for (BlockId b = 0; b < f_.blocks.size(); b++)
      for (u32 i = 0; i < f_.blocks[b].insns.size(); i++) position_[f_.blocks[b].insns[i]] = i;
    for (BlockId b = 0; b < f_.blocks.size(); b++)
      if (auto problem = block(b); !problem.empty()) return fmt::format("block {}: {}", b, problem);
    return "";
  }

 private:
  std::string block(BlockId b) const {
    const Block& block = f_.blocks[b];
    if (block.insns.empty()) return block.predecessors.empty() ? "" : "gone, but has predecessors";
    for (const BlockId s : block.successors)
      if (count(block.successors, s) != count(f_.blocks[s].predecessors, b))
        return fmt::format("edge to block {} is not known there", s);
    for (const BlockId p : block.predecessors)
      if (count(f_.blocks[p].successors, b) == 0) return fmt::format("block {} is no predecessor", p);
    bool phis_over = false;
    for (u32 i = 0; i < block.insns.size(); i++) {
      const Value v = block.insns[i];
      const Inst& inst = f_.insns[v];
      if (inst.block != b) return fmt::format("v{} thinks it is in block {}", v, inst.block);
      if ((row(inst.op).effect == Effect::leaves) != (i + 1 == block.insns.size()))
        return fmt::format("v{}: a block ends with one instruction that leaves, and only that", v);
      if (inst.op == Op::phi && phis_over) return fmt::format("v{}: phi after other instructions", v);
      phis_over = phis_over || inst.op != Op::phi;
      if (auto problem = instruction(b, v); !problem.empty()) return fmt::format("v{}: {}", v, problem);
    }
    return "";
  }

  std::string instruction(BlockId b, Value v) const {
    const Inst& inst = f_.insns[v];
    const auto operands = f_.operands_of(inst);
    const u32 wanted = inst.op == Op::phi ? static_cast<u32>(f_.blocks[b].predecessors.size()) : row(inst.op).operands;
    if (wanted != many && operands.size() != wanted)
      return fmt::format("{} has {} operands, not {}", row(inst.op).name, operands.size(), wanted);
    for (u32 i = 0; i < operands.size(); i++) {
      const Value used = operands[i];
      if (used >= f_.insns.size() || f_.insns[used].block == no_block)
        return fmt::format("operand v{} stands nowhere", used);
      const BlockId from = f_.insns[used].block;
      if (f_.blocks[from].insns[position_[used]] != used) return fmt::format("operand v{} is not in its block", used);
      if (inst.op == Op::phi) {
        if (!dominators_.dominates(from, f_.blocks[b].predecessors[i]))
          return fmt::format("operand v{} does not dominate predecessor {}", used, f_.blocks[b].predecessors[i]);
      } else if (from == b ? position_[used] >= position_[v] : !dominators_.dominates(from, b)) {
        return fmt::format("operand v{} does not dominate it", used);
      }
    }
    return successors(b, inst);
  }

  std::string successors(BlockId b, const Inst& inst) const {
    const auto have = f_.blocks[b].successors.size();
    if (inst.op == Op::jump && have != 1) return "a jump has one successor";
    if (inst.op == Op::branch && have != 2) return "a branch has two successors";
    if (inst.op == Op::switch_ && have < 2) return "a switch has at least two successors";
    if ((inst.op == Op::ret || inst.op == Op::trap) && have != 0) return "nothing follows a return";
    return "";
  }

  static std::ptrdiff_t count(const std::vector<BlockId>& list, BlockId b) { return std::ranges::count(list, b); }

  const Function& f_;
  Dominators dominators_;
  std::vector<u32> position_;
};

}  // namespace

std::string print(const Function& f) {
  std::string out;
  for (BlockId b = 0; b < f.blocks.size(); b++) {
    const Block& block = f.blocks[b];
    if (block.insns.empty()) continue;
    out += fmt::format("block {}:", b);
    for (const BlockId p : block.predecessors) out += fmt::format(" <{}", p);
    for (const BlockId s : block.successors) out += fmt::format(" >{}", s);
    out += "\n";
    for (const Value v : block.insns) out += text_of(f, v) + "\n";
  }
  return out;
}

std::string check(const Function& function) { return Checker(function).run(); }

}  // namespace skep::vm::ir
