// Histograms as people of this field know them: a line for each power of two, a bar of stars.
#pragma once
#include <array>
#include <skep/types.hpp>
#include <span>
#include <string_view>

#include "trace/output.hpp"

namespace skep::tools {

/// As tool.bpf.h has it.
struct Log2Histogram {
  std::array<u64, 64> slots;
  u64 total;
};

/// `unit`: "usecs". In JSON: {NAME: label, "unit", "histogram": [{"from", "to", "count"}...]}; `label` "" leaves it
/// out.
void print_log2(trace::Output& output, std::span<const u64> slots, std::string_view unit, std::string_view name = "",
                std::string_view label = "");

/// One line for each value from the first that counts to the last.
void print_linear(trace::Output& output, std::span<const u64> slots, std::string_view unit, std::string_view name = "",
                  std::string_view label = "");

}  // namespace skep::tools
