// Programs with the kernel's verdicts, read from a corpus outside the project.
//
// The corpus is data of other projects and no part of this one: it is looked for at ../shared/corpus, or where
// SKEP_CORPUS says. A Case is one program ready for verify(), with what Linux 6.18 said of it.
#pragma once
#include <skep/spec.hpp>
#include <string>
#include <vector>

#include "verify/verify.hpp"

namespace skep::corpus {

struct Case {
  std::string name;  ///< "and/0: invalid and of negative number"
  ObjectSpec object;
  ProgramSpec program;
  bool unprivileged = false;
  bool kernel_accepts = false;
  std::string kernel_message;  ///< last line of the kernel's log
  u64 kernel_insns = 0;        ///< instructions the kernel processed
  u64 kernel_time_us = 0;
};

/// What this machine's kernel would say: its types, its CPUs.
verify::Options kernel_rules();

/// The corpus folder, or "" when there is none.
std::string folder();

/// Raw instruction cases (selftests-6.1, -6.12) with a verdict: of a privileged process, or of another.
std::vector<Case> raw_cases(const std::string& file, bool unprivileged = false);
/// Relocated programs of the kernel's own program tests.
std::vector<Case> relocated_cases(const std::string& file);
/// Production objects with verdicts: the archive is unpacked into a temporary folder that goes with the process.
std::vector<Case> object_cases(const std::string& archive, const std::string& verdicts, const std::string& corpus_name);

/// Lines of an .xz file.
std::vector<std::string> lines_of_xz(const std::string& path);
std::vector<Insn> insns_from_hex(std::string_view hex);

/// What became of a list of cases.
struct Tally {
  u32 accepted = 0, rejected = 0;             ///< both agree
  u32 wrongly_accepted = 0;                   ///< the kernel rejects
  u32 wrongly_rejected = 0, unsupported = 0;  ///< the kernel accepts; `unsupported`: we say we cannot tell yet
  u32 errors = 0;
  u64 insns = 0, time_ns = 0, kernel_insns = 0, kernel_time_us = 0;  ///< over programs both accept
  std::vector<std::string> accepted_names;  ///< the wrongly accepted, with the kernel's message
  std::vector<std::string> rejected_names;  ///< the wrongly rejected, with our reason
  /// Instructions processed of each program that both accept.
  struct Count {
    std::string name;
    u64 ours = 0, kernels = 0;
    /// Whether the two differ by a tenth at most.
    bool is_near() const { return ours * 10 <= kernels * 11 && ours * 10 >= kernels * 9; }
  };
  std::vector<Count> counts;
  std::string text(std::string_view title) const;
};
Tally judge(const std::vector<Case>& cases, const verify::Options& options);

}  // namespace skep::corpus
