// Bytes of x86-64 for chosen instructions with their places, and the moves between them.
//
// The frame lies at rsp: the function's own bytes first, spill slots behind them. A block on a split edge that has no
// moves is never written: jumps to it go where it leads.
#include <algorithm>

#include "vm/jit/backend/passes.hpp"
#include "vm/jit/backend/x86_form.hpp"
#include "vm/jit/x86_64.hpp"

namespace skep::vm::backend {
namespace {

using x86::Cond;
using x86::Label;
using x86::Mem;
using x86::Reg;
using x86::Width;

constexpr u8 order_bytes[] = {0, 1, 2, 6, 7, 8, 9, 10, 11, 3, 5, 12, 13, 14, 15};  // rsp is never given away
constexpr u8 argument_bytes[] = {7, 6, 2, 1, 8, 9};
constexpr u32 saved_bits = 1u << 3 | 1u << 5 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 15;
constexpr Registers machine_registers{order_bytes, saved_bits, argument_bytes};

constexpr Width width_of(u32 bits) { return static_cast<Width>(bits / 8); }

Cond cond_of(ir::Condition c) {
  constexpr Cond table[] = {Cond::e, Cond::ne, Cond::b, Cond::be, Cond::a,  Cond::ae,
                            Cond::l, Cond::le, Cond::g, Cond::ge, Cond::ne, Cond::e};
  return table[static_cast<u8>(c)];
}

class Emitter {
 public:
  Emitter(x86::Assembler& as, const Code& code, const Allocation& places, std::span<const Label> functions,
          const Target& target)
      : as_(as), code_(code), places_(places), functions_(functions), target_(target) {}

  void run() {
    begin_labels();
    prologue();
    for (u32 b = 0; b < code_.blocks.size(); b++) {
      if (skipped_[b]) continue;
      block_ = b;
      if (code_.blocks[b].header) align_loop();
      as_.bind(labels_[b]);
      for (u32 i = code_.blocks[b].first; i < code_.blocks[b].last; i++) {
        at_ = i;
        moves(i, Move::reload);
        instruction(code_.insns[i]);
      }
    }
  }

 private:
  // --- blocks ---
  bool has_moves(u32 inst, Move::Phase phase) const {
    const u32 key = inst * 4 + phase;
    const auto it = std::ranges::lower_bound(places_.moves, key, {}, &Move::key);
    return it != places_.moves.end() && it->key == key;
  }
  void begin_labels() {
    skipped_.assign(code_.blocks.size(), false);
    for (u32 b = 0; b < code_.blocks.size(); b++) {
      labels_.push_back(as_.new_label());
      const Block& block = code_.blocks[b];
      bool is_empty = b != 0 && block.source == ir::no_block;
      for (u32 i = block.first; i < block.last && is_empty; i++)
        for (const auto phase : {Move::reload, Move::leave, Move::enter, Move::keep})
          is_empty = is_empty && !has_moves(i, phase);
      skipped_[b] = is_empty;
    }
  }
  u32 final_block(u32 b) const {
    while (skipped_[b]) b = code_.successors(code_.blocks[b])[0];
    return b;
  }
  u32 next_block() const {
    u32 b = block_ + 1;
    while (b < code_.blocks.size() && skipped_[b]) b++;
    return b;
  }
  Label label_of(u32 b) const { return labels_[final_block(b)]; }
  /// No-operations up to the next 16 bytes.
  void align_loop() {
    while (as_.size() % 16 != 0) {
      const std::size_t gap = 16 - as_.size() % 16;
      if (gap >= 8)
        as_.raw({0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0});
      else if (gap >= 4)
        as_.raw({0x0f, 0x1f, 0x40, 0});
      else if (gap >= 3)
        as_.raw({0x0f, 0x1f, 0x00});
      else if (gap >= 2)
        as_.raw({0x66, 0x90});
      else
        as_.raw({0x90});
    }
  }

