// `skep gen object`: several BPF objects become one.
//
// Sections of the same name are put one behind the other; symbols find each other by name: a strong definition wins
// over weak ones, the first weak one over later ones, and an extern is whatever defines it. Where both sides have
// types, they must say the same. Types are merged (type_merge.hpp), sections of types rebuilt, and what .BTF.ext says
// of instructions moves with them. Debug information is left out. Source: the conventions of libbpf's linker
// (bpftool-gen(8)); System V ABI, chapter 4.
#pragma once
#include <skep/result.hpp>
#include <span>
#include <string>
#include <vector>

namespace skep::gen {

struct LinkInput {
  std::string name;  ///< for messages
  std::span<const std::byte> bytes;
};

/// The linked object. What stays undefined is left so, for a later link or the kernel (.ksyms, .kconfig).
/// Errors: malformed, unsupported, invalid_argument (no input); rejected: two definitions, different types or licences,
/// naming both files.
Result<std::vector<std::byte>> link_objects(std::span<const LinkInput> inputs);

}  // namespace skep::gen
