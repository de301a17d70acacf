// hardirqs and softirqs differ in their programs and words only.
#pragma once
#include "kit/kit.hpp"

namespace skep::tools {

struct InterruptFacts {
  ToolFacts tool;
  std::string_view title;       ///< of the column: "HARDIRQ"
  std::string_view key;         ///< above histograms and in JSON: "hardirq"
  std::string_view kind;        ///< "hard irq"
  std::string_view count_flag;  ///< "-C,--count"
  int width;                    ///< characters of the column
};

int interrupts_tool(const InterruptFacts& facts, const Arguments& arguments);

}  // namespace skep::tools
