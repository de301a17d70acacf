// The checks that map types share before anything is allocated: checks.cpp has the types whose values are bytes,
// checks_objects.cpp those whose values stand for objects.
#pragma once
#include "map/map.hpp"

namespace skep::map::checks {

inline constexpr u32 access_flags = flag::rdonly | flag::wronly | flag::rdonly_prog | flag::wronly_prog;
inline constexpr u32 host_access_flags = flag::rdonly | flag::wronly;

tl::unexpected<Error> invalid(std::string message);
tl::unexpected<Error> too_big(std::string message);
std::string hex(u64 number);

/// No flag but the permitted ones, and none that contradict each other.
Result<void> flags(const MapSpec& spec, u32 permitted);
Result<void> entries(const MapSpec& spec);
Result<void> key_size(const MapSpec& spec, u32 expected);
/// Either of two sizes.
Result<void> value_size(const MapSpec& spec, u32 expected, u32 or_else);
/// The rules of arrays of `unsigned int` keys.
Result<void> array(const MapSpec& spec);

/// Types whose values stand for objects: devices, sockets, cgroups, stacks, tasks, pages.
Result<void> objects(const MapSpec& spec);

}  // namespace skep::map::checks
