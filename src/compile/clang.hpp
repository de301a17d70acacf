// Which clang: the newest installed, 14 or later, found without starting it where the cache remembers it.
#pragma once
#include <filesystem>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string>

#include "compile/cache.hpp"

namespace skep::compile {

struct Clang {
  std::string path;
  std::string version;   ///< "19.1.7"
  std::string identity;  ///< path, inode, size and time of change: a new compiler gives new objects
  std::string target;    ///< "bpf" in the host's byte order
};

/// $SKEP_CLANG if set, else the newest of clang-NN in PATH, else `clang`.
/// Errors: not_found with the package to install; unsupported for a clang before 14.
Result<Clang> find_clang(const Cache& cache);

/// The number in what `clang --version` printed ("Debian clang version 14.0.6"), or "".
std::string version_in(std::string_view text);

}  // namespace skep::compile
