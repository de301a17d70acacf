// The checked loop: the same meaning as the fast one, and a question before every memory access.
//
// For fuzzers (what the verifier accepts must run here without a fault), conformance vectors and tests. It
// trusts only what translate() checked: shapes and jump targets. Every load, store and atomic must lie in the
// stack of a live frame or be allowed by the guard; every instruction counts against the budget.
// Source: as interpreter.cpp.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "vm/bytecode.hpp"
#include "vm/jit/checks.hpp"
#include "vm/memory.hpp"
#include "vm/timed_loop.hpp"

namespace skep::vm {

using isa::Op;

namespace {

enum class Access : u8 { read, write };

/// How a run goes on after an instruction.
enum class Next : u8 { step, finished, failed };

}  // namespace

/// One loop: a program, or a function of it that a helper calls back.
class Checked {
 public:
  Checked(const Bytecode& code, const u64 (&arguments)[5], std::size_t start, CheckedRun& run)
      : code_(&code), run_(run), outer_(run.innermost), pc_(start) {
    std::copy_n(arguments, 5, &r_[1]);
    r_[10] = stack_begin() + isa::stack_size_bytes;
    frames_[0].function = static_cast<u32>(start);
    run.innermost = this;
    is_watched_ = run.guard != nullptr && run.guard->is_watching();
  }
  ~Checked() { run_.innermost = outer_; }
  Checked(const Checked&) = delete;
  Checked& operator=(const Checked&) = delete;

  Result<u64> run() {
    for (;;) {
      if (pc_ >= code_->insns.size())
        return fail(Code::malformed, fmt::format("ran past the last instruction ({})", code_->insns.size() - 1));
      if (run_.insns_left == 0) return fail(Code::limit, fmt::format("instruction {}: the budget is used up", pc_));
      run_.insns_left--;
      if (!code_->proofs.empty() && !code_->proofs[pc_].reached)
        return fail(Code::malformed, fmt::format("instruction {}: was proved never to run, and runs", pc_));
      if (is_watched_)
        if (auto what = look(); !what.empty())
          return fail(Code::malformed, fmt::format("instruction {}: {}", pc_, what));
      switch (step()) {
        case Next::step:
          break;
        case Next::finished:
          return r_[0];
        case Next::failed:
          return tl::unexpected<Error>(std::move(error_));
      }
    }
  }

 private:
  struct Frame {
    std::size_t return_to = 0;
    u32 function = 0;  ///< its first instruction
    std::array<u64, 4> saved{};
    u64 timed_loop = timed_loop_begin;
  };

  const Insn& insn() const { return code_->insns[pc_]; }
  u64& dst() { return r_[insn().dst]; }
  u64& src() { return r_[insn().src]; }
  u64 imm() const { return static_cast<u64>(static_cast<s64>(insn().imm)); }
  bool in_arena() const { return !code_->arena_access.empty() && code_->arena_access[pc_]; }
  u64 address(u64 base) const {
    if (in_arena()) return arena_address(code_->arena, base, insn().off);
    return base + static_cast<u64>(static_cast<s64>(insn().off));
  }
  u64 stack_begin() const { return reinterpret_cast<u64>(stack_.data()); }

