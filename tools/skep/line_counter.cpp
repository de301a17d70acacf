// See line_counter.hpp. Liveness is the textbook's backward analysis, on the safe side: a call reads every argument
// register, and what does not decode reads everything.
#include "line_counter.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>

#include "inspect/graph.hpp"
#include "isa/isa.hpp"
#include "kernel/rewrite.hpp"

namespace skep::tools {

namespace {

constexpr u16 all_registers = 0x3ff;  // r0 to r9; r10 is never free
constexpr u16 argument_registers = 0x3e, caller_saved = 0x3f;

constexpr u16 bit(unsigned reg) { return static_cast<u16>(1u << reg) & all_registers; }

struct Effect {
  u16 reads = 0, writes = 0;
};

Effect effect_of(const Insn& insn) {
  using isa::Form;
  const auto op = isa::decode(insn);
  if (!op) return {all_registers, 0};
  const u16 dst = bit(insn.dst), src = bit(insn.src);
  switch (isa::row(*op).form) {
    case Form::alu_imm: {
      const bool is_move = (insn.code & 0xf0) == 0xb0;
      return {is_move ? u16{0} : dst, dst};
    }
    case Form::alu_reg: {
      const bool is_move = (insn.code & 0xf0) == 0xb0;
      return {static_cast<u16>(src | (is_move ? 0 : dst)), dst};
    }
    case Form::alu_unary:
    case Form::endian:
      return {dst, dst};
    case Form::movsx:
    case Form::addr_space_cast:
    case Form::load:
    case Form::load_acquire:
      return {src, dst};
    case Form::ld_imm64:
      return {0, dst};
    case Form::jump:
    case Form::jump_long:
    case Form::may_goto:
      return {};
    case Form::jump_imm:
    case Form::store_imm:
      return {dst, 0};
    case Form::jump_reg:
    case Form::store_reg:
    case Form::store_release:
    case Form::atomic:
      return {static_cast<u16>(dst | src), 0};
    case Form::atomic_fetch:
      return {static_cast<u16>(dst | src), src};
    case Form::cmpxchg:
      return {static_cast<u16>(dst | src | bit(0)), bit(0)};
    case Form::call_helper:
    case Form::call_local:
    case Form::call_kfunc:
      return {argument_registers, caller_saved};
    case Form::callx:
      return {static_cast<u16>(argument_registers | dst), caller_saved};
    case Form::exit:
      return {bit(0), 0};
    case Form::ld_abs:
    case Form::ld_ind:
      return {static_cast<u16>(bit(6) | src), caller_saved};
  }
  return {all_registers, 0};
}

/// Where counting can happen: in front of an instruction, with two registers to use.
struct Place {
  u32 insn = 0;
  u8 address = 0, one = 0;
};

std::optional<Place> place_in(const inspect::Block& block, std::span<const Insn> insns, const std::vector<u16>& dead) {
  for (u32 i = block.begin; i < block.end; ++i) {
    if (const unsigned free = dead[i]; std::popcount(free) >= 2) {
      const auto first = static_cast<u8>(std::countr_zero(free));
      return Place{i, first, static_cast<u8>(std::countr_zero(free & ~(1u << first)))};
    }
    if (isa::is_ld_imm64(insns[i])) ++i;
  }
  return std::nullopt;
}

/// Puts `*(u64 *)&counters[i] += 1` at each place. Returns where the addresses are loaded.
Result<std::vector<u32>> insert_counters(ProgramSpec& program, const std::vector<Place>& places) {
  std::vector<u32> at;
  for (const Place& place : places) at.push_back(place.insn);
  // Last instruction first: each pass goes in front of what the one before inserted.
  const auto pass = [&](auto make) -> Result<void> {
    std::vector<kernel::Insertion> insertions;
    for (std::size_t i = 0; i < places.size(); ++i) insertions.push_back({at[i], make(places[i])});
    SKEP_TRY(kernel::insert(program, insertions));
    for (std::size_t i = 0; i < at.size(); ++i) at[i] += static_cast<u32>(i);
    return {};
  };
  constexpr u8 atomic_u64 = 0xdb, move_imm64 = 0xb7, load_imm64 = 0x18, map_value_source = 2;
  SKEP_TRY(pass([](const Place& p) { return Insn{atomic_u64, p.address, p.one, 0, 0}; }));
  SKEP_TRY(pass([](const Place& p) { return Insn{move_imm64, p.one, 0, 0, 1}; }));
  SKEP_TRY(pass([](const Place&) { return Insn{}; }));
  SKEP_TRY(pass([](const Place& p) { return Insn{load_imm64, p.address, map_value_source, 0, 0}; }));
  return at;
}

/// Lines by block: each line once per block, with how many of the block's instructions are its own.
std::vector<CountedLine> lines_by_block(const ProgramSpec& program, const std::vector<inspect::Block>& blocks,
                                        const std::vector<std::optional<u32>>& counter_of) {
  std::vector<CountedLine> lines;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    std::map<std::pair<std::string, u32>, CountedLine> here;
    for (u32 i = blocks[b].begin; i < blocks[b].end; ++i) {
      const SourceLine* line = program.line_at(i);
      if (line == nullptr || line->line == 0) continue;
      auto& entry = here[{line->file, line->line}];
      entry.line = *line;
      entry.count = counter_of[b];
      ++entry.insns;
    }
    for (auto& [place, entry] : here) lines.push_back(std::move(entry));
  }
  std::stable_sort(lines.begin(), lines.end(), [](const CountedLine& a, const CountedLine& b) {
    return std::pair(a.line.file, a.line.line) < std::pair(b.line.file, b.line.line);
  });
  return lines;
}

}  // namespace