  // --- frame ---
  void prologue() {
    saved_ = places_.used & saved_bits;
    u32 pushed = 8;
    for (u32 r = 0; r < 16; r++)
      if ((saved_ >> r & 1) != 0) {
        as_.push(static_cast<Reg>(r));
        pushed += 8;
      }
    slots_at_ = code_.frame_bytes;
    frame_ = code_.frame_bytes + places_.slots * 8;
    if (frame_ != 0 || code_.calls != 0) frame_ += (16 - (frame_ + pushed) % 16) % 16;
    if (frame_ != 0) as_.alu(x86::Alu::sub, Width::w64, Reg::rsp, static_cast<s32>(frame_));
  }
  void epilogue() {
    if (frame_ != 0) as_.alu(x86::Alu::add, Width::w64, Reg::rsp, static_cast<s32>(frame_));
    for (u32 r = 16; r-- > 0;)
      if ((saved_ >> r & 1) != 0) as_.pop(static_cast<Reg>(r));
    as_.ret();
  }
  Mem slot(Loc l, s32 pushed = 0) const {
    return x86::at(Reg::rsp, static_cast<s32>(slots_at_ + l.number() * 8) + pushed);
  }

  // --- moves that happen at once ---
  struct Pair {
    Loc from, to;
  };
  void moves(u32 inst, Move::Phase phase) {
    const u32 key = inst * 4 + phase;
    auto it = std::ranges::lower_bound(places_.moves, key, {}, &Move::key);
    pairs_.clear();
    for (; it != places_.moves.end() && it->key == key; ++it) pairs_.push_back({it->from, it->to});
    run_moves();
  }
  void fixed_operands(const Inst& inst) {
    pairs_.clear();
    for (u32 k = 0; k < inst.count; k++) {
      const Operand& o = code_.operands[inst.first + k];
      if (o.use == Use::fixed) pairs_.push_back({o.loc, Loc::of(Loc::reg, o.fixed)});
    }
    run_moves();
  }
  bool is_read(Loc l) const {
    return std::ranges::any_of(pairs_, [&](const Pair& p) { return p.from == l; });
  }
  void run_moves() {
    std::erase_if(pairs_, [](const Pair& p) { return p.from == p.to; });
    while (!pairs_.empty()) {
      const auto free = std::ranges::find_if(pairs_, [&](const Pair& p) { return !is_read(p.to); });
      if (free != pairs_.end()) {
        const Pair p = *free;
        pairs_.erase(free);
        one_move(p.from, p.to);
        continue;
      }
      const Pair p = pairs_.back();  // a circle: swap, and who wanted the one finds it in the other
      swap(p.from, p.to);
      for (Pair& other : pairs_) {
        if (other.from == p.from)
          other.from = p.to;
        else if (other.from == p.to)
          other.from = p.from;
      }
      std::erase_if(pairs_, [](const Pair& q) { return q.from == q.to; });
    }
  }
  void swap(Loc a, Loc b) {
    if (a.kind() == Loc::reg && b.kind() == Loc::reg) return as_.xchg(Width::w64, reg(a), reg(b));
    if (a.kind() == Loc::slot) std::swap(a, b);
    if (a.kind() == Loc::reg) return as_.xchg(Width::w64, slot(b), reg(a));
    as_.push(Reg::rax);
    as_.mov(Width::w64, Reg::rax, slot(a, 8));
    as_.xchg(Width::w64, slot(b, 8), Reg::rax);
    as_.mov(Width::w64, slot(a, 8), Reg::rax);
    as_.pop(Reg::rax);
  }
  void one_move(Loc from, Loc to) {
    if (to.kind() == Loc::reg) {
      if (from.kind() == Loc::reg) return as_.mov(Width::w64, reg(to), reg(from));
      if (from.kind() == Loc::slot) return as_.mov(Width::w64, reg(to), slot(from));
      return make(from, reg(to));
    }
    if (from.kind() == Loc::reg) return as_.mov(Width::w64, slot(to), reg(from));
    const Register* made = from.kind() == Loc::remat ? &code_.registers[from.number()] : nullptr;
    if (made != nullptr && made->remat == Remat::constant && x86::fits_s32(made->imm))
      return as_.mov(Width::w64, slot(to), static_cast<s32>(made->imm));
    as_.push(Reg::rax);
    if (made == nullptr)
      as_.mov(Width::w64, Reg::rax, slot(from, 8));
    else if (made->remat == Remat::constant)
      as_.mov(Reg::rax, static_cast<u64>(made->imm));
    else
      as_.lea(Width::w64, Reg::rax, x86::at(Reg::rsp, static_cast<s32>(made->imm) + 8));
    as_.mov(Width::w64, slot(to, 8), Reg::rax);
    as_.pop(Reg::rax);
  }
  /// Flags stay: moves may stand between a comparison and its jump.
  void make(Loc from, Reg to) {
    const Register& r = code_.registers[from.number()];
    if (r.remat == Remat::constant)
      as_.mov(to, static_cast<u64>(r.imm));
    else
      as_.lea(Width::w64, to, x86::at(Reg::rsp, static_cast<s32>(r.imm)));
  }

