// One pass over the programs collects the alternatives of each stem, a second one takes the first that fits.
#include "kit/choice.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "backend/selection.hpp"

namespace skep::tools {
namespace {

bool is_wanted(const ProgramSpec& program, const Choice& choice) {
  const std::string_view name = program.name;
  if (is_follower(name)) return choice.follow_forks;
  if (name.starts_with("user_")) return !choice.in_kernel;
  if (name.starts_with("kernel_") || name.starts_with("maybe_")) return choice.in_kernel;
  return true;
}

bool is_left_out(std::string_view stem, const Choice& choice) {
  return std::find(choice.left_out.begin(), choice.left_out.end(), stem) != choice.left_out.end();
}

/// The alternatives of one stem, in the order of the file.
struct Stem {
  std::string_view name;
  bool optional = false;
  std::vector<const ProgramSpec*> programs;
};

std::vector<Stem> stems_of(ObjectSpec& spec, const Choice& choice) {
  std::vector<Stem> stems;
  for (ProgramSpec& program : spec.programs) {
    program.autoload = false;
    const std::string_view stem = stem_of(program.name);
    if (!is_wanted(program, choice) || is_left_out(stem, choice)) continue;
    auto found = std::find_if(stems.begin(), stems.end(), [&](const Stem& one) { return one.name == stem; });
    if (found == stems.end()) found = stems.insert(stems.end(), {stem, program.name.starts_with("maybe_"), {}});
    found->programs.push_back(&program);
  }
  return stems;
}

}  // namespace

std::string_view stem_of(std::string_view program) {
  for (const std::string_view engine : {"user_", "kernel_", "maybe_"})
    if (program.starts_with(engine)) {
      program.remove_prefix(engine.size());
      break;
    }
  return program.substr(0, program.find("__"));
}

Result<std::vector<std::string>> choose(ObjectSpec& spec, const Choice& choice) {
  std::vector<std::string> notes;
  std::string missing;
  for (const Stem& stem : stems_of(spec, choice)) {
    std::string tried;
    const auto has_hook = [&](const ProgramSpec& one) {
      return choice.in_kernel ? choice.has_hook(one) : Result<bool>(true);
    };
    if (const auto chosen = backend::first_that_fits(stem.programs, has_hook, tried))
      spec.program(stem.programs[*chosen]->name)->autoload = true;
    else if (stem.optional)
      notes.push_back(fmt::format("left out, because this kernel has no such hook:{}", tried));
    else
      missing += tried;
  }
  if (!missing.empty())
    return fail(Code::unsupported, fmt::format("this kernel has none of the hooks that are needed:{}", missing));
  return notes;
}

}  // namespace skep::tools
