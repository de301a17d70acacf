// Instructions that no verifier has seen, as machine code that asks before it acts.
//
// The second way to run unproved instructions, beside run_raw_checked: the same outcome as the checked interpreter, to
// the instruction and the address, in machine code. Bounds of every load, store and atomic, the budget and the depth of
// calls are in the code, as far as they cannot be known before (vm/jit/checked_plan.hpp); a violation ends the run with
// an error that names the instruction and the address. Helpers get their arguments unchecked, as in RawRun: bind only
// such as may.
#pragma once
#include "vm/function.hpp"

namespace skep::vm {

/// Memory a checked run may touch besides its stack.
struct MemoryRegion {
  u64 begin = 0;
  u64 size_bytes = 0;
  bool writable = true;
};

/// What one run of a CheckedProgram is given.
struct CheckedInput {
  u64 r1 = 0;
  u64 r2 = 0;
  std::span<const MemoryRegion> regions;
  /// Asked where no region answers; slower. Values that bpf_map_lookup_elem returned need no answer: elements of arrays
  /// and the 64 last ones of other maps are the program's, as is what helpers lend (base::Lending).
  MemoryGuard* guard = nullptr;
  Run* run = nullptr;  ///< null: one of its own
  u64 max_insns = 1'000'000;
};

/// Immutable and shareable between threads.
class CheckedProgram {
 public:
  /// `bindings`: helpers, packet loads, program arrays; references of a verified program. `jit` null: code memory of
  /// its own. Errors: malformed (what does not decode or jumps astray), unsupported (a machine without an emitter),
  /// permission (no executable memory).
  static Result<std::shared_ptr<const CheckedProgram>> compile(std::span<const Insn> insns, const Bindings& bindings,
                                                               const std::shared_ptr<Jit>& jit = nullptr);
  /// The same of a verified program, to measure what the checks cost.
  static Result<std::shared_ptr<const CheckedProgram>> compile(const verify::VerifiedProgram& program,
                                                               const Bindings& bindings,
                                                               const std::shared_ptr<Jit>& jit = nullptr);

  /// Runs it. Errors: malformed with the instruction and the address of a violation; limit when the budget is used up.
  Result<u64> run(const CheckedInput& input) const;

  std::span<const u8> machine_code() const noexcept;

  struct Data;
  explicit CheckedProgram(std::unique_ptr<Data> data);
  ~CheckedProgram();
  CheckedProgram(const CheckedProgram&) = delete;
  CheckedProgram& operator=(const CheckedProgram&) = delete;

 private:
  std::unique_ptr<Data> data_;
};

/// A verified program as code with checks, made when first asked for: what checks cost, or to trust no verifier. `r1`
/// is its context. Errors: those of CheckedProgram::compile and CheckedProgram::run.
Result<u64> run_checked_code(const Function& function, const CheckedInput& input);
Result<std::span<const u8>> checked_machine_code(const Function& function);

}  // namespace skep::vm
