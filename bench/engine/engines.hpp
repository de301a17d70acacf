// The engines that a program is measured in: native code, the tiers of skep::vm, and the kernel.
#pragma once
#include <functional>
#include <memory>
#include <skep/result.hpp>
#include <string>
#include <vector>

#include "engine/programs.hpp"

namespace skep::bench {

/// One program in one engine, ready to run.
class Subject {
 public:
  virtual ~Subject() = default;
  /// Runs it so often; the last run's result.
  virtual Result<u32> run(u32 times) = 0;
  /// Nanoseconds that `times` runs take, without what starting a batch costs.
  virtual Result<double> batch_ns(u32 times);

  double verify_us = 0;         ///< the verifier's own time
  double compile_us = 0;        ///< from verified program to runnable code: the fastest of a few
  u32 code_bytes = 0;           ///< machine code; 0 where there is none
  std::vector<std::byte> code;  ///< the same bytes, for --dump
};

/// A program in both its forms.
struct Sources {
  std::string name;
  const Input* input = nullptr;
  const Native* native = nullptr;
  const ObjectSpec* object = nullptr;
};

struct Engine {
  std::string name;
  std::function<Result<std::unique_ptr<Subject>>(const Sources&)> prepare;
};

/// Whether a map of the object is the program's `input`.
bool is_input(const MapSpec& map);

/// Errors: permission, naming the capability.
Result<Engine> kernel_engine();

/// Native, then every tier this build has, then the kernel where this process may load programs.
/// `why_not` says what was left out.
std::vector<Engine> engines(std::vector<std::string>& why_not);

}  // namespace skep::bench
