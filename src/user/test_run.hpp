// Running a program once, on a given packet or context, attached to nothing.
//
// The user engine's equal of BPF_PROG_TEST_RUN, with the kernel's rules, so that the same input gives the same
// answer on both engines: a packet has at least an Ethernet header, XDP has 256 bytes of headroom, socket filters
// see the packet from its network header on. Programs of sockets and control groups are given the context's numbers;
// its data are the packet's bytes, and its socket is one whose fields are all zero. (The kernel runs few of them by
// hand.) Source: net/bpf/test_run.c (Linux 6.18).
#pragma once
#include <skep/inspect.hpp>
#include <skep/result.hpp>

#include "helper/call.hpp"
#include "vm/checked_program.hpp"
#include "vm/function.hpp"

namespace skep::user {

inline constexpr u32 max_test_packet_bytes = 1u << 20;
inline constexpr u32 max_test_context_bytes = 64u << 10;

/// A run in which every access is checked first: in the checked interpreter (vm::Function::run_checked), or in machine
/// code.
struct Checks {
  vm::MemoryGuard* memory =
      nullptr;                ///< what the program may touch besides its stack, context and packet; null: nothing
  u64 max_insns = 1'000'000;  ///< of each repetition
  /// Not null: machine code with checks (vm::run_checked_code), which may touch these too.
  const std::vector<vm::MemoryRegion>* regions = nullptr;
};

/// Runs `function`. `trace` may be null. Errors: invalid_argument (input that the program type does not take),
/// unsupported (a program type that cannot be run by hand); with `checks` those of vm::Function::run_checked.
Result<TestRunResult> test_run(const vm::Function& function, const TestRun& run, helper::TraceSink* trace,
                               const Checks* checks = nullptr);

}  // namespace skep::user
