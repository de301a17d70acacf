// A run of machine code with checks: what that code reads and writes, and what answers when a check fails.
//
// Machine code keeps a Checks in a register. Before an access that the plan (checked_plan.hpp) could not settle it
// compares the address with a window: the region in which accesses of the same origin were last found. Whatever does
// not pass a check goes to service(), with all eBPF registers written down: it finds the region and fills the window,
// or runs the instructions of the block that are left as the checked interpreter would, and says where to go on. A
// violation is written down and the native stack goes back to where the activation began.
//
// An activation is one loop of the checked interpreter: the program, a callback, a tail call out of a function. It has
// eight frames of its own. Frames of all activations that are alive are the program's memory, each activation for
// itself; behind the end of the running one there is nothing.
#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "vm/bytecode.hpp"
#include "vm/checked_program.hpp"
#include "vm/jit/checked_plan.hpp"
#include "vm/jit/code_memory.hpp"

namespace skep::vm::jit {

/// Why a checked run ended early.
enum class Violation : u8 { none, memory, misaligned, budget, depth, frame_pointer, ran_off, callx, no_code };

/// Places where an access of 1, 2, 4 or 8 bytes may begin: `address - begin < places[log2 of size]`.
struct Window {
  u64 begin;
  u64 places[4];
};
constexpr u64 places_in(u64 bytes, u32 log2_size) {
  return bytes >> log2_size == 0 ? 0 : bytes - (u64{1} << log2_size) + 1;
}

/// What machine code asks of service().
struct Event {
  enum Kind : u8 {
    access,     ///< the question of `insn` was not answered by its window
    alignment,  ///< an atomic access that is not aligned
    budget,     ///< less is left than the longest way from `insn` to the next place that looks
    execute,    ///< `insn` has no machine code, or would be a violation
    returned,   ///< a function whose frame is in a window returned
    clock,      ///< the may_goto at `insn` counted to zero
    thrown,     ///< a call came back with Run::thrown
    lend,       ///< a call by register of the map look-up returned
    ran_off,    ///< behind the last instruction
  };
  Kind kind;
  u32 insn;
  u32 resume;  ///< offset in the code: of the check itself (access), of what follows (the others)
};

/// Machine code of one Bytecode, with what service() needs to know of it. Immutable.
struct CheckedCode {
  const Bytecode* bytecode = nullptr;
  std::unique_ptr<const Plan> plan;
  std::vector<Event> events;
  std::vector<u32> offsets;  ///< of every instruction, in a block's first before the block is paid for
  std::vector<u32> bodies;   ///< of every instruction, behind that
  /// By window: 1 + the region it was last made over, 0: none. Where windows of the next run begin.
  mutable std::array<std::atomic<u8>, 2 * window_count> seeds{};
  std::unique_ptr<u64[]> call_table;  ///< by Bytecode::callbacks: where a call by register goes
  MachineCode code;
  u32 enter = 0, leave = 0, unwind = 0;  ///< u64 enter(Checks*, target); an exit; back to where enter was called

  u64 address(u32 offset) const noexcept { return reinterpret_cast<u64>(code.data()) + offset; }
};

/// Errors: unsupported (no emitter for this machine), those of CodeMemory::add. `bytecode` must outlive the result.
Result<std::unique_ptr<const CheckedCode>> compile_checked(const Bytecode& bytecode, CodeMemory& memory);

inline constexpr u32 frame_stride = isa::stack_size_bytes, frames = isa::max_call_frames;
/// From the end of a frame to where its function says how many bytes at the frame's begin are not cleared.
inline constexpr s32 untouched_at = frames * frame_stride - 8;

struct Checks;

struct Activation {
  Activation* outer = nullptr;
  const CheckedCode* code = nullptr;  ///< changes with a tail call
  u64 frame_end = 0, granted = 0;     ///< r10 and CheckState::granted, while another activation runs
  bool is_callback = false;
  /// The frames, and as much again for the numbers at untouched_at.
  alignas(64) std::array<std::byte, 2 * frames * frame_stride> stack;

