// One program with one mistake: the C text that is refused, the same with the mistake mended, and what is to be said.
//
// bugs/*.bug: lines `;! key value` (class, id, alternative, fix, rules, name), then C. A line that begins with '-' is
// in the refused program only, one with '+' in the mended one only. `//@refused` and `//@cause` mark the lines that the
// explanation must name; they are not part of the program.
#pragma once
#include <filesystem>
#include <set>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string>
#include <vector>

namespace skep::test {

struct Bug {
  std::string file;   ///< without directory and ".bug"
  std::string kind;   ///< `class`: one of the 15 common errors
  std::string title;  ///< `name`: what is wrong with it
  std::string first_id;
  std::set<std::string> ids;  ///< with those that say the same
  std::string fix;            ///< verify::Remedy
  bool kernel_rules = false;
  std::string refused, mended;           ///< C texts
  std::string both;                      ///< the file's own text, without marks
  u32 refused_line = 0, cause_line = 0;  ///< in `refused`; 0: not marked
};

Result<Bug> read_bug(const std::filesystem::path& path);
/// All of tests/explain/bugs, by name.
std::vector<Bug> read_bugs();

}  // namespace skep::test
