// What the kernel's headers would have given a BCC source, made of the running kernel's BTF and kernel_names.def.
#pragma once
#include <filesystem>
#include <skep/result.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skep::compile {

/// A source and the headers of its own that it includes with quotes, as far as they are found.
struct SourceTree {
  std::vector<std::string> texts;         ///< comments and strings blanked; the source first
  std::vector<std::string> kernel_paths;  ///< "linux/sched.h": included, and the kernel's to give
};

/// Reads the source's own headers: beside it, then in each -I of `cflags`.
SourceTree read_source_tree(std::string_view source, const std::filesystem::path& directory,
                            std::span<const std::string> cflags);

/// The text that stands for all of `tree.kernel_paths`. Errors: those of reading BTF.
Result<std::string> kernel_header(const SourceTree& tree);

/// Writes an empty file for each of `tree.kernel_paths`, so that the #include lines find one.
Result<void> write_stubs(const SourceTree& tree, const std::filesystem::path& directory);

}  // namespace skep::compile
