// What a stack-trace map holds, as frames: the values behind the numbers that bpf_get_stackid() gives.
//
// A value is an array of addresses, innermost first, filled with zeros; with BPF_F_STACK_BUILD_ID an array of {status,
// build id, offset or address}. Whether a stack is of the kernel or of a process, and of which, the number does not
// say: the program knows. Source: kernel/bpf/stackmap.c; struct bpf_stack_build_id in include/uapi/linux/bpf.h.
#pragma once
#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "symbols/symbolizer.hpp"

namespace skep::symbols {

/// The addresses of a value, innermost first. Bytes behind the last whole address are left out.
std::vector<u64> stack_addresses(std::span<const std::byte> value);

/// The elements of a build-id stack, innermost first.
std::vector<BuildIdPlace> stack_build_ids(std::span<const std::byte> value);

/// A kernel stack, a stack of `pid`, a build-id stack (of `pid`, whose files are looked at, where it is not 0).
std::vector<Frame> kernel_stack(Symbolizer& symbolizer, std::span<const std::byte> value);
std::vector<Frame> user_stack(Symbolizer& symbolizer, u32 pid, std::span<const std::byte> value);
std::vector<Frame> build_id_stack(Symbolizer& symbolizer, u32 pid, std::span<const std::byte> value);

/// A name with the mark that flame graphs colour by: "_[k]" behind functions of the kernel, "_[i]" behind inlined ones.
std::string folded_text(const Frame& frame);

/// Stacks with how often each was seen, in the form that flame graphs are drawn from: "outermost;...;innermost count".
class FoldedStacks {
 public:
  /// `innermost_first`: as maps hold stacks. A name loses what the form gives a meaning (';' becomes ':', line ends
  /// become '_'); nothing else is changed. An empty stack counts as one without a name.
  void add(std::span<const std::string> innermost_first, u64 count);
  void add(std::span<const Frame> innermost_first, u64 count);

  /// By name, each stack once; a count that would overflow stays at its highest.
  const std::map<std::string, u64>& lines() const noexcept { return lines_; }
  /// All of them, one line each.
  std::string text() const;

  /// Reads what text() wrote, or what another tool did. Lines without a count are left out.
  static FoldedStacks parse(std::string_view text);

 private:
  void add_line(std::string line, u64 count);
  std::map<std::string, u64> lines_;
};

}  // namespace skep::symbols
