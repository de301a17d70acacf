// The interpreters' own form of a program: checked structure, numbers filled in, ready to dispatch.
//
// Internal to the room (and its tests): Function::link makes Bytecode from a VerifiedProgram, run_raw_checked from
// bare instructions. translate() guarantees what both loops rely on: every instruction decodes, every jump and
// call lands on an instruction of the program, nothing runs past the end (a trap slot stands there).
// Whether memory accesses are sound is not its business: the verifier proves it, or the checked loop asks.
#pragma once
#include <atomic>
#include <map>
#include <mutex>

#include "isa/isa.hpp"
#include "vm/function.hpp"

namespace skep::vm {

/// One pre-decoded instruction. Slots are parallel to instructions, so that a pc is an instruction index; the
/// second slot of an ld_imm64 carries the 64-bit value.
struct Slot {
  struct Two {
    s32 first;   ///< offset of a store, distance of a jump in bytes
    s32 number;  ///< stored or compared
  };
  const void* handler;  ///< address of the interpreter's arm
  union {
    s64 number;       ///< second operand, offset of a load, distance of a jump in bytes
    Two two;          ///< store_imm, jump_imm
    u64 wide;         ///< second slot of ld_imm64
    HelperFn helper;  ///< call_helper and call_kfunc
  };
};
static_assert(sizeof(Slot) == 16);

struct Bytecode : base::CodeOwner {
  std::vector<Insn> insns;   ///< as they run
  std::vector<isa::Op> ops;  ///< parallel; meaningless for second slots of ld_imm64
  /// Parallel, plus the trap at the end. Their handlers are for the fast loop, which fills them in before it first runs
  /// the program: with machine code it never does.
  mutable std::vector<Slot> slots;
  mutable std::atomic<bool> is_threaded = false;
  mutable std::once_flag threading;
  /// What ld_imm64 of a function yields: the address of one of these. They stay where they are; a JIT fills in
  /// `native`.
  mutable std::vector<base::Callback> callbacks;
  /// Runs instead of the rest of the program when bpf_throw was called; null: the cookie is the program's result.
  const base::Callback* exception_callback = nullptr;
  /// By instruction: a call behind which Run::thrown may be set, and every frame returns. Empty: nothing here throws.
  std::vector<bool> may_throw;
  /// Maps whose address ld_imm64 yields, with what machine code may do without calling them.
  struct MapUse {
    u64 address = 0;
    base::MapView view;
  };
  std::vector<MapUse> map_uses;
  /// Calls of kernel functions that are told more than the program's arguments, sorted by instruction.
  std::vector<std::pair<u32, base::HiddenArgument>> hidden_arguments;
  std::vector<HelperFn> helpers;  ///< by id, as far as the program needs them (callx: all)
  const Function* (*tail_target)(u64 map, u32 index) noexcept = nullptr;
  LoadPacketFn load_packet = nullptr;
  /// The window (4 GiB and a guard on either side) of the arena or of the engine's objects, 0 without one; its low 32
  /// bits are 0. A program has one of the two at most.
  u64 arena = 0;
  /// By instruction: the access goes to arena + low 32 bits of its register + offset. Empty: none does.
  std::vector<bool> arena_access;
  bool clear_frames = false;  ///< the program reads stack it did not write: it must see zeroes, not other frames
  /// What the verifier proved, or empty: the checked loop stops where a run contradicts it.
  std::span<const verify::InsnProof> proofs;
  std::span<const verify::StackTouch> stack_touches;

  /// The function of this program that a register names (callx), or nullptr.
  const base::Callback* callback_at(u64 address) const noexcept;
  const base::HiddenArgument* hidden_at(std::size_t insn) const noexcept;
  bool throws(std::size_t insn) const noexcept { return !may_throw.empty() && may_throw[insn]; }
  /// The helper callx calls when its register holds a small number, or nullptr.
  HelperFn helper_at(u64 id) const noexcept { return id < helpers.size() ? helpers[id] : nullptr; }
};

struct Source {
  std::span<const Insn> insns;
  std::span<const Reference> references;
  std::span<const verify::ContextLoad> context_loads;
  bool clear_frames = false;
  s64 exception_callback = -1;  ///< first instruction of the function, or -1
  s32 arena_map = -1;           ///< index into Bindings::map_values, or -1
  std::span<const u32> arena_accesses;
  std::span<const u32> window_accesses;  ///< loads from the engine's objects
  std::span<const verify::LocalType> local_types;
  std::span<const verify::InsnProof> proofs;  ///< these two must outlive the Bytecode
  std::span<const verify::StackTouch> stack_touches;
};

/// Errors: malformed (an encoding or a jump), unsupported (names what this engine lacks), invalid_argument (a
/// reference that `bindings` does not answer).
Result<std::unique_ptr<const Bytecode>> translate(const Source& source, const Bindings& bindings);

/// The fast loop: checks nothing, so `code` must come from a verified program (or a test that is trusted).
u64 interpret(const Bytecode& code, Run& run, u64 r1, u64 r2) noexcept;

/// What Callback::interpret is for every Callback of a Bytecode: the fast loop, or the checked one in a checked run.
u64 interpret_callback(const base::Callback& self, void* run, const u64 (&arguments)[5]) noexcept;

class Checked;

/// What bodies lent to a checked run, by first byte. Pieces may lie inside one another (slices of slices).
class LentMemory final : public base::Lending {
 public:
  void lend(const void* address, u64 bytes, bool writable) noexcept override;
  void take_back(const void* address) noexcept override { pieces_.erase(reinterpret_cast<u64>(address)); }
  bool allows(u64 address, u32 size, bool write) const noexcept;

 private:
  struct Piece {
    u64 readable = 0, writable = 0;  ///< bytes from the first on
  };
  std::map<u64, Piece> pieces_;
  u64 largest_ = 0;
};

struct CheckedRun;

/// The checked loop (checked.cpp).
Result<u64> interpret_checked(const Bytecode& code, u64 r1, u64 r2, CheckedRun& run);
u64 callback_checked(const base::Callback& self, CheckedRun& run, const u64 (&arguments)[5]) noexcept;

/// State of a checked run that nested tail calls and callbacks share.
struct CheckedRun {
  Run* run = nullptr;
  MemoryGuard* guard = nullptr;
  u64 insns_left = 0;
  const Checked* innermost = nullptr;  ///< the loop that is running: callbacks may use the stacks of those around them
  std::optional<Error> error;          ///< of a callback: whoever called it stops
  LentMemory lent;
  /// For the fast loop, which has callbacks of both: a host that runs nothing checked links nothing of it.
  decltype(&callback_checked) call_back = callback_checked;
};

/// A Function without a proof. Only for this room's tests and for vectors that are trusted: run() checks nothing.
std::shared_ptr<const Function> trusted_function(std::unique_ptr<const Bytecode> code);
/// The same in any tier. Errors: those of Function::link.
Result<std::shared_ptr<const Function>> trusted_function(std::unique_ptr<const Bytecode> code,
                                                         const LinkOptions& options);

}  // namespace skep::vm
