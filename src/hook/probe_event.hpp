// Functions of traced programs that are probed, and what happens there.
#pragma once
#include <array>
#include <skep/types.hpp>
#include <string>

namespace skep::hook {

/// A place in a file, for every process of the tree that maps it as code.
struct ProbeSite {
  std::string path;  ///< for messages and for file systems whose device numbers differ from those of maps
  u64 device = 0, inode = 0;
  u64 file_offset = 0;
  u64 semaphore_offset = 0;    ///< in the file: a counter of 16 bits that must not be 0 for the place to be reached
  std::array<u8, 16> bytes{};  ///< what the file has there
  bool entry = false, at_return = false;  ///< which hits programs want
  bool begins_function = false;           ///< the place is a function's first instruction

  bool same_place(const ProbeSite& other) const noexcept {
    return device == other.device && inode == other.inode && file_offset == other.file_offset;
  }
};

/// A hit. The registers are the event's.
struct ProbeHit {
  u32 site = 0;  ///< index into SyscallInterest::probes
  bool at_return = false;
  bool begins_function = false;  ///< the function's first instruction is next
  u64 function = 0;              ///< its address in this process
};

}  // namespace skep::hook
