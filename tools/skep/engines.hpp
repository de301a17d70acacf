// What test and bench, which run a program in one engine or all of them, say of an engine in the same way.
#pragma once
#include <fmt/format.h>

#include <skep/result.hpp>
#include <string_view>

namespace skep::tools {

/// invalid_argument where --btf is given and the kernel is not one of the engines that `engine` names.
inline Result<void> takes_kernel_types(std::string_view engine) {
  if (engine == "kernel" || engine == "all") return {};
  return fail(Code::invalid_argument,
              fmt::format("--btf: the types of a kernel are of use in the kernel engine only, not in {}", engine));
}

}  // namespace skep::tools
