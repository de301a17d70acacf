// Every program of a folder of objects, judged by the running kernel and by our verifier in kernel rules.
//
// The folder is anyone's: a build tree, what a package brings, the kernel's own tests. Both sides are given the same
// program, opened and closed against this kernel by our loader, so a mistake of the loader is not seen here (objects
// that libbpf loads are compared to the byte elsewhere).
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "kernel/judge.hpp"

namespace skep::corpus {

/// One program and what was said of it.
struct Judged {
  std::string name;  ///< "OBJECT:PROGRAM"
  bool accepted = false;
  std::string refusal;  ///< "message_id @insn: reason", or why it could not be decided
  std::string log;      ///< where one program was asked for
  u64 insns = 0, time_ns = 0, state_bytes = 0;
  kernel::KernelVerdict kernel;
  std::optional<bool> expected;  ///< what the program's own annotations say: tests of the kernel have them

  bool is_judged() const { return kernel.is_judged(); }
  bool kernel_accepts() const { return kernel.is_accepted(); }
  bool is_counted() const { return accepted && kernel_accepts() && kernel.insns != 0; }
  bool is_near() const { return insns * 10 <= kernel.insns * 11 && insns * 10 >= kernel.insns * 9; }
};

struct FolderResult {
  std::vector<Judged> programs;
  std::vector<std::string> left_out;  ///< objects and programs that neither side was asked about, with the reason
  std::size_t objects = 0;
  std::optional<std::string> kernel_silent;  ///< why the kernel judged nothing
};

/// Objects in the places, folders with everything below them: files that are BPF objects, whatever their names are.
FolderResult judge_folder(const std::vector<std::string>& places, const std::string& only);

/// Differences by name, then the sums.
std::string folder_text(const FolderResult& result, bool with_counts);
/// The sums as one JSON object on one line.
std::string folder_json(const FolderResult& result);
/// A line for each program, columns separated by tabs.
std::string folder_rows(const FolderResult& result);

}  // namespace skep::corpus
