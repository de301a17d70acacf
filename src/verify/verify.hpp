// The verifier: proves that a program never faults, never reads outside its memory, and always ends.
//
// verify() is the only maker of VerifiedProgram, and only a VerifiedProgram can become a vm::Function: the
// type system is the guarantee that unproved code does not run.
#pragma once
#include <memory>
#include <optional>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <string>
#include <vector>

#include "catalog/contexts.hpp"
#include "catalog/prototypes.hpp"

namespace skep::verify {

enum class Rules : u8 {
  user,    ///< our engine: its helpers, its contexts
  kernel,  ///< what Linux would say
  strict,  ///< user, plus termination and reference discipline everywhere
};

/// A helper that the application around the engine adds, with an id that the catalog does not use.
struct HostHelper {
  std::string name;
  catalog::Prototype prototype;
};

/// The structure that the application around the engine gives to programs of type syscall. What the rows point to
/// outlives the verification.
struct HostContext {
  catalog::Context layout;
  bool packet_writable = false;  ///< whether programs may change what Field::packet points to
};

class StateObserver;

/// What the program is verified against. References and CO-RE relocations in the spec must be resolved
/// before (ld_imm64 of maps keep their Reference; every other immediate is final).
struct Options {
  Rules rules = Rules::user;
  /// Instructions processed at most; 0: the rules' own limit. Linux gives up at 1,000,000, our engine at 16 times that:
  /// a few seconds, which only the refusal of a very large program takes.
  u32 max_insns_processed = 0;
  /// Not Rules::kernel: instructions after which paths that meet are joined, to see whether that proves the program.
  /// Where it does not, the time is lost: a fifth of a second for programs as people write them, about a second for the
  /// worst that was found. 0: at once.
  u32 insns_before_joining = 1 << 15;
  /// Memory for remembered states at most. What ends first, instructions or memory, refuses as too complex.
  u64 max_state_bytes = 256 << 20;
  /// Remember states wherever paths may meet, not only after some instructions: more pruning, for tests.
  /// Linux: BPF_F_TEST_STATE_FREQ.
  bool remember_often = false;
  bool log = false;                   ///< keep the state at every instruction (Report::log)
  StateObserver* observer = nullptr;  ///< is shown every explored state (verify/observer.hpp): for tests
  /// By helper id: whether the engine has it. Empty: every helper of the catalog.
  std::vector<bool> engine_helpers;
  /// By catalog::KfuncId: whether the engine has the kernel function. Empty: every one of the catalog.
  std::vector<bool> engine_kfuncs;
  /// Beside the catalog's. Not subject to engine_helpers.
  std::vector<HostHelper> host_helpers;
  /// In place of the catalog's context of type syscall.
  std::optional<HostContext> host_context;
  /// Rules::kernel: what Linux says to a process without CAP_BPF and CAP_PERFMON. Such programs may not learn an
  /// address, read stack they never wrote, loop, or have functions.
  bool unprivileged = false;
  /// Rules::kernel: the version of Linux, 1000 * major + minor; what is newer is refused. 0: the newest known, 6.18.
  u32 kernel_version = 0;
  /// CPUs the machine may have: what bpf_get_smp_processor_id() gives is below. 0: as many as Linux can manage.
  u32 possible_cpus = 0;
  /// The types of the kernel the program is meant for, or of our engine's objects, for what its pointers lead to. Null:
  /// such accesses are refused.
  std::shared_ptr<const btf::Btf> kernel_types;
};

/// Why a program was refused. `id` is stable: catalog/messages.def.
struct Rejection {
  std::string id;  ///< "map_value_out_of_bounds"
  u32 insn = 0;    ///< index into the program's instructions
  std::string insn_text;
  std::string reason;     ///< one sentence with numbers: what was found, what was expected
  std::string registers;  ///< the registers involved, as text
  std::string cause;      ///< where the trouble began (line and text), or ""
  std::string advice;     ///< what to do
  std::optional<SourceLine> source;
};

/// The verifier's work, for `skep verify --json`.
struct Report {
  bool accepted = false;
  bool joined = false;  ///< proved with paths joined where they meet
  std::optional<Rejection> rejection;
  u64 insns_processed = 0;
  u64 states = 0;
  u64 state_bytes = 0;  ///< what states took at most
  u64 time_ns = 0;      ///< computing time of the calling thread
  u32 stack_bytes = 0;
  std::string log;
};

/// The explanation as people read it: the C line, the reason, the registers, what to do.
std::string explain(const Report& report, const ProgramSpec& program);

/// A load that the engine performs differently from how the UAPI structure reads: `ctx->data` is a u32 in
/// C and a 64-bit pointer at run time. The linker turns the load at `insn` into an 8-byte load at `offset`.
struct ContextLoad {
  u32 insn = 0;
  s16 offset = 0;  ///< in the engine's own context layout (catalog/contexts)
};

/// What the proof showed about one instruction, over every path that reaches it. The JIT drops what cannot happen.
struct InsnProof {
  bool reached = false;          ///< some path executes it
  bool jump_taken = false;       ///< conditional jump: some path takes it
  bool jump_passed = false;      ///< conditional jump: some path falls through
  bool divisor_nonzero = false;  ///< division: no path divides by zero (signed: nor the smallest number by -1)
};

/// Bytes of a stack frame that an instruction touches on some path: load, store, atomic or helper argument. One entry
/// per instruction, register that points there and frame owner, the union over all paths; also for accesses to a
/// caller's frame. What an iterator hands out lies inside the iterator: loads through it are not listed, the calls that
/// were given the iterator are.
struct StackTouch {
  u32 insn = 0;
  u32 function = 0;  ///< first instruction of the function that owns the frame
  s16 low = 0;       ///< first byte, relative to that frame's r10
  s16 high = 0;      ///< behind the last byte (at most 0)
  u8 reg = 0;        ///< that holds the address: of a call, which argument it is
};

/// A call of a kernel function that makes an object of one of the program's own types.
struct LocalType {
  u32 insn = 0;
  u32 type = 0;  ///< in the object's BTF
};

/// A place in a structure of Options::kernel_types that the program reads by a load of its own.
struct ObjectRead {
  std::string type;
  u32 offset = 0, size = 0;
  bool operator==(const ObjectRead&) const = default;
};

struct Outcome;
/// Errors mean "could not decide" (malformed input); a refusal is a Report with accepted == false.
Result<Outcome> verify(const ProgramSpec& program, const ObjectSpec& object, const Options& options);

/// A program and its proof. Immutable; cheap to copy (shared).
class VerifiedProgram {
 public:
  const std::string& name() const { return data_->name; }
  ProgramType type() const { return data_->type; }
  const std::vector<Insn>& insns() const { return data_->insns; }
  const std::vector<Reference>& references() const { return data_->references; }
  const std::vector<FunctionInfo>& functions() const { return data_->functions; }
  /// Bytes of stack the deepest call chain needs.
  u32 stack_bytes() const { return data_->stack_bytes; }
  /// Bytes of context the program reads or writes at most: an attach point with a smaller context refuses it.
  u32 context_bytes() const { return data_->context_bytes; }
  /// Some path reads stack it never wrote: frames must be cleared before they are used.
  bool reads_untouched_stack() const { return data_->reads_untouched_stack; }
  const std::vector<ContextLoad>& context_loads() const { return data_->context_loads; }
  /// By instruction.
  const std::vector<InsnProof>& proofs() const { return data_->proofs; }
  /// Sorted by instruction.
  const std::vector<StackTouch>& stack_touches() const { return data_->stack_touches; }
  /// First instruction of the function that bpf_throw calls, or -1: the cookie is the program's result.
  s64 exception_callback() const { return data_->exception_callback; }
  /// The arena of the program, as an index into ObjectSpec::maps, or -1.
  s32 arena_map() const { return data_->arena_map; }
  /// Loads, stores and atomics that go to the arena, sorted: their address is the arena's window, plus the low 32 bits
  /// of the register, plus the offset.
  const std::vector<u32>& arena_accesses() const { return data_->arena_accesses; }
  /// Loads from the engine's own objects (Rules::user), sorted: their address is the objects' window, plus the low 32
  /// bits of the register, plus the offset. And which places of which structures they read.
  const std::vector<u32>& window_accesses() const { return data_->window_accesses; }
  const std::vector<ObjectRead>& object_reads() const { return data_->object_reads; }
  /// Calls of bpf_obj_new(), and the type of the program's own that each makes; sorted by instruction.
  const std::vector<LocalType>& local_types() const { return data_->local_types; }
  /// Helper ids the program calls, sorted.
  const std::vector<u32>& helpers() const { return data_->helpers; }

 private:
  friend Result<Outcome> verify(const ProgramSpec&, const ObjectSpec&, const Options&);
  struct Data {
    std::string name;
    ProgramType type = ProgramType::unspec;
    std::vector<Insn> insns;
    std::vector<Reference> references;
    std::vector<FunctionInfo> functions;
    std::vector<u32> helpers;
    std::vector<ContextLoad> context_loads;
    std::vector<InsnProof> proofs;
    std::vector<StackTouch> stack_touches;
    std::vector<u32> arena_accesses;
    std::vector<u32> window_accesses;
    std::vector<ObjectRead> object_reads;
    std::vector<LocalType> local_types;
    s64 exception_callback = -1;
    s32 arena_map = -1;
    u32 stack_bytes = 0;
    u32 context_bytes = 0;
    bool reads_untouched_stack = false;
  };
  explicit VerifiedProgram(std::shared_ptr<const Data> data) : data_(std::move(data)) {}
  std::shared_ptr<const Data> data_;
};

struct Outcome {
  Report report;
  std::optional<VerifiedProgram> program;  ///< present exactly when report.accepted
};

}  // namespace skep::verify
