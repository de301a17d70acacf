// The parts of bench_maps, each a table of its own.
#pragma once
#include <string_view>
namespace skep::bench {

/// The same program in the user engine and in the kernel, interleaved; a plain table in C++ beside them.
/// Only the cases whose name contains `only`.
void beside_the_kernel(std::string_view only);
/// Look-ups and updates from one and from two threads; a producer and a reader on one ring.
void threads();

}  // namespace skep::bench
