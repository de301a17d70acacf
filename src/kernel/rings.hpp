// The three ways events leave the kernel, BPF ring buffers, per-CPU perf buffers and the trace pipe, and the one way
// in, user ring buffers.
//
// Each becomes a RingReader, or a RingWriter. What lies in the mapped memory was put there by a BPF program and by
// whoever else may hold the map, so every length and position read from it is checked against the ring's own size
// before it is used.
#pragma once
#include <skep/backend.hpp>

#include "kernel/tracefs.hpp"

namespace skep::kernel {

/// A BPF_MAP_TYPE_RINGBUF (since 5.8): one ring for all CPUs. The reader keeps its own descriptor.
Result<RingReader> open_ring_buffer(int map_fd, const MapInfo& info);
/// The same, and takes nothing: records stay for their reader. What it takes meanwhile is not seen; a record is copied
/// before it is handed out, so that a program cannot write over it.
Result<RingReader> peek_ring_buffer(int map_fd, const MapInfo& info);

/// The host's end of a BPF_MAP_TYPE_USER_RINGBUF (since 6.1). The writer keeps its own descriptor.
Result<RingWriter> open_user_ring(int map_fd, const MapInfo& info);

/// A BPF_MAP_TYPE_PERF_EVENT_ARRAY: a software event and a ring for every CPU that is online, put into the map.
/// Opening a second reader on the same map takes the events away from the first.
/// Records carry up to 7 bytes of padding behind what the program sent: the kernel rounds sizes up to 8.
Result<RingReader> open_perf_buffer(int map_fd, const MapInfo& info, u32 pages_per_cpu = 64);

/// trace_printk lines. The pipe is one for the whole machine: lines of other programs appear too, and a line that
/// one reader has taken is gone for every other reader.
Result<RingReader> open_kernel_trace_pipe(const Tracefs& tracefs);

}  // namespace skep::kernel
