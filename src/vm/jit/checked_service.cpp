// What answers machine code whose checks fail, and how activations begin and end. See checks.hpp.
#include "vm/jit/checks.hpp"

#include <bit>
#include <cerrno>
#include <cstring>

#include "isa/semantics.hpp"
#include "vm/jit/entry.hpp"
#include "vm/jit/tiering.hpp"
#include "vm/timed_loop.hpp"

namespace skep::vm::jit {

using isa::Form;

namespace {

bool passes(const Window& window, u64 address, u32 bytes) {
  const u64 offset = address - window.begin;
  return offset < window.places[0] && window.places[0] - offset >= bytes;
}

}  // namespace

// --- memory ---

void Checks::open(int window, u64 begin, u64 bytes) noexcept {
  if (window < 0) return;
  Window& w = windows[window];
  w.begin = begin;
  for (u32 i = 0; i < 4; i++) w.places[i] = places_in(bytes, i);
}

/// Windows of `code` begin where an earlier run found its accesses.
void Checks::make_windows(const CheckedCode& code) noexcept {
  const u32 which = code.plan->windows();
  for (u32 rest = which & ~made; rest != 0; rest &= rest - 1) {
    const int window = std::countr_zero(rest);
    const u32 seed = code.seeds[static_cast<u32>(window)].load(std::memory_order_relaxed);
    const bool write = window >= static_cast<int>(window_count);
    if (seed != 0 && seed <= regions.size() && (!write || regions[seed - 1].writable))
      open(window, regions[seed - 1].begin, regions[seed - 1].size_bytes);
    else
      open(window, 0, 0);
  }
  made |= which;
}
void Checks::close_all_windows() noexcept {
  for (u32 rest = made; rest != 0; rest &= rest - 1) open(std::countr_zero(rest), 0, 0);
}
void Checks::close_windows_of(const Activation& activation) noexcept {
  for (u32 rest = made; rest != 0; rest &= rest - 1) {
    const int window = std::countr_zero(rest);
    if (activation.is_in_stack(windows[window].begin)) open(window, 0, 0);
  }
}

/// Live frames of one activation. Before a pointer that nobody followed gets there they are cleared where they were
/// not, which is where no instruction of theirs writes by r10.
bool Checks::grant_stack(Activation& activation, u64 address, u64 size, int window) noexcept {
  const bool runs = &activation == innermost;
  const u64 end = runs ? registers[isa::frame_pointer] : activation.frame_end;
  const u64 live = end - activation.begin(), offset = address - activation.begin();
  if (offset > live || size > live - offset) return false;
  for (u64 frame = activation.begin() + frame_stride; frame <= end; frame += frame_stride) {
    u32& untouched = *reinterpret_cast<u32*>(frame + untouched_at);
    std::memset(reinterpret_cast<void*>(frame - frame_stride), 0, untouched);
    untouched = 0;
  }
  open(window, activation.begin(), live);
  if (window >= 0) (runs ? granted : activation.granted) = end;
  return true;
}

/// An element of an array may be touched without having been looked up: the program could at any time.
bool Checks::is_element(u64 address, u64 size, int window) noexcept {
  return any_code([&](const CheckedCode& code) {
    for (const auto& use : code.bytecode->map_uses) {
      if (use.view.kind != base::MapView::Kind::array) continue;
      const u64 offset = address - use.view.values, index = offset / use.view.stride, within = offset % use.view.stride;
      if (index >= use.view.max_entries || within > use.view.value_size || size > use.view.value_size - within)
        continue;
      open(window, address - within, use.view.value_size);
      return true;
    }
    return false;
  });
}

bool Checks::find(u64 address, u64 size, bool write, int window) noexcept {
  const auto holds = [&](u64 begin, u64 bytes) {
    const u64 offset = address - begin;
    if (offset > bytes || size > bytes - offset) return false;
    open(window, begin, bytes);
    return true;
  };
  for (std::size_t i = 0; i < regions.size(); i++) {
    if ((write && !regions[i].writable) || !holds(regions[i].begin, regions[i].size_bytes)) continue;
    if (window >= 0)
      innermost->code->seeds[static_cast<u32>(window)].store(static_cast<u8>(i + 1), std::memory_order_relaxed);
    return true;
  }
  for (Activation* at = innermost; at != nullptr; at = at->outer)
    if (grant_stack(*at, address, size, window)) return true;
  if (is_element(address, size, window)) return true;
  for (u32 i = 0; i < std::min<u64>(lent_count, most_lent); i++)
    if (holds(lent[i].begin, lent[i].bytes)) return true;
  // The rest may end while the program runs, so no window stands over it.
  const u64 key = address - reinterpret_cast<u64>(run->lent);
  if (!write && run->lent != nullptr && key <= run->lent_bytes && size <= run->lent_bytes - key) return true;
  const u32 bytes = static_cast<u32>(size);
  return shared.lent.allows(address, bytes, write) || (guard != nullptr && guard->allows(address, bytes, write));
}

void Checks::lend_element(u64 map, u64 value) noexcept {
  if (value == 0) return;
  any_code([&](const CheckedCode& code) {
    for (const auto& use : code.bytecode->map_uses) {
      if (use.address != map) continue;
      if (use.view.kind != base::MapView::Kind::array) lent[lent_count++ % most_lent] = {value, use.view.value_size};
      return true;
    }
    return false;
  });
}

void Checks::violate(Violation what, u32 at) noexcept { violate_access(what, at, 0, 0, false); }
void Checks::violate_access(Violation what, u32 at, u64 where, u32 bytes, bool writes) noexcept {
  if (violation != Violation::none) return;
  violation = what;
  insn = at;
  culprit = {where, bytes, writes};
}

// --- activations ---

namespace {

/// A loop of its own, because few bytes are usual: a call of memset() costs more than most programs' frames.
void clear_end_of_frame(u64 end, u32 touched) noexcept {
  constexpr u32 step = 16;
  const u32 bytes = (touched + step - 1) / step * step;
  for (u64 at = end - bytes; at != end; at += step) std::memset(reinterpret_cast<void*>(at), 0, step);
  *reinterpret_cast<u32*>(end + untouched_at) = frame_stride - bytes;
}

}  // namespace

u64 run_activation(Checks& checks, Activation& own, const CheckedCode& code, u32 insn,
                   const u64 (&arguments)[5]) noexcept {
  own.code = &code;
  const u64 end = own.begin() + frame_stride;
  clear_end_of_frame(end, code.plan->touched(insn));
  checks.make_windows(code);
  checks.innermost = &own;
  checks.deepest = own.begin() + frames * frame_stride;
  checks.granted = 0;
  checks.timed_loop = timed_loop_begin;
  const auto& a = arguments;
  checks.registers = {0, a[0], a[1], a[2], a[3], a[4], 0, 0, 0, 0, end};
  const auto enter = reinterpret_cast<u64 (*)(Checks*, u64)>(code.address(code.enter));
  const u64 result = enter(&checks, code.address(code.offsets[insn]));
  if (!checks.run->thrown || checks.violation != Violation::none || own.is_callback) return result;
  return settle_throw(checks.run, own.code->bytecode);
}

u64 activate(Checks& checks, const CheckedCode& code, u32 insn, const u64 (&arguments)[5], bool is_callback) noexcept {
  Activation own;
  own.outer = checks.innermost;
  own.is_callback = is_callback;
  own.outer->frame_end = checks.frame_end;
  own.outer->granted = checks.granted;
  const auto registers = checks.registers;
  const u64 deepest = checks.deepest, frame_end = checks.frame_end;
  const u64 timed_loop = checks.timed_loop;
  const u64 result = run_activation(checks, own, code, insn, arguments);
  if (checks.granted != 0) checks.close_windows_of(own);
  checks.innermost = own.outer;
  checks.granted = own.outer->granted;
  checks.deepest = deepest;
  checks.frame_end = frame_end;
  checks.timed_loop = timed_loop;
  checks.registers = registers;
  return result;
}

u64 call_back(const base::Callback& self, Checks& checks, const u64 (&arguments)[5]) noexcept {
  u64 result = 0;
  const bool known = checks.any_code([&](const CheckedCode& code) {
    if (static_cast<const base::CodeOwner*>(code.bytecode) != self.code) return false;
    result = activate(checks, code, self.insn, arguments, true);
    return true;
  });
  if (!known) checks.violate(Violation::no_code, self.insn);
  if (checks.violation != Violation::none) checks.run->thrown = true;  // whoever calls back stops at once
  return result;
}

// --- the service ---

namespace {

class Service {
 public:
  explicit Service(Checks& checks) : checks_(checks), code_(*checks.innermost->code), bytecode_(*code_.bytecode) {}

