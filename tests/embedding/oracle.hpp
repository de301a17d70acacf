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
  void forget() override { by_insn_.clear(), state_count_ = 0; }
  /// Makes ready for runs of the program that was verified: its type says where the context holds packet pointers.
  void begin(const verify::VerifiedProgram& program, const vm::Bytecode* code, const World* world);
  /// "" when some explored state holds the machine, else what is wrong, for people.
  std::string look(const vm::Machine& machine);

  u64 states() const { return state_count_; }
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
  };
  struct State {
    std::vector<u32> functions, call_insns;
    std::vector<Expected> parts;
  };
  struct At {
    std::vector<State> states;
    std::size_t last = 0;  ///< the one that held last time
  };
  struct Packet {
    u64 data = 0, end = 0, meta = 0;
  };
  struct Equal {
    u32 id = 0;
    u64 value = 0;
  };

  /// "" or the first part that does not hold.
  std::string mismatch(const State& state, const vm::Machine& machine);
  std::string part_mismatch(const Expected& part, const vm::Machine& machine, std::size_t first_frame);
  std::string value_mismatch(const verify::Register& expected, u64 value, const vm::Machine& machine,
                             std::size_t first_frame);
  std::string pointer_mismatch(const verify::Register& expected, u64 value, const vm::Machine& machine,
                               std::size_t first_frame);
  std::string packet_mismatch(const verify::Register& expected, u64 place) const;
  bool same_as_others(std::vector<Equal>& equals, u32 id, u64 value);
  Packet packet() const;

  std::vector<At> by_insn_;
  u64 state_count_ = 0, looks_ = 0;
  const vm::Bytecode* code_ = nullptr;
  const World* world_ = nullptr;
  ProgramType type_ = ProgramType::unspec;
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
