// `skep gen skeleton` and `subskeleton`: an object, or a part of one, as a C++ header.
#pragma once
#include <skep/spec.hpp>
#include <string>

namespace skep::gen {

struct SkeletonOptions {
  std::string name;    ///< of the class: an identifier; empty: from the file's name
  std::string source;  ///< what the first line says it was made from
  bool part = false;   ///< a subskeleton: no bytes of the object, and each variable by itself
};

/// The header for an object with these bytes, of which `spec` is the reading. The class is in no namespace, includes
/// <skep/skeleton.hpp> only, and compiles without warnings.
/// Errors: invalid_argument (a name that is none), unsupported (a program whose section names no hook).
Result<std::string> skeleton(std::span<const std::byte> object, const ObjectSpec& spec, const SkeletonOptions& options);

/// The class name for a file: "count_execs" for "/some/where/count-execs.bpf.o".
std::string class_name(std::string_view file);

}  // namespace skep::gen
