// The abstract machine at one point of one path: call frames, registers, stack slots, held references.
//
// States are copied at every branch and remembered at every checkpoint, so copies are cheap: a frame's registers
// are plain memory, and what a stack slot holds is an immutable, counted Register shared by all copies. A frame
// keeps only the slots below its frame pointer that were ever touched. Everything comes from a Pool, which
// recycles it: the explorer allocates from the system only while its peak grows.
#pragma once
#include <array>
#include <memory>
#include <vector>

#include "isa/isa.hpp"
#include "verify/register.hpp"

namespace skep::verify {

inline constexpr u32 slot_bytes = 8;
inline constexpr u32 max_slots = isa::stack_size_bytes / slot_bytes;

/// What one byte of stack holds.
enum class Byte : u8 {
  untouched,  ///< never written on this path
  number,     ///< some number
  zero,
  spilled,  ///< part of the register the slot holds
  special,  ///< part of an iterator, a dynptr or a saved flag: `spill` describes it
};

/// A register spilled to the stack; immutable while shared.
struct Spill {
  u32 uses = 0;
  Register value;
};

struct Slot {
  std::array<Byte, slot_bytes> bytes{};  ///< lowest address first
  Spill* spill = nullptr;

  bool is_spilled() const { return bytes[0] == Byte::spilled; }
  bool is_special() const { return bytes[0] == Byte::special; }
};

/// By frame: a bit for each slot.
using FrameMasks = std::array<u64, isa::max_call_frames>;

/// Numbers a callback may return.
struct ReturnRange {
  s32 low = 0, high = 0;
};

struct Frame {
  std::array<Register, isa::register_count> regs;
  u32 call_insn = 0;                  ///< the call that made this frame; unused in frame 0
  u32 function = 0;                   ///< index into the program's functions
  bool is_callback = false;           ///< a helper called it: it returns to the call
  u32 liveness = 0;                   ///< instance of StackLiveness
  u32 callback_depth = 0;             ///< callbacks explored one after the other from the call this frame is at
  ReturnRange return_range;           ///< of a callback
  u64 special = 0;                    ///< slots that hold part of an iterator, a dynptr or a saved flag
  u32 slot_count = 0;                 ///< slots in use: [-8 * slot_count, 0)
  std::array<Slot, max_slots> slots;  ///< slot i is at frame pointer - 8 * (i + 1)
};

/// A reference a helper handed out, to be given back before the program ends.
struct Acquired {
  u32 id = 0;
  u32 insn = 0;
  bool interrupts = false;  ///< not a reference: saved interrupts, to be restored in reverse order
};

/// A lock that is held.
struct Lock {
  enum class Kind : u8 {
    spin,           ///< bpf_spin_lock: no call but its unlocking
    resilient,      ///< bpf_res_spin_lock: it may have been refused, and others may be taken inside
    resilient_irq,  ///< the same with interrupts disabled
  };
  Kind kind = Kind::spin;
  bool in_object = false;  ///< in an object of the program's own, else in a map value
  u32 map = 0;             ///< map index; the object's type
  u32 id = 0;              ///< the map value's register id; the object's reference
  u32 insn = 0;            ///< the call that took it

  /// Whether it is the lock of the same value.
  bool is_place_of(const Lock& other) const {
    return in_object == other.in_object && map == other.map && id == other.id;
  }
};

class Pool;

struct State {
  std::array<Frame*, isa::max_call_frames> frames{};
  u32 depth = 0;  ///< index of the current frame
  std::vector<Acquired> acquired;
  std::vector<Lock> locks;  ///< in the order they were taken, which is the reverse of that they are given back in
  bool rcu = false;         ///< inside bpf_rcu_read_lock()
  u32 preempt_depth = 0;    ///< bpf_preempt_disable() calls that are open
  u32 rounds = 0;           ///< how often this path went round a loop that converges: not compared, but no such loop is
                            ///< taken for an endless one

  bool is_locked() const { return !locks.empty(); }
  /// The last bpf_local_irq_save() that was not restored, or nullptr.
  const Acquired* saved_interrupts() const {
    for (std::size_t at = acquired.size(); at-- > 0;)
      if (acquired[at].interrupts) return &acquired[at];
    return nullptr;
  }
  /// Where nothing may sleep.
  bool in_section() const { return rcu || is_locked() || preempt_depth != 0 || saved_interrupts() != nullptr; }

  Frame& current() { return *frames[depth]; }
  const Frame& current() const { return *frames[depth]; }
  Register& reg(u32 index) { return frames[depth]->regs[index]; }
  const Register& reg(u32 index) const { return frames[depth]->regs[index]; }
};

/// Owns every frame and spill; states return what they hold.
class Pool {
 public:
  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();

  Frame* new_frame();
  void free_frame(Frame* frame);
  Spill* new_spill(const Register& value);
  static void share(Spill* spill) { spill->uses++; }
  void drop(Spill* spill) {
    if (--spill->uses == 0) free_spills_.push_back(spill);
  }

  /// Makes `to` a copy of `from`, in the frames it has.
  void copy(State& to, const State& from);
  /// What frames and spills take, in use or to be used again.
  u64 bytes() const { return frames_.size() * sizeof(Frame) + spill_blocks_.size() * sizeof(Spill) * spills_at_once; }

  /// Gives back everything a state holds.
  void release(State& state);

  /// Puts a value into a slot, whole: the slot's bytes are not touched.
  void set_spill(Slot& slot, const Register& value);
  void clear_spill(Slot& slot) {
    if (slot.spill != nullptr) drop(slot.spill);
    slot.spill = nullptr;
  }

 private:
  void copy(Frame& to, const Frame& from);

  static constexpr std::size_t spills_at_once = 64;
  std::vector<std::unique_ptr<Frame>> frames_;
  std::vector<std::unique_ptr<Spill[]>> spill_blocks_;
  std::vector<Frame*> free_frames_;
  std::vector<Spill*> free_spills_;
};

/// Calls `f(Register&)` for every register and every spilled register of every frame. Spilled ones are copied
/// before a change: `f` returns whether it changed what it got.
template <class F>
void for_each_register(Pool& pool, State& state, F&& f) {
  for (u32 depth = 0; depth <= state.depth; depth++) {
    Frame& frame = *state.frames[depth];
    for (Register& r : frame.regs) f(r);
    for (u32 i = 0; i < frame.slot_count; i++) {
      Slot& slot = frame.slots[i];
      if (slot.spill == nullptr) continue;
      Register value = slot.spill->value;
      if (f(value)) pool.set_spill(slot, value);
    }
  }
}

}  // namespace skep::verify
