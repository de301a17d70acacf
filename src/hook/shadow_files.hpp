// Files as structures that programs read: those behind descriptors of tasks (files, inodes, sockets, socks), and names
// of files (dentries).
//
// A task's table of descriptors is a range of shadow addresses without memory, 8 bytes for each descriptor. A program
// that reads one of them (`task->files->fdt->fd[n]`, by bpf_probe_read_kernel) gets the address of a file, made then
// from what /proc/PID/fd/N leads to. What a socket is connected to is asked of the socket itself when it is read
// (socket_facts.hpp): the task stands in its system call meanwhile, so the answer is of that moment, however soon the
// task closes the socket afterwards.
//
// An address means the same file as long as it is kept: programs note a pointer at one event and look it up, or read
// it, at another. The least recently used file makes room, and so does the oldest name. What is read is of the event in
// which it is read; of a socket that is closed by then, what was read last.
#pragma once
#include <sys/stat.h>

#include <array>
#include <string_view>
#include <vector>

#include "hook/shadow_layout.hpp"
#include "hook/socket_facts.hpp"
#include "hook/socket_holders.hpp"

namespace skep::hook {

class ShadowFiles {
 public:
  static constexpr u32 most_descriptors = 1u << 19;  ///< of a task: those behind are not seen
  static constexpr u64 table_bytes = u64{most_descriptors} * sizeof(shadow::Pointer);
  static constexpr u32 most_files = 512, most_names = 16384;

  /// All structures of one file.
  struct Block {
    shadow::file file;
    shadow::inode inode;
    struct shadow::super_block super;
    struct shadow::socket socket;
    shadow::inet_sock sock;
  };
  struct Named {
    struct shadow::dentry dentry;
    shadow::inode inode;
    struct shadow::super_block super;
    char name[256];
  };
  struct Memory {
    Block files[most_files];
    sockaddr_storage address;
    Named names[most_names];
  };

  /// `memory` is zeroed; its shadow address is `address`.
  ShadowFiles(Memory* memory, shadow::Pointer address);

  /// A new event: what is known of descriptors is stale.
  void begin_event() noexcept { ++serial_; }
  /// The address of the file behind a descriptor of a process; 0: none is open. `net`: its network namespace.
  shadow::Pointer file(u32 tgid, u32 descriptor, shadow::Pointer net) noexcept;
  /// Before `size` bytes at `offset` of the memory are read.
  void fill(u64 offset, u32 size) noexcept;

  /// A file by its address, filled but for what fill() does.
  const Block& at(shadow::Pointer file) const noexcept { return memory_->files[index_of(file)]; }
  shadow::Pointer sock(shadow::Pointer file) const noexcept;    ///< 0: it is no socket
  shadow::Pointer socket(shadow::Pointer file) const noexcept;  ///< the same
  shadow::Pointer path(shadow::Pointer file) const noexcept;
  /// The sock of a socket as it is now.
  shadow::inet_sock& ask(shadow::Pointer file) noexcept;
  u64 inode_of(shadow::Pointer file) const noexcept { return facts_[index_of(file)].inode; }
  /// The dentry of a file that has a name; 0 for others.
  shadow::Pointer name_of(shadow::Pointer file) noexcept;
  /// The dentry of a file as it is found under this name.
  shadow::Pointer name(const struct stat& found, std::string_view name) noexcept;
  /// Its inode.
  static shadow::Pointer inode_of_name(shadow::Pointer dentry) noexcept { return dentry + offsetof(Named, inode); }
  /// A copy of an address that a call was given, for one event.
  shadow::Pointer address(const sockaddr_storage& given) noexcept;

  // What calls say of files.
  void set_created(shadow::Pointer file, bool created) noexcept {
    Facts& facts = facts_[index_of(file)];
    facts.created = created;
    facts.asked = 0;
  }
  void set_target(shadow::Pointer file, const SocketTarget& target) noexcept { facts_[index_of(file)].target = target; }
  const SocketTarget& target(shadow::Pointer file) const noexcept { return facts_[index_of(file)].target; }
  /// A socket that is to be connected, and was not when it was looked at last.
  void set_pending(shadow::Pointer file, bool pending) noexcept { facts_[index_of(file)].pending = pending; }
  bool is_pending(shadow::Pointer file) const noexcept { return facts_[index_of(file)].pending; }
  SocketHolders& holders() noexcept { return holders_; }

 private:
  struct Facts {
    u64 device = 0, inode = 0;
    u32 tgid = 0, descriptor = 0;
    u64 asked = 0;  ///< the event in which the socket was asked, or what /proc says of a file was read
    u64 named = 0;  ///< the event in which the name was read
    bool is_socket = false, created = false, pending = false;
    SocketTarget target;
  };
  shadow::Pointer address_of(u32 index) const noexcept { return address_ + index * sizeof(Block); }
  u32 index_of(shadow::Pointer file) const noexcept {
    return static_cast<u32>((file - address_) / sizeof(Block)) % most_files;
  }
  static void fill_inode(shadow::inode& inode, struct shadow::super_block& super, shadow::Pointer at_super,
                         const struct stat& found) noexcept;
  void fill_modes(u32 index) noexcept;
  u32 entry_of_name(const struct stat& found, std::string_view name) noexcept;

  Memory* memory_;
  shadow::Pointer address_;
  u64 serial_ = 1;
  std::array<Facts, most_files> facts_{};
  std::array<u64, most_files> looked_at_{};  ///< the event in which it was found behind the descriptor; 0: never
  // Names by device and inode: heads of chains, by their hash.
  struct Entry {
    u64 device = 0, inode = 0;
    u32 next = none;
  };
  static constexpr u32 none = ~0u, chains = 1u << 12;
  std::vector<u32> heads_;
  std::vector<Entry> entries_;
  u32 newest_ = 0;
  SocketHolders holders_;
};

}  // namespace skep::hook