  u64 answer(const Event& event) {
    switch (event.kind) {
      case Event::access:
        return access(event);
      case Event::alignment:
        return rest_of_block(event.insn);
      case Event::budget:
        return last_of_the_budget(event.insn);
      case Event::execute:
        return execute(event);
      case Event::returned:
        checks_.close_windows_of(*checks_.innermost);
        checks_.granted = 0;
        return code_.address(event.resume);
      case Event::clock:
        checks_.timed_loop = look_at_clock(checks_.timed_loop);
        if (rounds_left(checks_.timed_loop) != timed_loop_over) return code_.address(event.resume);
        return at(static_cast<u32>(static_cast<s64>(event.insn) + 1 + bytecode_.insns[event.insn].off));
      case Event::thrown:
        return unwind();
      case Event::lend:
        if (checks_.lookup_id == 1) checks_.lend_element(checks_.lookup_map, checks_.registers[0]);
        return code_.address(event.resume);
      case Event::ran_off:
        return violation(Violation::ran_off, event.insn);
    }
    return unwind();
  }

 private:
  u64 unwind() const { return code_.address(code_.unwind); }
  u64 at(u32 insn) const { return code_.address(code_.offsets[insn]); }
  u64 violation(Violation what, u32 insn) {
    checks_.violate(what, insn);
    return unwind();
  }

