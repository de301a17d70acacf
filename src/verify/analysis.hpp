// What is known of a program before any path is followed: instructions, functions, jump targets, liveness.
//
// analyse() decodes every instruction, finds the subprograms, checks that control stays inside them, and computes
// two things the explorer needs: where states are worth remembering (join points), and which registers can still
// be read at each instruction, so that states are compared only where it matters.
#pragma once
#include <optional>
#include <skep/spec.hpp>
#include <vector>

#include "catalog/kfuncs.hpp"
#include "catalog/messages.hpp"
#include "isa/isa.hpp"

namespace skep::verify {

/// A refusal before it is put into words: which rule, where, and the numbers of its sentence.
struct Refusal {
  catalog::MessageId id{};
  u32 insn = 0;
  std::string reason;
};

/// One function of the program: [first, last] are its instructions.
struct Function {
  u32 first = 0;
  u32 end = 0;  ///< one past the last instruction
  const FunctionInfo* info = nullptr;
  bool is_global = false;    ///< verified on its own, by its BTF signature
  bool is_callback = false;  ///< its address is taken
  bool is_async = false;     ///< only as the callback of a timer: it runs on a stack of its own
  bool is_exception_callback = false;
  bool has_tail_call = false;
  bool throws = false;        ///< calls bpf_throw, also through others
  bool sleeps = false;        ///< calls, also through others, what may sleep
  bool is_called = false;     ///< a global one: explored code calls it
  bool is_verified = false;   ///< a global one that was explored
  bool moves_packet = false;  ///< calls, also through others, a helper that invalidates packet pointers
};

/// Facts about one instruction.
struct InsnFacts {
  isa::Op op{};
  u8 code_class = 0;
  bool is_tail = false;      ///< second half of an ld_imm64
  bool is_join = false;      ///< paths may meet here: states are remembered and compared
  bool is_crossing = false;  ///< paths from elsewhere come in here: Linux notes it in a state's history
  bool is_reachable = false;
  bool writes_frame_pointer = false;
  bool is_loop_head = false;  ///< target of a backward jump
  bool converges = false;     ///< a loop goes through here that ends by itself: iterator, may_goto, callback
  u16 live = 0;               ///< registers that may be read from here on, before being written
  u16 function = 0;
  s32 reference = -1;  ///< index into ProgramSpec::references, or -1
};

struct Analysis {
  std::vector<InsnFacts> insns;
  std::vector<Function> functions;
  std::vector<const catalog::Kfunc*> kfuncs;  ///< by reference: the row of the kernel function it calls, or null

  /// The row of the kernel function that the call at `insn` names, or nullptr.
  const catalog::Kfunc* kfunc_at(u32 insn) const {
    s32 r = insns[insn].reference;
    return r >= 0 ? kfuncs[static_cast<u32>(r)] : nullptr;
  }
  /// The function that starts at `insn`, or none.
  std::optional<u32> function_at(u32 insn) const;
};

/// Fills `analysis`; returns a refusal where the program's shape breaks a rule.
/// `exception_callback`: the function that bpf_throw calls, or null.
/// `allow_unreachable`: instructions no path reaches are tolerated.
std::optional<Refusal> analyse(const ProgramSpec& program, const FunctionInfo* exception_callback,
                               bool allow_unreachable, Analysis& analysis);

}  // namespace skep::verify