  // --- operands ---
  static Reg reg(Loc l) { return static_cast<Reg>(l.number()); }
  Reg r(const Inst& inst, u8 place) const { return reg(code_.loc(inst, place)); }
  Reg def(const Inst& inst) const { return reg(inst.def_loc); }
  bool in_slot(const Inst& inst, u8 place) const { return code_.loc(inst, place).kind() == Loc::slot; }
  Mem memory(const Inst& inst) const {
    Mem m;
    m.disp = inst.disp;
    m.scale_log2 = inst.scale;
    if (inst.frame) m.base = Reg::rsp;
    if (inst.base != absent) m.base = r(inst, inst.base);
    if (inst.index != absent) m.index = r(inst, inst.index);
    return m;
  }
  void move(Reg to, Reg from, Width w = Width::w64) {
    if (to != from) as_.mov(w, to, from);
  }

  // --- instructions ---
  void instruction(const Inst& inst) {
    const Width w = width_of(inst.width), bits = width_of(inst.bits);
    switch (static_cast<X>(inst.op)) {
      case X::label:
        moves(at_, Move::enter);
        break;
      case X::jump:
        moves(at_, Move::leave);
        go(code_.successors(code_.blocks[block_])[0]);
        return;
      case X::branch:
        return branch(inst);
      case X::switch_:
        return switch_(inst);
      case X::ret:
        fixed_operands(inst);
        return epilogue();
      case X::trap:
        as_.zero(Reg::rax);
        return epilogue();
      case X::select: {
        const Reg d = def(inst);
        compare(inst);
        move(d, r(inst, inst.y));
        if (in_slot(inst, inst.x))
          as_.cmov(cond_of(inst.condition), Width::w64, d, slot(code_.loc(inst, inst.x)));
        else
          as_.cmov(cond_of(inst.condition), Width::w64, d, r(inst, inst.x));
        break;
      }
      case X::set:
        set(inst);
        break;
      case X::alu:
        alu(inst, w);
        break;
      case X::alu_memory:
        as_.lock();
        as_.alu(static_cast<x86::Alu>(inst.sub), bits, memory(inst), r(inst, inst.a));
        break;
      case X::lea:
        lea(inst, w);
        break;
      case X::multiply:
        multiply(inst, w);
        break;
      case X::multiply_imm:
        as_.imul(w, def(inst), r(inst, inst.a), static_cast<s32>(inst.imm));
        break;
      case X::shift_imm:
        shift_imm(inst, w);
        break;
      case X::shift:
        shift(inst, w);
        break;
      case X::negate:
        move(def(inst), r(inst, inst.a));
        as_.unary(x86::Unary::neg, w, def(inst));
        break;
      case X::swap:
        swap_bytes(def(inst), r(inst, inst.a), inst.bits);
        break;
      case X::extend:
        if (inst.bits == 32 && !inst.sign)
          as_.mov(Width::w32, def(inst), r(inst, inst.a));
        else if (inst.sign)
          as_.movsx(w, def(inst), bits, r(inst, inst.a));
        else
          as_.movzx(def(inst), bits, r(inst, inst.a));
        break;
      case X::load:
        load(def(inst), inst);
        break;
      case X::load_swapped:
        load_swapped(inst);
        break;
      case X::store:
        if (inst.flag)
          as_.mov(bits, memory(inst), static_cast<s32>(inst.imm));
        else
          as_.mov(bits, memory(inst), r(inst, inst.a));
        break;
      case X::constant:
        as_.mov(def(inst), static_cast<u64>(inst.imm));
        break;
      case X::frame:
        as_.lea(Width::w64, def(inst), x86::at(Reg::rsp, static_cast<s32>(inst.imm)));
        break;
      case X::divide:
        divide(inst, w);
        break;
      case X::exchange:
        move(def(inst), r(inst, inst.a));
        as_.xchg(bits, memory(inst), def(inst));
        break;
      case X::exchange_add:
        move(def(inst), r(inst, inst.a));
        as_.lock();
        as_.xadd(bits, memory(inst), def(inst));
        break;
      case X::compare_exchange:
        fixed_operands(inst);
        as_.lock();
        as_.cmpxchg(bits, memory(inst), r(inst, inst.b));
        if (inst.bits == 32) as_.mov(Width::w32, Reg::rax, Reg::rax);
        result(inst, Reg::rax);
        break;
      case X::fetch:
        fetch(inst, bits);
        break;
      case X::call:
        fixed_operands(inst);
        as_.mov(Reg::rax, static_cast<u64>(inst.imm));
        as_.call(Reg::rax);
        result(inst, Reg::rax);
        break;
      case X::call_local:
        fixed_operands(inst);
        as_.call(functions_[inst.target]);
        result(inst, Reg::rax);
        break;
      case X::call_pointer:
        fixed_operands(inst);
        as_.call(Reg::rax);
        result(inst, Reg::rax);
        break;
      case X::multiply_high:
      case X::store_swapped:
        as_.ud2();  // the chooser makes none
        break;
    }
    moves(at_, Move::keep);
  }

