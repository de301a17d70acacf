// The engines a case runs on: visible objects with a name, that say whether they can work here.
#pragma once
#include <memory>
#include <vector>

#include "case_file.hpp"
#include "isa/text.hpp"

namespace skep::cases {

/// What became of a case on one engine.
struct Outcome {
  bool rejected = false;
  std::string rejection;       ///< message id (ours) or the last line of the log (kernel)
  u64 result = 0;              ///< r0
  bool low_half_only = false;  ///< the engine could not say more than 32 bits

  bool agrees_with(u64 other) const {
    return low_half_only ? static_cast<u32>(result) == static_cast<u32>(other) : result == other;
  }
};

/// Helper numbers by name, for the assembler.
isa::ParseOptions helper_names();

struct Engine {
  virtual ~Engine() = default;
  virtual std::string_view name() const = 0;
  /// Errors: why this engine cannot work here (names the capability or version).
  virtual Result<void> supported() const = 0;
  /// Whether `;! run raw` cases are for this engine.
  virtual bool takes_raw() const { return false; }
  /// Errors: the case could not be decided.
  virtual Result<Outcome> run(const Case& c) const = 0;
};

std::unique_ptr<Engine> interpreter();
std::unique_ptr<Engine> checked_interpreter();
std::unique_ptr<Engine> baseline();
std::unique_ptr<Engine> optimised();
std::unique_ptr<Engine> kernel();

}  // namespace skep::cases
