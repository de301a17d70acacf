// One random program in every engine: what the verifiers say of it, and what its runs leave behind.
#pragma once
#include <memory>
#include <optional>

#include "program.hpp"
#include "verify/verify.hpp"

namespace skep::differential {

/// All that a run may change: equal in every engine, byte by byte.
struct Observed {
  u64 r0 = 0;                      ///< the kernel tells the low half
  std::vector<std::byte> memory;   ///< the maps the program uses, in a canonical order of their elements
  std::vector<std::byte> packet;   ///< afterwards
  std::vector<std::byte> context;  ///< of program types whose context is plain memory
};

/// Where two runs differ, as a sentence; "" when they do not. `half`: only 32 bits of r0 are known of one of them.
std::string difference(const RandomProgram& program, const Observed& a, const Observed& b, bool half);

/// What the maps hold before a run: a byte of every value, different in each.
std::byte initial_byte(u32 map, u32 key, u32 at, u32 input);

/// The engine in this process: the verifier, both interpreters and both JITs over one set of maps.
class UserEngines {
 public:
  UserEngines();
  ~UserEngines();

  /// Verifies; the outcome stays with the program for runs. Errors: the verifier could not decide.
  Result<verify::Report> load(const RandomProgram& program);
  /// Of the program loaded last: the checked interpreter. Errors: a fault, or the budget was used up (limit).
  Result<Observed> run_checked(u32 input);
  /// Of the program loaded last: a tier. `deeper` moves stack and heap, so that a result that is an address shows.
  Result<Observed> run(const char* tier, u32 input, std::size_t deeper);
  /// "interpreter", "baseline", "optimised": those this machine has. Errors: a tier refuses what was verified.
  Result<std::vector<const char*>> link();
  /// Of the program loaded last: it reads stack that it did not write.
  bool reads_untouched_stack() const;
  /// IR operations of the program loaded last, as bits by vm::ir::Op.
  u64 ir_operations() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// The running kernel.
class KernelEngine {
 public:
  /// Errors: permission, naming the capability.
  static Result<std::unique_ptr<KernelEngine>> open();
  ~KernelEngine();

  /// nullopt: loaded; else the reason it was refused, in the log's words without numbers.
  Result<std::optional<std::string>> load(const RandomProgram& program);
  /// The program loaded last. Errors: io.
  Result<Observed> run(u32 input);

 private:
  KernelEngine();
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace skep::differential