  void result(const Inst& inst, Reg from) {
    if (inst.def_loc.kind() == Loc::reg)
      move(def(inst), from);
    else if (inst.def_loc.kind() == Loc::slot)
      as_.mov(Width::w64, slot(inst.def_loc), from);
  }

  void go(u32 b) {
    if (final_block(b) != next_block()) as_.jmp(label_of(b));
  }
  void branch(const Inst& inst) {
    moves(at_, Move::leave);
    compare(inst);
    const auto to = code_.successors(code_.blocks[block_]);
    const Cond c = cond_of(inst.condition);
    if (final_block(to[0]) == next_block()) return as_.jcc(x86::inverse(c), label_of(to[1]));
    as_.jcc(c, label_of(to[0]));
    go(to[1]);
  }
  void switch_(const Inst& inst) {
    fixed_operands(inst);
    const Width w = width_of(inst.width);
    const auto to = code_.successors(code_.blocks[block_]);
    const s64 low = inst.width == 32 ? static_cast<s32>(inst.imm) : inst.imm;
    if (x86::fits_s32(low)) {
      if (low != 0)
        as_.alu(x86::Alu::sub, w, Reg::rax, static_cast<s32>(low));
      else if (inst.width == 32)
        as_.mov(Width::w32, Reg::rax, Reg::rax);
    } else {
      as_.mov(Reg::rdx, static_cast<u64>(low));
      as_.alu(x86::Alu::sub, w, Reg::rax, Reg::rdx);
    }
    as_.cmp(w, Reg::rax, static_cast<s32>(to.size() - 1));
    as_.jcc(Cond::ae, label_of(to[0]));
    std::vector<Label> table;
    for (const u32 b : to.subspan(1)) table.push_back(label_of(b));
    as_.jump_table(Reg::rax, Reg::rdx, table);
  }

  /// setcc writes one byte and waits for the rest of its register: cleared first, it waits for nothing.
  void set(const Inst& inst) {
    const Reg d = def(inst);
    const bool is_read = r(inst, inst.a) == d || (inst.b != absent && !in_slot(inst, inst.b) && r(inst, inst.b) == d);
    if (!is_read) as_.zero(d);
    compare(inst);
    as_.setcc(cond_of(inst.condition), d);
    if (is_read) as_.movzx(d, Width::w8, d);
  }

  void compare(const Inst& inst) {
    const Width w = width_of(inst.width);
    const Reg a = r(inst, inst.a);
    switch (static_cast<Compare>(inst.compare)) {
      case Compare::rr:
        if (in_slot(inst, inst.b)) return as_.cmp(w, a, slot(code_.loc(inst, inst.b)));
        return as_.cmp(w, a, r(inst, inst.b));
      case Compare::zero:
        return as_.test(w, a, a);
      case Compare::test_rr:
        return as_.test(w, a, r(inst, inst.b));
      case Compare::test_ri:
        // A mask of low bits needs only them.
        if (inst.imm >= 0 && inst.imm <= 0x7f) return as_.test(Width::w8, a, static_cast<s32>(inst.imm));
        return as_.test(inst.imm >= 0 ? Width::w32 : w, a, static_cast<s32>(inst.imm));
      default:
        return as_.cmp(w, a, static_cast<s32>(inst.imm));
    }
  }

