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

/// "outermost;...;innermost", the form that flame graphs are drawn from, of a stack as maps hold it. A name loses what
/// the form gives a meaning (';' becomes ':', line ends become '_'); nothing else is changed.
std::string folded(std::span<const std::string> innermost_first);

/// Folded stacks with how often each was seen.
class FoldedStacks {
 public:
  /// An empty stack counts as one without a name.
  void add(std::string folded_stack, u64 count);
  /// By name, each stack once; a count that would overflow stays at its highest.
  const std::map<std::string, u64>& lines() const noexcept { return lines_; }

 private:
  std::map<std::string, u64> lines_;
};

}  // namespace skep::symbols
