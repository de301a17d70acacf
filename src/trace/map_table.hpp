// Maps as tables, decoded by BTF: what `skep run` prints at the end or at an interval.
#pragma once
#include <skep/backend.hpp>

#include "trace/output.hpp"

namespace skep::trace {

/// Every map that holds data for people: hashes, arrays, global variables; empty ones in one line.
/// Rings, program arrays and read-only data are left out.
void print_maps(Object& object, const ObjectSpec& spec, Output& output);

}  // namespace skep::trace
