// A program ready to run: verified instructions bound to the addresses of its maps and helpers, in the form of a tier.
//
// Every tier is entered through one pointer (vm/jit/entry.hpp), so running a program costs the same call whichever it
// is, and a hot program changes its tier under those who run it: they finish in the old code, the next run is in the
// new. Old code stays until the Function goes, which nobody does who runs it.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/linked_code.hpp"
#include "base/map_view.hpp"
#include "base/run.hpp"
#include "verify/verify.hpp"

namespace skep::vm {

using base::HelperFn;
using base::Run;

/// Packet access of LD_ABS and LD_IND: reads `size` (1, 2, 4) bytes at `offset` of the packet that `context` (r6)
/// describes, most significant byte first, as a number into `out`. Not 0: out of bounds, the program exits with 0.
using LoadPacketFn = s64 (*)(void* run, void* context, u32 offset, u32 size, u64* out) noexcept;

class Function;
struct Bytecode;

/// What a verified program's references become. Addresses must outlive the Function.
struct Bindings {
  std::vector<u64> maps;        ///< by ObjectSpec::maps index: what ld_imm64 of a map yields (a map::Map*)
  std::vector<u64> map_values;  ///< by ObjectSpec::maps index: address of the value of a global-data map, of an
                                ///< arena its first page; else 0
  std::vector<base::MapView> map_views;  ///< by ObjectSpec::maps index: what may be inlined; empty: nothing
  /// Base of the window that holds the engine's objects (VerifiedProgram::window_accesses); a multiple of 4 GiB, 0:
  /// none.
  u64 object_window = 0;
  std::span<const HelperFn> helpers;  ///< by helper id; null: not in this engine
  /// Program array look-up for tail calls: the Function at `index` of that map, or nullptr.
  const Function* (*tail_target)(u64 map, u32 index) noexcept = nullptr;
  /// The body of a kernel function by its name, or nullptr where this engine has none. Empty: there are none at all.
  std::function<HelperFn(std::string_view name)> kfunc;
  /// What a kernel function of that name is told besides its arguments; `local_type`: what a call of bpf_obj_new()
  /// makes, or 0. Empty: nothing.
  std::function<Result<base::HiddenArgument>(std::string_view name, u32 local_type)> hidden;
  /// Whoever keeps a callback beyond a run holds this.
  std::weak_ptr<const void> owner;
  /// Null: programs with LD_ABS or LD_IND are refused.
  LoadPacketFn load_packet = nullptr;
};

/// One frame of a checked run. Of frames that called another only r6 to r9 are kept.
struct MachineFrame {
  u64 frame_pointer = 0;
  u32 function = 0;                   ///< its first instruction
  u32 call_insn = 0;                  ///< the instruction, of the frame before, that called it; 0 for the outermost
  const u64* callee_saved = nullptr;  ///< r6 to r9
};

/// A checked run before an instruction.
struct Machine {
  const Bytecode* code = nullptr;  ///< the program that runs: another one after a tail call
  u32 insn = 0;
  const u64* registers = nullptr;        ///< r0 to r10 of the innermost frame
  std::span<const MachineFrame> frames;  ///< outermost first, those around a callback included
};

/// Memory the checked interpreter may touch besides its own stack: asked before every load and store.
struct MemoryGuard {
  virtual ~MemoryGuard() = default;
  virtual bool allows(u64 address, u32 size, bool write) noexcept = 0;
  /// Whether look() wants to be called before every instruction.
  virtual bool is_watching() const noexcept { return false; }
  /// Compares the machine with what was proved of it. Anything but "" stops the run as an error.
  virtual std::string look(const Machine&) { return {}; }
};

class Jit;

/// In what form a program runs.
enum class Tier : u8 {
  interpreter,
  baseline,   ///< machine code made in one pass
  optimised,  ///< machine code made with care
  automatic,  ///< baseline at once, optimised when hot; the interpreter where machine code is impossible
};
std::string_view name_of(Tier tier) noexcept;

struct LinkOptions {
  Tier tier = Tier::automatic;
  /// Constants of the program do not appear in its machine code as they are . Against programs that smuggle machine
  /// code in as numbers.
  bool blind_constants = false;
  /// Code memory and the background compiler, to be shared by all functions of an engine (Jit::create). Null: the
  /// function has code memory of its own, and `automatic` stays in baseline.
  std::shared_ptr<Jit> jit;
};

/// Immutable and shareable between threads; each run has its own stack.
class Function {
 public:
  /// Errors: unsupported (names the helper this engine lacks; a tier this machine or program cannot have), permission
  /// (the system forbids executable memory; `automatic` then interprets, see why_interpreted).
  static Result<std::shared_ptr<const Function>> link(const verify::VerifiedProgram& program, const Bindings& bindings,
                                                      const LinkOptions& options = {});

  /// Runs the program: r1 = context. Never fails, allocates nothing. Resets what `run` counts.
  u64 run(Run& run, void* context) const noexcept {
    run.tail_calls = 0;
    run.thrown = false;
    run.cpu = base::current_cpu;
    return enter(run, reinterpret_cast<u64>(context));
  }
  /// The same as a part of a run that is under way: what a tail call does.
  u64 enter(Run& run, u64 r1, u64 r2 = 0) const noexcept {
    return entry_.load(std::memory_order_acquire)(&run, r1, r2, 0, 0, reinterpret_cast<u64>(this));
  }

  /// The same, checking every access first: for fuzzers. Errors: malformed with the instruction and address
  /// of an access outside the program's memory; limit when `max_insns` is used up.
  Result<u64> run_checked(Run& run, void* context, MemoryGuard& guard, u64 max_insns) const;

  /// Instructions as they run (map addresses filled in).
  std::span<const Insn> insns() const;
  const verify::VerifiedProgram& program() const;
  /// The translated program: for this room's own loops.
  const Bytecode& bytecode() const noexcept { return *bytecode_; }

  /// What the next run is in: never `automatic`.
  Tier tier() const noexcept;
  bool is_interpreted() const noexcept { return tier() == Tier::interpreter; }
  /// The machine code of that tier (empty: interpreted). Valid as long as the Function.
  std::span<const u8> machine_code() const noexcept;
  /// How long making it took.
  u64 compile_ns() const noexcept;
  /// Why a function linked as `automatic` has no machine code, or is not optimised although it was hot; "" otherwise.
  std::string why_interpreted() const;
  std::string why_not_optimised() const;

  struct Data;
  Function(std::unique_ptr<const Bytecode> bytecode, std::unique_ptr<Data> data);
  ~Function();
  Function(const Function&) = delete;
  Function& operator=(const Function&) = delete;

 private:
  friend class Tiering;
  mutable std::atomic<HelperFn> entry_;  ///< first: machine code of tail calls reads it (vm/jit/entry.hpp)
  std::unique_ptr<const Bytecode> bytecode_;
  std::unique_ptr<Data> data_;
};

/// One run of unverified instructions through the checked loop.
struct RawRun {
  u64 r1 = 0;
  u64 r2 = 0;
  std::span<const HelperFn> helpers;  ///< receive their arguments unchecked: give only such as touch no memory
  MemoryGuard* guard = nullptr;       ///< null: the program has only its stack
  LoadPacketFn load_packet = nullptr;
  Run* run = nullptr;  ///< null: one of its own
  u64 max_insns = 1'000'000;
};

/// Runs instructions nobody proved anything about; safe because every access is checked first. For conformance
/// vectors and tests. Errors: those of Function::link and Function::run_checked.
Result<u64> run_raw_checked(std::span<const Insn> insns, const RawRun& run);

}  // namespace skep::vm
