// Descriptors of tasks as structures that programs read, as far as sockets go: files, inodes, sockets, socks.
//
// A task's table of descriptors is a range of shadow addresses without memory, 8 bytes for each descriptor. A program
// that reads one of them (`task->files->fdt->fd[n]`, by bpf_probe_read_kernel) gets the address of a file, made then
// from what /proc/PID/fd/N leads to. What a socket is connected to is asked of the socket itself when it is read, by a
// copy of the descriptor (pidfd_getfd(2), Linux 5.6) that is closed at once: the task stands in its system call
// meanwhile, so the answer is of that moment, however soon the task closes the socket afterwards.
//
// A file lives for one event; a few at a time.
#pragma once
#include <array>

#include "hook/shadow_layout.hpp"

namespace skep::hook {

class ShadowFiles {
 public:
  static constexpr u32 most_descriptors = 1u << 19;  ///< of a task: those behind are not seen
  static constexpr u64 table_bytes = u64{most_descriptors} * sizeof(shadow::Pointer);
  static constexpr u32 most_files = 16;

  /// All structures of one file.
  struct Block {
    shadow::file file;
    shadow::inode inode;
    struct shadow::socket socket;
    shadow::inet_sock sock;
  };

  /// `blocks`: memory for most_files; the shadow address of the first is `address`.
  ShadowFiles(Block* blocks, shadow::Pointer address) noexcept : blocks_(blocks), address_(address) {}

  /// A new event: what is known of descriptors is stale.
  void begin_event() noexcept { used_ = 0; }
  /// The address of the file behind a descriptor of a process; 0: none is open. `net`: its network namespace.
  shadow::Pointer file(u32 tgid, u32 descriptor, shadow::Pointer net) noexcept;
  /// Before `size` bytes at `offset` of the blocks are read.
  void fill(u64 offset, u32 size) noexcept;

 private:
  struct Facts {
    u32 tgid = 0, descriptor = 0;
    bool has_socket = false;  ///< it is one, and was not looked at yet
  };
  shadow::Pointer address_of(u32 index) const noexcept { return address_ + index * sizeof(Block); }

  Block* blocks_;
  shadow::Pointer address_;
  u32 used_ = 0;
  std::array<Facts, most_files> facts_{};
};

}  // namespace skep::hook