  void alu(const Inst& inst, Width w) {
    const Reg d = def(inst);
    const auto op = static_cast<x86::Alu>(inst.sub);
    if (inst.b == absent) {
      move(d, r(inst, inst.a));
      return as_.alu(op, w, d, static_cast<s32>(inst.imm));
    }
    const Loc b = code_.loc(inst, inst.b);
    if (b.kind() == Loc::slot) {
      move(d, r(inst, inst.a));
      return as_.alu(op, w, d, slot(b));
    }
    if (reg(b) == d) return as_.alu(op, w, d, r(inst, inst.a));  // commutative: the chooser saw to it
    move(d, r(inst, inst.a));
    as_.alu(op, w, d, reg(b));
  }

  void lea(const Inst& inst, Width w) {
    const Reg d = def(inst);
    const Mem m = memory(inst);
    const bool is_frame = inst.frame;
    if (!is_frame && m.index == Reg::none && m.base == d) return as_.alu(x86::Alu::add, w, d, m.disp);
    if (!is_frame && m.index != Reg::none && m.base != Reg::none && m.scale_log2 == 0 && m.disp == 0) {
      if (m.base == d) return as_.alu(x86::Alu::add, w, d, m.index);
      if (m.index == d) return as_.alu(x86::Alu::add, w, d, m.base);
    }
    if (!is_frame && m.base == Reg::none && m.scale_log2 == 0 && m.index != Reg::none)
      return as_.lea(w, d, x86::at(m.index, m.disp));
    as_.lea(w, d, m);
  }

  void multiply(const Inst& inst, Width w) {
    const Reg d = def(inst), a = r(inst, inst.a);
    const Loc b = code_.loc(inst, inst.b);
    if (b.kind() == Loc::slot) {
      move(d, a);
      return as_.imul(w, d, slot(b));
    }
    if (reg(b) == d) return as_.imul(w, d, a);
    move(d, a);
    as_.imul(w, d, reg(b));
  }

  void shift_imm(const Inst& inst, Width w) {
    const Reg d = def(inst), a = r(inst, inst.a);
    const auto op = static_cast<x86::Shift>(inst.sub);
    const auto count = static_cast<u8>(inst.imm);
    if (d != a && op == x86::Shift::rol && target_.bmi2) return as_.rorx(w, d, a, static_cast<u8>(inst.width - count));
    if (d != a && op == x86::Shift::shl && count <= 3) return as_.lea(w, d, {Reg::none, a, count, 0});
    move(d, a);
    as_.shift(op, w, d, count);
  }

  void shift(const Inst& inst, Width w) {
    const auto op = static_cast<x86::Shift>(inst.sub);
    if (inst.flag) {
      const Reg d = def(inst), a = r(inst, inst.a), b = r(inst, inst.b);
      if (op == x86::Shift::shl) return as_.shlx(w, d, a, b);
      if (op == x86::Shift::shr) return as_.shrx(w, d, a, b);
      return as_.sarx(w, d, a, b);
    }
    fixed_operands(inst);
    move(Reg::rax, r(inst, inst.a));
    as_.shift_cl(op, w, Reg::rax);
    if (inst.width == 32) as_.mov(Width::w32, Reg::rax, Reg::rax);  // a count of 0 leaves the upper half
    result(inst, Reg::rax);
  }

  void swap_bytes(Reg d, Reg a, u32 bits) {
    if (bits == 16) {
      as_.movzx(d, Width::w16, a);
      return as_.shift(x86::Shift::rol, Width::w16, d, 8);
    }
    if (bits == 32)
      as_.mov(Width::w32, d, a);
    else
      move(d, a);
    as_.bswap(width_of(bits), d);
  }

  void load(Reg d, const Inst& inst) {
    const Width bits = width_of(inst.bits);
    const Mem m = memory(inst);
    if (inst.sign && inst.bits < 64) return as_.movsx(Width::w64, d, bits, m);
    if (inst.bits < 32) return as_.movzx(d, bits, m);
    as_.mov(bits, d, m);
  }
  void load_swapped(const Inst& inst) {
    const Reg d = def(inst);
    if (inst.bits >= 32 && target_.movbe) return as_.movbe(width_of(inst.bits), d, memory(inst));
    load(d, inst);
    if (inst.bits == 16) return as_.shift(x86::Shift::rol, Width::w16, d, 8);
    as_.bswap(width_of(inst.bits), d);
  }

