// Instructions put in and taken out; everything that names an instruction moves along.
#include "compile/rewriter.hpp"

#include <fmt/format.h>

#include <limits>

#include "compile/insn_shapes.hpp"

namespace skep::compile {
namespace {

using namespace shape;

/// Sets the distance of a jump or call at `from` to `to`.
Result<void> aim(Insn& insn, u32 from, u32 to) {
  const s64 distance = static_cast<s64>(to) - from - 1;
  if (is_local_call(insn) || insn.code == 0x06) {
    insn.imm = static_cast<s32>(distance);
    return {};
  }
  if (distance < std::numeric_limits<s16>::min() || distance > std::numeric_limits<s16>::max())
    return fail(Code::limit, fmt::format("a jump over {} instructions, which is further than one can jump", distance));
  insn.off = static_cast<s16>(distance);
  return {};
}

}  // namespace

void prepend(ProgramSpec& program, const std::vector<Insn>& insns) {
  const auto count = static_cast<u32>(insns.size());
  program.insns.insert(program.insns.begin(), insns.begin(), insns.end());
  for (Reference& r : program.references) {
    r.insn += count;
    if (r.kind == Reference::Kind::function) r.addend += count;
  }
  for (CoreRelocation& r : program.relocations) r.insn += count;
  for (FunctionInfo& f : program.functions)
    if (f.insn != 0) f.insn += count;
  for (SourceLine& line : program.lines) line.insn += count;
  // The prologue belongs to the line that declares the handler.
  if (!program.lines.empty() && program.lines.front().insn == count) {
    SourceLine line = program.lines.front();
    line.insn = 0;
    program.lines.insert(program.lines.begin(), std::move(line));
  }
}

Result<void> replace(ProgramSpec& program, const std::map<u32, Replacement>& replacements) {
  const std::vector<Insn> old = std::move(program.insns);
  std::vector<u32> place(old.size() + 1);
  program.insns.clear();
  for (u32 i = 0; i < old.size(); ++i) {
    place[i] = static_cast<u32>(program.insns.size());
    if (const auto r = replacements.find(i); r != replacements.end())
      program.insns.insert(program.insns.end(), r->second.insns.begin(), r->second.insns.end());
    else
      program.insns.push_back(old[i]);
  }
  place[old.size()] = static_cast<u32>(program.insns.size());
  for (u32 i = 0; i < old.size(); ++i) {
    const Insn& insn = old[i];
    if (is_branch(insn) || is_local_call(insn)) {
      const s64 distance = is_local_call(insn) || insn.code == 0x06 ? insn.imm : insn.off;
      const s64 to = static_cast<s64>(i) + 1 + distance;
      if (to < 0 || to > static_cast<s64>(old.size())) return fail(Code::malformed, "a jump out of the program");
      SKEP_TRY(aim(program.insns[place[i]], place[i], place[static_cast<std::size_t>(to)]));
    }
    if (is_wide(insn)) ++i;
  }
  const auto moved = [&](u32 insn) { return insn < place.size() ? place[insn] : insn; };
  for (Reference& r : program.references) {
    r.insn = moved(r.insn);
    if (r.kind == Reference::Kind::function) r.addend = moved(r.addend);
  }
  for (CoreRelocation& r : program.relocations) {
    const auto it = replacements.find(r.insn);
    r.insn = moved(r.insn) + (it != replacements.end() ? it->second.relocated : 0);
  }
  for (FunctionInfo& f : program.functions) f.insn = moved(f.insn);
  for (SourceLine& line : program.lines) line.insn = moved(line.insn);
  return {};
}

}  // namespace skep::compile
