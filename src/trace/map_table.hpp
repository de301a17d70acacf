// Maps as tables, decoded by BTF: what `skep run` prints at the end or at an interval.
#pragma once
#include <functional>
#include <skep/backend.hpp>
#include <span>
#include <string>
#include <vector>

#include "trace/output.hpp"

namespace skep::trace {

/// A value of a stack trace map as lines, innermost first. `build_ids`: the map has BPF_F_STACK_BUILD_ID.
using NameStack = std::function<std::vector<std::string>(std::span<const std::byte> value, bool build_ids)>;

/// Every map that holds data for people: hashes, arrays, stack traces, global variables; empty ones in one line.
/// Rings, program arrays and read-only data are left out.
void print_maps(Object& object, const ObjectSpec& spec, const NameStack& name_stack, Output& output);

}  // namespace skep::trace