  /// Division by zero gives 0, a remainder by zero the dividend; the smallest number by -1 wraps.
  void divide(const Inst& inst, Width w) {
    fixed_operands(inst);
    const Reg b = r(inst, inst.b);
    const Label done = as_.new_label(), zero = as_.new_label(), minus = as_.new_label();
    const bool remainder = inst.sub != 0;
    if (!inst.flag) {
      as_.test(w, b, b);
      as_.jcc(Cond::e, zero);
      if (inst.sign) {
        as_.cmp(w, b, -1);
        as_.jcc(Cond::e, minus);
      }
    }
    if (!inst.sign)
      as_.zero(Reg::rdx);
    else if (w == Width::w64)
      as_.cqo();
    else
      as_.cdq();
    as_.unary(inst.sign ? x86::Unary::idiv : x86::Unary::div, w, b);
    if (!inst.flag) {
      as_.jmp(done);
      if (inst.sign) {
        as_.bind(minus);
        if (remainder)
          as_.zero(Reg::rdx);
        else
          as_.unary(x86::Unary::neg, w, Reg::rax);
        as_.jmp(done);
      }
      as_.bind(zero);
      if (remainder)
        as_.mov(w, Reg::rdx, Reg::rax);
      else
        as_.zero(Reg::rax);
      as_.bind(done);
    }
    result(inst, remainder ? Reg::rdx : Reg::rax);
  }

  /// The old value of or, and, xor: again until nobody came between.
  void fetch(const Inst& inst, Width bits) {
    const Label again = as_.new_label();
    as_.mov(bits, Reg::rax, memory(inst));
    as_.bind(again);
    as_.mov(Width::w64, Reg::rdx, Reg::rax);
    as_.alu(static_cast<x86::Alu>(inst.sub), bits, Reg::rdx, r(inst, inst.a));
    as_.lock();
    as_.cmpxchg(bits, memory(inst), Reg::rdx);
    as_.jcc(Cond::ne, again);
    result(inst, Reg::rax);
  }

  x86::Assembler& as_;
  const Code& code_;
  const Allocation& places_;
  std::span<const Label> functions_;
  const Target& target_;
  std::vector<Label> labels_;
  std::vector<bool> skipped_;
  std::vector<Pair> pairs_;
  u32 block_ = 0, at_ = 0;
  u32 saved_ = 0, frame_ = 0, slots_at_ = 0;
};

Result<void> emit_function(const ir::Function& f, const Target& target, std::span<const Label> functions,
                           x86::Assembler& as) {
  Code code;
  Allocation places;
  order_blocks(f, code);
  select_x86_64(f, target, code);
  if (code.operands.size() > 0xfffffe || !find_live_ranges(code))
    return fail(skep::Code::limit, "the program is too large for the optimising tier; use the baseline tier");
  allocate(code, machine_registers, places);
  if (places.failed) return fail(skep::Code::limit, "an instruction found no registers; use the baseline tier");
  resolve(code, machine_registers, places);
  Emitter(as, code, places, functions, target).run();
  return {};
}

}  // namespace

Target Target::host() {
  const auto& cpu = x86::cpu_features();
  return {.bmi2 = cpu.bmi2, .movbe = cpu.movbe};
}

Result<Compiled> emit(const ir::Module& module, const Target& target) {
  if (target.machine != Machine::x86_64)
    return fail(skep::Code::unsupported, "the optimising tier has an emitter for x86-64 only; use the interpreter");
  x86::Assembler as;
  std::vector<Label> functions;
  for (std::size_t i = 0; i < module.functions.size(); i++) functions.push_back(as.new_label());
  Compiled compiled;
  for (std::size_t i = 0; i < module.functions.size(); i++) {
    as.bind(functions[i]);
    compiled.entries.push_back(static_cast<u32>(as.size()));
    SKEP_TRY(emit_function(module.functions[i], target, functions, as));
  }
  if (!as.finish()) return fail(skep::Code::limit, "a jump of the machine code leads nowhere; use the baseline tier");
  compiled.code.assign(as.code().begin(), as.code().end());
  return compiled;
}

}  // namespace skep::vm::backend
