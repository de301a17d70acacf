// The oracle of state embedding: what the verifier explored, against the machine that runs.
//
// An Embedding observes one verification and remembers, for every instruction, the explored states with what counts
// in them (verify/observer.hpp). Then it looks at checked runs of the program: before every instruction some
// remembered state must hold the machine, register by register, slot by slot. A run that no state holds has left the
// proof: a bug of the verifier, or of an engine, even where nothing faulted yet.
//
// Pointers are compared as far as their base is known here: the stack of every frame, the context, the packet, and
// what a World can tell of maps. The memory that helpers hand out has no known base; the guard of the run watches it.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "verify/observer.hpp"
#include "verify/verify.hpp"
#include "vm/function.hpp"

namespace skep::embedding {

/// What only the one who runs the program knows.
struct World {
  virtual ~World() = default;
  /// Whether a value of map `index` can begin at `address`; nullopt: cannot tell.
  virtual std::optional<bool> value_begins_at(u32 index, u64 address) const = 0;
};

class Embedding final : public verify::StateObserver {
 public:
  Embedding() = default;

  void explored(const verify::Explored& state) override;
  std::unique_ptr<verify::StateObserver> attempt() const override { return std::make_unique<Embedding>(); }
  void become(verify::StateObserver& attempt) override;
  /// Before the next program.
  void forget();
  /// Makes ready for runs of the program that was verified: its type says where the context holds packet pointers.
  void begin(const verify::VerifiedProgram& program, const vm::Bytecode* code, const World* world);
  /// "" when some explored state holds the machine, else what is wrong, for people.
  std::string look(const vm::Machine& machine);

  void proved(std::optional<u64> longest_run) override { proof_.longest_run = longest_run; }
  /// Instructions that a run of the program executes at most, as far as that was proved.
  std::optional<u64> longest_run() const { return proof_.longest_run; }

  u64 looks() const { return looks_; }

 private:
  /// What counts of one register or slot.
  struct Expected {
    u8 frame = 0;
    bool is_slot = false;
    u8 index = 0;
    u8 bytes = 8;            ///< slot: how many of its bytes belong to the value
    u8 zero = 0;             ///< slot: bytes that are 0, as bits
    bool has_value = false;  ///< `value` counts
    verify::Register value;
    friend bool operator==(const Expected&, const Expected&) = default;
  };
  struct Call {
    u32 function = 0, call_insn = 0;
    friend bool operator==(const Call&, const Call&) = default;
  };
  /// Indices into a proof's calls (outermost first) and parts.
  struct State {
    u32 first_call = 0, calls = 0, first_part = 0, parts = 0;
  };
  struct At {
    std::vector<State> states;
    std::size_t last = 0;  ///< the one that held last time
  };
  /// What one proof explored.
  struct Proof {
    std::vector<At> by_insn;
    std::vector<Call> calls;
    std::vector<Expected> parts;
    std::optional<u64> longest_run;
  };
  struct Packet {
    u64 data = 0, end = 0, meta = 0;
  };
  struct Equal {
    u32 id = 0;
    u64 value = 0;
  };
  /// Why a state does not hold the machine. Most states do not hold it: words are found only for those that people see.
  struct Difference {
    enum class What : u8 {
      none,
      shallow,      ///< fewer calls than the state has
      other_calls,  ///< called from elsewhere
      not_zero,     ///< byte `detail` of a slot
      outside,      ///< a number
      unequal,      ///< numbers of one id
      unequal_null,
      offset,  ///< a pointer is `detail` bytes behind its base
      null,
      no_value,    ///< no value of a map begins there
      not_end,     ///< of the packet, which is at `detail`
      before_end,  ///< the same, of a pointer that has come there
      past_end,    ///< of the packet, of which only `detail` bytes are there
    };
    What what = What::none;
    const Expected* part = nullptr;
    u64 value = 0;  ///< of the part
    u64 detail = 0;
    explicit operator bool() const { return what != What::none; }
  };
  using What = Difference::What;

  std::span<const Call> calls_of(const State& s) const { return {proof_.calls.data() + s.first_call, s.calls}; }
  std::span<const Expected> parts_of(const State& s) const { return {proof_.parts.data() + s.first_part, s.parts}; }
  bool is_known(const At& at, const State& state) const;
  bool is_held(At& at, const vm::Machine& machine);
  /// The first part that does not hold.
  Difference difference(const State& state, const vm::Machine& machine);
  Difference part_difference(const Expected& part, const vm::Machine& machine, std::size_t first_frame);
  Difference pointer_difference(const verify::Register& expected, u64 value, const vm::Machine& machine,
                                std::size_t first_frame);
  Difference packet_difference(const verify::Register& expected, u64 place) const;
  std::string text(const State& state, const Difference& difference) const;
  bool same_as_others(std::vector<Equal>& equals, u32 id, u64 value);
  Packet packet() const;

  Proof proof_;
  u64 looks_ = 0;
  const vm::Bytecode* code_ = nullptr;
  const World* world_ = nullptr;
  Packet packet_fields_;  ///< where in the context, one more; 0: not there
  std::optional<u64> context_;
  std::vector<Equal> scalars_, nulls_;  ///< while one state is compared
};

/// A guard that passes everything on to another one, and lets an Embedding look.
class WatchingGuard final : public vm::MemoryGuard {
 public:
  WatchingGuard(Embedding& embedding, vm::MemoryGuard* memory) : embedding_(embedding), memory_(memory) {}
  bool allows(u64 address, u32 size, bool write) noexcept override {
    return memory_ != nullptr && memory_->allows(address, size, write);
  }
  bool is_watching() const noexcept override { return true; }
  std::string look(const vm::Machine& machine) override { return embedding_.look(machine); }

 private:
  Embedding& embedding_;
  vm::MemoryGuard* memory_;
};

}  // namespace skep::embedding