  u64 access(const Event& event) {
    const Insn& insn = bytecode_.insns[event.insn];
    const Question& question = code_.plan->question(event.insn);
    const bool loads =
        isa::class_of(insn) == isa::class_ldx || isa::row(bytecode_.ops[event.insn]).form == Form::load_acquire;
    const u64 address =
        checks_.registers[loads ? insn.src : insn.dst] + static_cast<u64>(static_cast<s64>(question.from));
    if (checks_.find(address, question.bytes, question.write, question.window) &&
        passes(checks_.windows[question.window], address, question.bytes))
      return code_.address(event.resume);  // the check is made again, and holds
    return rest_of_block(event.insn);
  }

  u64 rest_of_block(u32 insn) {
    for (;;) {
      if (!step(checks_, code_, insn)) return unwind();
      insn += isa::slots(bytecode_.insns[insn]);
      if (insn >= bytecode_.insns.size() || code_.plan->leads(insn) || code_.plan->ends_block(insn)) return at(insn);
    }
  }

  /// Less is left than the longest way to the next place where machine code looks: each instruction pays for itself
  /// until there, or until one that only machine code makes.
  u64 last_of_the_budget(u32 insn) {
    const auto& insns = bytecode_.insns;
    for (bool first = true;; first = false) {
      if (insn >= insns.size() || (!first && code_.plan->looks_at_budget(insn))) return at(insn);
      if (checks_.insns_left == 0) return violation(Violation::budget, insn);
      checks_.insns_left--;
      const Form form = isa::row(bytecode_.ops[insn]).form;
      if (isa::is_jump(form)) {
        const s32 distance = takes(insn, form) ? isa::jump_distance(form, insns[insn]) : 0;
        insn = static_cast<u32>(static_cast<s64>(insn) + 1 + distance);
        continue;
      }
      if (code_.plan->ends_block(insn)) return code_.address(code_.bodies[insn]);
      if (!step(checks_, code_, insn)) return unwind();
      insn += isa::slots(insns[insn]);
    }
  }
  bool takes(u32 insn, Form form) {
    if (form == Form::jump || form == Form::jump_long) return true;
    if (form == Form::may_goto) return leaves_timed_loop(checks_.timed_loop);
    const Insn& jump = bytecode_.insns[insn];
    const auto& r = checks_.registers;
    const u64 other = form == Form::jump_reg ? r[jump.src] : static_cast<u64>(static_cast<s64>(jump.imm));
    return isa::taken(bytecode_.ops[insn], r[jump.dst], other);
  }

