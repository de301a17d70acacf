// What the verbs of `skep prog` share, and where they are.
#pragma once
#include <skep/backend.hpp>

#include "arguments.hpp"
#include "inspect/objects.hpp"

namespace skep::tools {

/// A program that a command line names.
struct NamedProgram {
  inspect::World world;
  ProgramInfo info;
  Inspector* where = nullptr;
  bool in_kernel() const { return info.host_pid == 0; }
};

Result<NamedProgram> find_program(Words& words);
/// "name 7 (id 7)" or "id 7".
std::string describe(const ProgramInfo& info);
/// Errors: unsupported, for programs of a user host: `what` is the kernel's.
Result<void> need_kernel(const NamedProgram& program, std::string_view what);
/// A whole number, at least 1. Errors name `what`.
Result<u64> count_of(const std::string& text, std::string_view what);
/// Ctrl-C and its kind set what this returns.
const volatile bool& stop_on_signals();

Result<int> prog_load(Words& words, bool all);
Result<int> prog_pin(Words& words);
Result<int> prog_attach(Words& words, bool attach);
Result<int> prog_run(Words& words);
Result<int> prog_tracelog(Words& words);
Result<int> prog_profile(Words& words);
Result<int> profile_lines(Words& words);
Result<int> prog_top(Words& words);
Result<int> prog_why(Words& words);
Result<int> prog_visual(Words& words);

}  // namespace skep::tools
