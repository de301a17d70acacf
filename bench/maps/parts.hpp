// The parts of bench_maps, each a table of its own.
#pragma once
namespace skep::bench {

/// The same program in the user engine and in the kernel, interleaved; a plain table in C++ beside them.
void beside_the_kernel();
/// Look-ups and updates from one and from two threads; a producer and a reader on one ring.
void threads();

}  // namespace skep::bench
