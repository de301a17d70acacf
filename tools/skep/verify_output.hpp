// How skep verify says its verdict: text for people, one JSON object a program for programs.
#pragma once
#include <optional>
#include <string>

#include "explain/fix.hpp"
#include "kernel/judge.hpp"
#include "verify/verify.hpp"

namespace skep::tools {

/// One object. The keys are a contract: they stay, new ones may come. `kernel`: the running kernel's verdict, or null.
std::string verdict_json(const ProgramSpec& program, const verify::Report& report, const verify::Diagnosis* diagnosis,
                         const std::optional<explain::Fix>& fix, const kernel::KernelVerdict* kernel = nullptr);
std::string verdict_text(const ProgramSpec& program, const verify::Report& report, const verify::Diagnosis* diagnosis,
                         const std::optional<explain::Fix>& fix, const kernel::KernelVerdict* kernel = nullptr);

}  // namespace skep::tools