  Next advance(s64 distance = 1) {
    pc_ = static_cast<std::size_t>(static_cast<s64>(pc_) + distance);
    return Next::step;
  }
  Next set(u64& reg, u64 value) {
    if (&reg == &r_[10]) return stop("writes the frame pointer r10");
    reg = value;
    return advance();
  }
  Next stop(std::string_view what) {
    error_ = {Code::malformed, fmt::format("instruction {}: {}", pc_, what), 0};
    return Next::failed;
  }
  Next jump(bool taken) {
    if (!code_->proofs.empty() && isa::is_conditional(isa::row(code_->ops[pc_]).form)) {
      const auto& proof = code_->proofs[pc_];
      if (!(taken ? proof.jump_taken : proof.jump_passed))
        return stop(taken ? "was proved never to jump, and jumps" : "was proved always to jump, and does not");
    }
    return advance(taken ? s64{insn().off} + 1 : 1);
  }
  Next arithmetic(Op op, u64 divisor) {
    if (!code_->proofs.empty() && code_->proofs[pc_].divisor_nonzero && isa::is_division(isa::alu_of(op))) {
      const bool wide = isa::is_wide(op);
      const bool is_signed = isa::alu_of(op) == isa::Alu::sdiv || isa::alu_of(op) == isa::Alu::smod;
      const bool zero = wide ? divisor == 0 : static_cast<u32>(divisor) == 0;
      const bool minus_one = wide ? divisor == ~u64{0} : static_cast<u32>(divisor) == ~u32{0};
      const bool smallest = wide ? dst() == u64{1} << 63 : static_cast<u32>(dst()) == u32{1} << 31;
      if (zero || (is_signed && minus_one && smallest)) return stop("divides by what was proved impossible");
    }
    return set(dst(), isa::arithmetic(op, dst(), divisor));
  }
  /// The loop whose stack holds these bytes, in a frame that is live: this one or one around it.
  const Checked* stack_owner(u64 where, u32 size) const {
    for (const Checked* at = this; at != nullptr; at = at->outer_) {
      const u64 live = (at->depth_ + 1) * u64{isa::stack_size_bytes}, offset = where - at->stack_begin();
      if (where >= at->stack_begin() && offset <= live && size <= live - offset) return at;
    }
    return nullptr;
  }
  /// Every access to a frame was announced by the proof.
  bool touch_is_proved(const Checked& owner, u64 offset, u32 size) {
    if (code_->proofs.empty()) return true;
    const std::size_t frame = offset / isa::stack_size_bytes;
    const s64 low = static_cast<s64>(offset) - static_cast<s64>((frame + 1) * isa::stack_size_bytes);
    auto touch = std::lower_bound(code_->stack_touches.begin(), code_->stack_touches.end(), pc_,
                                  [](const verify::StackTouch& t, std::size_t pc) { return t.insn < pc; });
    for (; touch != code_->stack_touches.end() && touch->insn == pc_; ++touch)
      if (touch->function == owner.frames_[frame].function && low >= touch->low && low + size <= touch->high)
        return true;
    // A load through a pointer that an iterator handed out reads the iterator, which calls touch.
    if (isa::row(code_->ops[pc_]).form == isa::Form::load)
      for (const verify::StackTouch& call : code_->stack_touches)
        if (call.function == owner.frames_[frame].function && low >= call.low && low + size <= call.high &&
            isa::row(code_->ops[call.insn]).form == isa::Form::call_kfunc)
          return true;
    error_ = {Code::malformed,
              fmt::format("instruction {}: touches the stack at r10{:+}, which the proof does not say", pc_, low), 0};
    return false;
  }

  bool may_access(u64 where, u32 size, Access access) {
    if (in_arena()) return true;  // the whole window and its guards are mapped
    if (const Checked* owner = stack_owner(where, size))
      return touch_is_proved(*owner, where - owner->stack_begin(), size);
    const u64 lent = reinterpret_cast<u64>(run_.run->lent);
    if (access == Access::read && where >= lent && where - lent <= run_.run->lent_bytes &&
        size <= run_.run->lent_bytes - (where - lent))
      return true;
    if (run_.lent.allows(where, size, access == Access::write)) return true;
    if (run_.guard != nullptr && run_.guard->allows(where, size, access == Access::write)) return true;
    error_ = {Code::malformed,
              fmt::format("instruction {}: {} of {} bytes at {:#x} is outside the program's memory", pc_,
                          access == Access::write ? "write" : "read", size, where),
              0};
    return false;
  }
  bool may_atomic(u64 where, u32 size, Access access) {
    if (!may_access(where, size, access)) return false;
    if (where % size == 0) return true;
    error_ = {Code::malformed,
              fmt::format("instruction {}: atomic access of {} bytes at {:#x} is not aligned", pc_, size, where), 0};
    return false;
  }

