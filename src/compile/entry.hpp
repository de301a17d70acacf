// One compiled object in the cache, together with the files it was made from.
#pragma once
#include <optional>
#include <skep/types.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skep::compile {

/// A header that went into an object, and how it looked then.
struct Dependency {
  std::string path;    ///< absolute
  std::string stamp;   ///< device, inode, size, times; "" when it changed so recently that these prove nothing
  std::string digest;  ///< of its content
};

struct Entry {
  std::vector<Dependency> dependencies;
  std::string warnings;
  std::string object;
};

/// How a file looks now. Errors (it is gone, unreadable): nullopt.
std::optional<Dependency> depend_on(const std::string& path);

/// Whether every header still has the content it had.
bool still_valid(const Entry& entry);

/// The files named in a make rule, as clang's -MD writes it; the rule's own target is left out.
std::vector<std::string> parse_depfile(std::string_view text);

std::string write_entry(const Entry& entry);
/// nullopt for anything that write_entry() did not write.
std::optional<Entry> read_entry(std::string_view bytes);

}  // namespace skep::compile
