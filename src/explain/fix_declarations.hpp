// Changes of what a program declares: smaller buffers, another type of map, an end for a function.
#pragma once
#include <string_view>
#include <vector>

#include "explain/source.hpp"
#include "verify/diagnosis.hpp"

namespace skep::explain {

/// The largest local array of the functions that the diagnosis names, halved, then halved again.
std::vector<Source> smaller_buffers(const Source& source, const verify::Diagnosis& diagnosis, u32 line);

/// The map `name` declared as what the helper `call` works with.
std::vector<Source> other_map_type(const Source& source, std::string_view name, std::string_view call);

/// `give_up` ("return 0;") where the function `f` runs off its end.
std::vector<Source> ended_function(const Source& source, const Source::Function& f, std::string_view give_up);

}  // namespace skep::explain