  u64 begin() const noexcept { return reinterpret_cast<u64>(stack.data()); }
  bool is_in_stack(u64 address) const noexcept { return address - begin() < frames * frame_stride; }
};

/// What machine code reads and writes.
struct CheckState {
  Run* run = nullptr;
  u64 insns_left = 0;    ///< in a register while machine code runs
  u64 deepest = 0;       ///< r10 of the last frame of the activation
  u64 granted = 0;       ///< the highest r10 at which a window was made over frames of the activation; 0: none
  u64 frame_end = 0;     ///< r10 at a call of a helper
  u64 timed_loop = 0;    ///< of the frame (timed_loop.hpp)
  u64 native_stack = 0;  ///< where enter() left off
  u64 lookup_map = 0, lookup_id = 0;  ///< r1 and the register of a call by register
  std::array<u64, isa::register_count> registers;
  /// Elements that look-ups returned, the oldest is forgotten first.
  static constexpr u32 most_lent = 64;
  u64 lent_count = 0;
  struct Lent {
    u64 begin, bytes;
  } lent[most_lent];
  Window windows[2 * window_count];  ///< of those in `made` the others are not initialised
};

/// And what only service() knows.
struct Checks final : CheckState {
  u32 made = 0;  ///< windows, as bits
  Activation* innermost = nullptr;
  CheckedRun shared;  ///< as the checked interpreter's runs have it: bodies look whether there is one
  /// Bodies lend to `shared.lent`; what they take back leaves the windows too.
  struct Lender final : base::Lending {
    explicit Lender(Checks& owner) : checks(owner) {}
    void lend(const void* where, u64 bytes, bool writable) noexcept override {
      checks.shared.lent.lend(where, bytes, writable);
    }
    void take_back(const void* where) noexcept override {
      checks.shared.lent.take_back(where);
      checks.close_all_windows();
    }
    Checks& checks;
  } lender{*this};
  std::span<const MemoryRegion> regions;
  MemoryGuard* guard = nullptr;
  const CheckedCode* left[isa::max_tail_calls];  ///< whose tail calls went to another program
  u32 left_count = 0;
  Violation violation = Violation::none;
  u32 insn = 0;  ///< where
  /// Of memory and misaligned; callx: the register's value and number.
  struct {
    u64 address = 0;
    u32 bytes = 0;
    bool write = false;
  } culprit;

  /// Whether the bytes are the program's. A window (its index, or -1) is made over the region found.
  bool find(u64 address, u64 size, bool write, int window) noexcept;
  void make_windows(const CheckedCode& code) noexcept;
  void close_windows_of(const Activation& activation) noexcept;
  void close_all_windows() noexcept;
  void lend_element(u64 map, u64 value) noexcept;
  /// Whether `visit` says so of one of the run's programs: those that are running, those that left by a tail call.
  template <class Visit>
  bool any_code(Visit visit) const noexcept {
    for (const Activation* at = innermost; at != nullptr; at = at->outer)
      if (visit(*at->code)) return true;
    for (u32 i = 0; i < left_count; i++)
      if (visit(*left[i])) return true;
    return false;
  }
  void violate(Violation what, u32 at) noexcept;
  void violate_access(Violation what, u32 at, u64 where, u32 bytes, bool writes) noexcept;

 private:
  bool grant_stack(Activation& activation, u64 address, u64 size, int window) noexcept;
  bool is_element(u64 address, u64 size, int window) noexcept;
  void open(int window, u64 begin, u64 bytes) noexcept;
};

/// Runs `code` from `insn` in `own`. What it returns counts when there is no violation.
u64 run_activation(Checks& checks, Activation& own, const CheckedCode& code, u32 insn,
                   const u64 (&arguments)[5]) noexcept;
/// The same inside of another activation, in a new one.
u64 activate(Checks& checks, const CheckedCode& code, u32 insn, const u64 (&arguments)[5], bool is_callback) noexcept;

/// What a callback's interpreter entry does in a run of machine code with checks.
u64 call_back(const base::Callback& self, Checks& checks, const u64 (&arguments)[5]) noexcept;

/// Called by machine code. Returns the address where it goes on.
u64 service(Checks* checks, u32 event) noexcept;

/// Runs straight-line instructions on Checks::registers, each access asked for. False: a violation.
bool step(Checks& checks, const CheckedCode& code, u32 insn) noexcept;

}  // namespace skep::vm::jit