  u64 execute(const Event& event) {
    const Insn& insn = bytecode_.insns[event.insn];
    switch (isa::row(bytecode_.ops[event.insn]).form) {
      case Form::call_local:
        return violation(Violation::depth, event.insn);
      case Form::callx:
        return call_by_register(event.insn, insn.dst);
      case Form::call_helper:
        return tail_call(event);
      case Form::ld_abs:
        return load_packet(event, static_cast<u32>(insn.imm));
      case Form::ld_ind:
        return load_packet(event, static_cast<u32>(checks_.registers[insn.src]) + static_cast<u32>(insn.imm));
      default:  // writes r10, or reaches the arena
        return step(checks_, code_, event.insn) ? code_.address(event.resume) : unwind();
    }
  }

  /// Machine code calls what can be called; here the frames are used up, or it is nothing of the kind.
  u64 call_by_register(u32 insn, u8 reg) {
    const u64 value = checks_.registers[reg];
    if (bytecode_.callback_at(value) != nullptr) return violation(Violation::depth, insn);
    checks_.violate_access(Violation::callx, insn, value, reg, false);
    return unwind();
  }

  u64 load_packet(const Event& event, u32 offset) {
    auto& r = checks_.registers;
    const u32 size = isa::access_bytes(bytecode_.insns[event.insn]);
    if (bytecode_.load_packet(checks_.run, reinterpret_cast<void*>(r[6]), offset, size, &r[0]) == 0)
      return code_.address(event.resume);
    r[0] = 0;
    return code_.address(code_.leave);
  }

  u64 tail_call(const Event& event) {
    auto& r = checks_.registers;
    Activation& activation = *checks_.innermost;
    const Function* target = bytecode_.tail_target(r[2], static_cast<u32>(r[3]));
    if (target == nullptr || checks_.run->tail_calls >= isa::max_tail_calls) {
      r[0] = static_cast<u64>(target == nullptr ? -ENOENT : -ELOOP);
      return code_.address(event.resume);
    }
    checks_.run->tail_calls++;
    const auto made = Tiering::checked_code(*target);
    if (!made) return violation(Violation::no_code, event.insn);
    const CheckedCode* code = *made;
    if (r[isa::frame_pointer] != activation.begin() + frame_stride) {
      checks_.frame_end = r[isa::frame_pointer];
      r[0] = activate(checks_, *code, 0, {r[1], 0, 0, 0, 0}, false);
      return checks_.violation == Violation::none ? code_.address(code_.leave) : unwind();
    }
    checks_.left[checks_.left_count++] = &code_;
    activation.code = code;
    checks_.make_windows(*code);
    std::memset(activation.stack.data(), 0, frame_stride);
    *reinterpret_cast<u32*>(r[isa::frame_pointer] + untouched_at) = 0;
    checks_.timed_loop = timed_loop_begin;
    return code->address(code->offsets[0]);
  }

  Checks& checks_;
  const CheckedCode& code_;
  const Bytecode& bytecode_;
};

}  // namespace

u64 service(Checks* checks, u32 event) noexcept {
  Service at_hand(*checks);
  return at_hand.answer(checks->innermost->code->events[event]);
}

}  // namespace skep::vm::jit
