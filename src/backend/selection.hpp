// Which programs of an object a load means: those that were named, or those the file loads by itself, and of programs
// that do the same work through different hooks the one that fits.
//
// A kernel grows hooks and loses functions; an object that must serve many kernels brings a program for each way and
// says that they are one (SKEP_ONE_OF in skep/one_of.h, ProgramSpec::one_of). Both engines choose here, as the built-in
// tools do for their own.
#pragma once
#include <functional>
#include <optional>
#include <skep/backend.hpp>
#include <span>
#include <string>
#include <vector>

namespace skep::backend {

/// Whether an engine has the hook itself, or (false) a stand-in for it, which may tell less. Errors: neither, and why.
using HasHook = std::function<Result<bool>(const ProgramSpec&)>;

/// Of programs that do the same, the first whose hook is there, or else the first for which something stands in.
/// Nothing: none; then `tried` gets a line for each, saying why.
std::optional<std::size_t> first_that_fits(std::span<const ProgramSpec* const> programs, const HasHook& has_hook,
                                           std::string& tried);

struct Selection {
  std::vector<const ProgramSpec*> programs;  ///< of the object, in its order
  std::vector<std::string> notes;            ///< for people: which optional programs were left out, and why
};

/// With names: those. Without: all with autoload, and one of each group; not the members of struct_ops maps that are
/// made only when asked for. Errors: not_found for a name that no program has; unsupported where a group has no program
/// that fits, unless all of the group is in "?" sections.
Result<Selection> select_programs(const ObjectSpec& spec, const std::vector<std::string>& names,
                                  const HasHook& has_hook);

/// Takes out the maps that are made only when asked for, and were not (MapSpec::autocreate). Programs cannot refer to
/// them: they are struct_ops maps.
void drop_optional_maps(ObjectSpec& spec);

/// An object that is loaded to be tried out: its maps are its own, whatever their definitions say of pins by name. So
/// nothing stays behind, and nobody's pinned map is written.
ObjectSpec without_pins(ObjectSpec spec);

/// Whether a map belongs to every program of its object, also to those that do not refer to it: its constants, by which
/// a program says what it is (bpf_metadata_*).
bool belongs_to_all(const MapSpec& map) noexcept;

/// The program and all that it can come to by tail calls through program arrays that the file fills.
std::vector<std::string> with_tail_calls(const ObjectSpec& spec, const std::string& name);

/// `spec` with only these programs.
ObjectSpec only(const ObjectSpec& spec, const Selection& selection);

}  // namespace skep::backend