std::vector<u16> dead_registers(std::span<const Insn> insns, std::span<const FunctionInfo> functions) {
  ProgramCode code;
  code.insns.assign(insns.begin(), insns.end());
  code.functions.assign(functions.begin(), functions.end());
  const auto blocks = inspect::blocks_of(code);
  std::vector<u16> live_at(insns.size(), 0);
  for (bool changed = true; changed;) {
    changed = false;
    for (std::size_t b = blocks.size(); b-- > 0;) {
      const auto& block = blocks[b];
      u16 live = 0;
      for (const s32 next : {block.next, block.taken})
        if (next >= 0) live |= live_at[blocks[static_cast<std::size_t>(next)].begin];
      std::vector<u32> order;
      for (u32 i = block.begin; i < block.end; ++i) {
        order.push_back(i);
        if (isa::is_ld_imm64(insns[i])) ++i;
      }
      for (auto i = order.rbegin(); i != order.rend(); ++i) {
        const Effect effect = effect_of(insns[*i]);
        live = static_cast<u16>((live & ~effect.writes) | effect.reads);
        changed = changed || live_at[*i] != live;
        live_at[*i] = live;
      }
    }
  }
  for (u16& registers : live_at) registers = static_cast<u16>(~registers & all_registers);
  return live_at;
}

Result<CountedProgram> count_lines(const ObjectSpec& prepared, const std::string& name) {
  CountedProgram counted;
  counted.object = prepared;
  ProgramSpec* const program = counted.object.program(name);
  if (program == nullptr) return fail(Code::not_found, fmt::format("no program '{}'", name));
  if (program->lines.empty())
    return fail(Code::invalid_argument,
                fmt::format("program {}: no line information; compile it with -g", program->name));
  ProgramCode code;
  code.insns = program->insns;
  code.functions = program->functions;
  const auto blocks = inspect::blocks_of(code);
  const auto dead = dead_registers(program->insns, program->functions);
  std::vector<Place> places;
  std::vector<std::optional<u32>> counter_of(blocks.size());
  for (std::size_t b = 0; b < blocks.size(); ++b)
    if (const auto place = place_in(blocks[b], program->insns, dead)) {
      counter_of[b] = static_cast<u32>(places.size());
      places.push_back(*place);
    }
  counted.lines = lines_by_block(*program, blocks, counter_of);
  counted.counters = static_cast<u32>(places.size());
  const auto at = SKEP_TRY_AT("program " + name, insert_counters(*program, places));
  MapSpec map;
  map.name = "line_counts";
  map.type = MapType::array;
  map.key_size = sizeof(u32);
  map.value_size = std::max<u32>(1, counted.counters) * static_cast<u32>(sizeof(u64));
  map.max_entries = 1;
  map.is_global_data = true;
  map.initial_value.resize(map.value_size);
  const u32 index = static_cast<u32>(counted.object.maps.size());
  counted.object.maps.push_back(std::move(map));
  for (std::size_t i = 0; i < at.size(); ++i) {
    Reference reference;
    reference.insn = at[i];
    reference.kind = Reference::Kind::map_value;
    reference.map = index;
    reference.addend = static_cast<u32>(i * sizeof(u64));
    program->references.push_back(std::move(reference));
  }
  std::sort(program->references.begin(), program->references.end(),
            [](const Reference& a, const Reference& b) { return a.insn < b.insn; });
  return counted;
}

}  // namespace skep::tools