  std::string look();
  void list_frames(std::vector<MachineFrame>& frames) const;
  Next step();
  Next call_function(std::size_t target);
  Next call_helper(HelperFn helper);
  Next call_by_register(u64 value);
  Next unwind();
  Next tail_call();
  Next leave();
  Next load_packet(u32 offset, u32 size);

  const Bytecode* code_;
  CheckedRun& run_;
  const Checked* outer_;
  std::size_t pc_;
  std::size_t depth_ = 0;
  std::array<u64, isa::register_count> r_{};
  std::array<Frame, isa::max_call_frames> frames_{};
  /// Aligned as Activation's (jit/checks.hpp), so that a program that looks at the low bits of r10 sees the same ones.
  alignas(64) std::array<std::byte, isa::max_call_frames * isa::stack_size_bytes> stack_{};
  bool is_callback_ = false;
  bool is_watched_ = false;
  std::vector<MachineFrame> shown_;  ///< look()'s, before every instruction
  Error error_;

  friend u64 callback_checked(const base::Callback&, CheckedRun&, const u64 (&)[5]) noexcept;
};

void LentMemory::lend(const void* address, u64 bytes, bool writable) noexcept {
  Piece& piece = pieces_[reinterpret_cast<u64>(address)];
  piece.readable = std::max(piece.readable, bytes);
  if (writable) piece.writable = std::max(piece.writable, bytes);
  largest_ = std::max(largest_, bytes);
}

bool LentMemory::allows(u64 address, u32 size, bool write) const noexcept {
  for (auto at = pieces_.upper_bound(address); at != pieces_.begin();) {
    --at;
    const u64 offset = address - at->first, bytes = write ? at->second.writable : at->second.readable;
    if (offset > largest_) return false;
    if (offset <= bytes && size <= bytes - offset) return true;
  }
  return false;
}

void Checked::list_frames(std::vector<MachineFrame>& frames) const {
  if (outer_ != nullptr) outer_->list_frames(frames);
  for (std::size_t d = 0; d <= depth_; d++) {
    MachineFrame frame;
    frame.frame_pointer = stack_begin() + (d + 1) * u64{isa::stack_size_bytes};
    frame.function = frames_[d].function;
    if (d > 0)
      frame.call_insn = static_cast<u32>(frames_[d - 1].return_to - 1);
    else if (outer_ != nullptr)
      frame.call_insn = static_cast<u32>(outer_->pc_);
    frame.callee_saved = d == depth_ ? &r_[6] : frames_[d].saved.data();
    frames.push_back(frame);
  }
}

/// Shows this run to whoever watches.
std::string Checked::look() {
  shown_.clear();
  list_frames(shown_);
  return run_.guard->look({code_, static_cast<u32>(pc_), r_.data(), shown_});
}

Next Checked::call_function(std::size_t target) {
  if (depth_ + 1 == isa::max_call_frames) return stop(fmt::format("calls deeper than {} frames", isa::max_call_frames));
  Frame& frame = frames_[depth_++];
  frame.return_to = pc_ + 1;
  std::copy_n(&r_[6], 4, frame.saved.begin());
  frames_[depth_].timed_loop = timed_loop_begin;
  frames_[depth_].function = static_cast<u32>(target);
  std::fill_n(stack_.begin() + static_cast<std::ptrdiff_t>(depth_ * isa::stack_size_bytes), isa::stack_size_bytes,
              std::byte{});
  r_[10] += isa::stack_size_bytes;
  pc_ = target;
  return Next::step;
}

Next Checked::leave() {
  if (depth_ == 0) return Next::finished;
  Frame& frame = frames_[--depth_];
  std::copy_n(frame.saved.begin(), 4, &r_[6]);
  r_[10] -= isa::stack_size_bytes;
  pc_ = frame.return_to;
  return Next::step;
}

Next Checked::call_helper(HelperFn helper) {
  r_[0] = helper(run_.run, r_[1], r_[2], r_[3], r_[4], r_[5]);
  if (run_.error) {
    error_ = *run_.error;
    return Next::failed;
  }
  return run_.run->thrown ? unwind() : advance();
}

/// Something was thrown: the program ends with what its exception callback makes of it.
Next Checked::unwind() {
  if (is_callback_) return Next::finished;
  run_.run->thrown = false;
  r_[0] = run_.run->thrown_value;
  if (code_->exception_callback == nullptr) return Next::finished;
  r_[0] = (*code_->exception_callback)(run_.run, r_[0], 0, 0, 0, 0);
  if (!run_.error) return Next::finished;
  error_ = *run_.error;
  return Next::failed;
}

Next Checked::call_by_register(u64 value) {
  if (const auto* target = code_->callback_at(value)) return call_function(target->insn);
  if (const HelperFn helper = code_->helper_at(value)) return call_helper(helper);
  return stop(fmt::format("callx: register r{} holds {:#x}, neither a function nor a helper's number",
                          static_cast<unsigned>(insn().dst), value));
}

Next Checked::tail_call() {
  const Function* target = code_->tail_target(r_[2], static_cast<u32>(r_[3]));
  if (target == nullptr || run_.run->tail_calls >= isa::max_tail_calls)
    return set(r_[0], static_cast<u64>(target == nullptr ? -ENOENT : -ELOOP));
  run_.run->tail_calls++;
  if (depth_ == 0) {
    code_ = &target->bytecode();
    std::fill_n(stack_.begin(), isa::stack_size_bytes, std::byte{});
    frames_[0].timed_loop = timed_loop_begin;
    pc_ = 0;
    return Next::step;
  }
  auto result = interpret_checked(target->bytecode(), r_[1], 0, run_);
  if (!result) {
    error_ = std::move(result).error();
    return Next::failed;
  }
  r_[0] = *result;
  return leave();
}

Next Checked::load_packet(u32 offset, u32 size) {
  if (code_->load_packet(run_.run, reinterpret_cast<void*>(r_[6]), offset, size, &r_[0]) == 0) return advance();
  r_[0] = 0;
  return leave();
}

#define ARM_alu_imm(name) return arithmetic(Op::name, imm());
#define ARM_alu_reg(name) return arithmetic(Op::name, src());
#define ARM_alu_unary(name) return set(dst(), isa::arithmetic(Op::name, dst(), 0));
#define ARM_movsx(name) return set(dst(), isa::sign_extended(Op::name, src()));
#define ARM_endian(name) return set(dst(), isa::reordered(Op::name, dst()));
#define ARM_addr_space_cast(name) return set(dst(), arena_cast(code_->arena, src(), insn().imm));
#define ARM_jump(name) return jump(true);
#define ARM_jump_long(name) return advance(s64{insn().imm} + 1);
#define ARM_may_goto(name) return jump(leaves_timed_loop(frames_[depth_].timed_loop));
#define ARM_jump_imm(name) return jump(isa::taken(Op::name, dst(), imm()));
#define ARM_jump_reg(name) return jump(isa::taken(Op::name, dst(), src()));
#define ARM_call_helper(name)                                                                   \
  if (insn().imm == isa::helper_tail_call && code_->tail_target != nullptr) return tail_call(); \
  return call_helper(code_->slots[pc_].helper);
#define ARM_call_local(name) return call_function(static_cast<std::size_t>(static_cast<s64>(pc_) + 1 + insn().imm));
#define ARM_call_kfunc(name)                                                       \
  if (const auto* hidden = code_->hidden_at(pc_)) r_[hidden->reg] = hidden->value; \
  return call_helper(code_->slots[pc_].helper);
#define ARM_callx(name) return call_by_register(dst());
#define ARM_exit(name) return leave();
#define ARM_load(name)                                                                     \
  if (!may_access(address(src()), row_bytes(Op::name), Access::read)) return Next::failed; \
  return set(dst(), load<Op::name>(address(src())));
#define ARM_store_imm(name)                                                                 \
  if (!may_access(address(dst()), row_bytes(Op::name), Access::write)) return Next::failed; \
  store<Op::name>(address(dst()), imm());                                                   \
  return advance();
#define ARM_store_reg(name)                                                                 \
  if (!may_access(address(dst()), row_bytes(Op::name), Access::write)) return Next::failed; \
  store<Op::name>(address(dst()), src());                                                   \
  return advance();
#define ARM_atomic(name)                                                                    \
  if (!may_atomic(address(dst()), row_bytes(Op::name), Access::write)) return Next::failed; \
  atomic_update<Op::name>(address(dst()), src());                                           \
  return advance();
#define ARM_atomic_fetch(name)                                                              \
  if (!may_atomic(address(dst()), row_bytes(Op::name), Access::write)) return Next::failed; \
  if (insn().src == isa::frame_pointer) return stop("writes the frame pointer r10");        \
  return set(src(), atomic_fetch<Op::name>(address(dst()), src()));
#define ARM_cmpxchg(name)                                                                   \
  if (!may_atomic(address(dst()), row_bytes(Op::name), Access::write)) return Next::failed; \
  return set(r_[0], compare_exchange<Op::name>(address(dst()), r_[0], src()));
#define ARM_load_acquire(name)                                                             \
  if (!may_atomic(address(src()), row_bytes(Op::name), Access::read)) return Next::failed; \
  return set(dst(), load_acquire<Op::name>(address(src())));
#define ARM_store_release(name)                                                             \
  if (!may_atomic(address(dst()), row_bytes(Op::name), Access::write)) return Next::failed; \
  store_release<Op::name>(address(dst()), src());                                           \
  return advance();
#define ARM_ld_imm64(name)                                                           \
  if (insn().dst == isa::frame_pointer) return stop("writes the frame pointer r10"); \
  dst() = code_->slots[pc_ + 1].wide;                                                \
  return advance(2);
#define ARM_ld_abs(name) return load_packet(static_cast<u32>(insn().imm), row_bytes(Op::name));
#define ARM_ld_ind(name) \
  return load_packet(static_cast<u32>(src()) + static_cast<u32>(insn().imm), row_bytes(Op::name));

Next Checked::step() {
  switch (code_->ops[pc_]) {
#define SKEP_INSN(name, code, src, off, imm, form, ...) \
  case Op::name:                                        \
    ARM_##form(name)
#include "isa/instructions.def"
#undef SKEP_INSN
  }
  return stop("is no instruction");
}

Result<u64> interpret_checked(const Bytecode& code, u64 r1, u64 r2, CheckedRun& run) {
  void* const before = run.run->checked;
  base::Lending* const lending_before = run.run->lending;
  run.run->checked = &run;
  run.run->lending = &run.lent;
  auto result = Checked(code, {r1, r2}, 0, run).run();
  run.run->checked = before;
  run.run->lending = lending_before;
  return result;
}

u64 callback_checked(const base::Callback& self, CheckedRun& run, const u64 (&arguments)[5]) noexcept {
  if (run.run->checks != nullptr) return jit::call_back(self, *static_cast<jit::Checks*>(run.run->checks), arguments);
  Checked loop(*static_cast<const Bytecode*>(static_cast<const base::CodeOwner*>(self.code)), arguments, self.insn,
               run);
  loop.is_callback_ = true;
  auto result = loop.run();
  if (result) return *result;
  run.error = std::move(result).error();
  run.run->thrown = true;  // whoever calls back stops at once
  return 0;
}

Result<u64> Function::run_checked(Run& run, void* context, MemoryGuard& guard, u64 max_insns) const {
  run.tail_calls = 0;
  run.thrown = false;
  CheckedRun checked{&run, &guard, max_insns};
  return interpret_checked(*bytecode_, reinterpret_cast<u64>(context), 0, checked);
}

Result<u64> run_raw_checked(std::span<const Insn> insns, const RawRun& raw) {
  Bindings bindings;
  bindings.helpers = raw.helpers;
  bindings.load_packet = raw.load_packet;
  const auto code = SKEP_TRY(translate({insns, {}, {}, true}, bindings));
  Run own;
  CheckedRun run{raw.run != nullptr ? raw.run : &own, raw.guard, raw.max_insns};
  return interpret_checked(*code, raw.r1, raw.r2, run);
}

}  // namespace skep::vm
