// Which programs of a tool's object are loaded: the rules of tool.bpf.h, applied to this engine.
#pragma once
#include <functional>
#include <skep/spec.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skep::tools {

struct Choice {
  bool in_kernel = true;
  bool follow_forks = false;
  std::vector<std::string> left_out;  ///< stems that the tool's options do not need
  /// Whether the kernel has the program's hook itself, or (false) a stand-in for it. Errors: neither, and why.
  std::function<Result<bool>(const ProgramSpec&)> has_hook;
};

/// Whether the program is one that follows a command's forks and execs (tool.bpf.h): not what a person asked for.
inline bool is_follower(std::string_view program) { return program.starts_with("follow_"); }

/// The stem of a program's name: without its engine and its variant. "kernel_switch__fentry" -> "switch".
std::string_view stem_of(std::string_view program);

/// Sets ProgramSpec::autoload of all: of each stem the first program whose hook is there, or else the first for which
/// something stands in. Returns lines for people: what was left out. Errors: unsupported where a stem has
/// no program that fits, naming each hook that was tried and why it is not there.
Result<std::vector<std::string>> choose(ObjectSpec& spec, const Choice& choice);

}  // namespace skep::tools
