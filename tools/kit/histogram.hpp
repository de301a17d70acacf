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

/// The slots of a record that both sides share, whose __u64 is another type than ours on 64-bit machines.
inline std::array<u64, 64> slots_of(const unsigned long long (&slots)[64]) {
  std::array<u64, 64> out;
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = slots[i];
  return out;
}

/// `unit`: "usecs". In JSON: {NAME: label, "unit", "histogram": [{"from", "to", "count"}...]}; `label` "" leaves it
/// out.
void print_log2(trace::Output& output, std::span<const u64> slots, std::string_view unit, std::string_view name = "",
                std::string_view label = "");

/// One line for each value from the first that counts to the last.
void print_linear(trace::Output& output, std::span<const u64> slots, std::string_view unit, std::string_view name = "",
                  std::string_view label = "");

}  // namespace skep::tools
