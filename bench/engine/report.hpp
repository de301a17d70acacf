// What was measured, as a table for people and as JSON for `make bench-check`.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <skep/types.hpp>

namespace skep::bench {

/// One program in one engine.
struct Cell {
  double ns_per_run = 0;
  double spread = 0;  ///< of the rounds: (largest - smallest) / median
  double verify_us = 0;
  double compile_us = 0;
  u32 code_bytes = 0;
  std::string refused;  ///< why there are no figures, or ""
};

struct Line {
  std::string program;
  bool headline = false;
  u32 result = 0;
  std::map<std::string, Cell> cells;  ///< by engine
};

struct Report {
  std::string cpu;       ///< of the eBPF objects: v3 or v4
  std::string compiler;  ///< of the native side
  std::vector<std::string> engines;
  std::string no_kernel;  ///< why the kernel was left out, or ""
  std::vector<Line> lines;
};

/// Means over a set of programs: of one engine's times over another's.
struct Ratio {
  double mean = 0;  ///< geometric
  double worst = 0;
  std::string worst_program;
  u32 programs = 0;
};
std::optional<Ratio> ratio(const Report& report, const std::string& engine, const std::string& base, bool headline);
/// Geometric mean of the engine's compile times over the headline programs, or none.
std::optional<double> compile_mean_us(const Report& report, const std::string& engine);

std::string table(const Report& report);
std::string json(const Report& report);

}  // namespace skep::bench
