// See shadow_files.hpp. stat(2), statx(2), lstat(2) and readlink(2) through /proc.
#include "hook/shadow_files.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstring>

namespace skep::hook {
namespace {

constexpr u32 fmode_read = 1, fmode_write = 2, fmode_created = 0x100000;

u32 kernel_device(dev_t device) noexcept { return gnu_dev_major(device) << 20 | (gnu_dev_minor(device) & 0xfffff); }

/// Numbers of inodes are often alike in their lower bits.
u32 chain_of(u64 device, u64 inode) noexcept {
  constexpr u64 golden_ratio = 0x9e3779b97f4a7c15;
  return static_cast<u32>((inode ^ device * 31) * golden_ratio >> 52);
}

/// What the system knows of a file without asking: the file system may be served by a process that waits for us.
bool stat_known(const char* path, struct stat& found) noexcept {
  return ::fstatat(AT_FDCWD, path, &found, AT_STATX_DONT_SYNC) == 0;
}

/// The last part of what a link in /proc/PID/fd says; empty for what is no file of a directory.
std::string_view last_part(std::string_view path, bool is_deleted) noexcept {
  constexpr std::string_view deleted = " (deleted)", nameless = "anon_inode:";
  if (path.starts_with(nameless)) return path.substr(nameless.size());
  if (!path.starts_with('/')) return {};
  if (is_deleted && path.ends_with(deleted)) path.remove_suffix(deleted.size());
  const auto slash = path.rfind('/');
  return path.size() == 1 ? path : path.substr(slash + 1);
}

}  // namespace

ShadowFiles::ShadowFiles(Memory* memory, shadow::Pointer address)
    : memory_(memory), address_(address), heads_(chains, none), entries_(most_names) {}

// --- files behind descriptors ---

void ShadowFiles::fill_inode(shadow::inode& inode, struct shadow::super_block& super, shadow::Pointer at_super,
                             const struct stat& found) noexcept {
  super.s_dev = kernel_device(found.st_dev);
  inode = {.i_mode = static_cast<u16>(found.st_mode),
           .i_nlink = static_cast<u32>(found.st_nlink),
           .i_rdev = kernel_device(found.st_rdev),
           .i_ino = found.st_ino,
           .i_size = found.st_size,
           .i_sb = at_super};
}

shadow::Pointer ShadowFiles::file(u32 tgid, u32 descriptor, shadow::Pointer net) noexcept {
  const auto is_this = [&](const Facts& one) { return one.tgid == tgid && one.descriptor == descriptor; };
  for (u32 i = 0; i < most_files; ++i)
    if (looked_at_[i] == serial_ && is_this(facts_[i])) return address_of(i);
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%u/fd/%u", tgid, descriptor);
  struct stat found{};
  if (!stat_known(path, found)) return 0;
  const bool is_socket = S_ISSOCK(found.st_mode);
  u32 index = 0;
  bool is_known = false;
  for (u32 i = 0; i < most_files && !is_known; ++i) {
    // A socket is the same whoever holds it.
    is_known = looked_at_[i] != 0 && facts_[i].inode == found.st_ino && facts_[i].device == found.st_dev &&
               facts_[i].is_socket == is_socket && (is_socket || is_this(facts_[i]));
    if (is_known || looked_at_[i] < looked_at_[index]) index = i;
  }
  Facts& facts = facts_[index];
  Block& made = memory_->files[index];
  const shadow::Pointer at = address_of(index);
  if (!is_known) {
    facts = {.device = found.st_dev, .inode = found.st_ino, .is_socket = is_socket, .target = {}};
    made = Block{};
    made.file.f_inode = at + offsetof(Block, inode);
    if (is_socket) {
      made.file.private_data = at + offsetof(Block, socket);
      made.socket.sk = at + offsetof(Block, sock);
    }
  }
  facts.tgid = tgid;
  facts.descriptor = descriptor;
  looked_at_[index] = serial_;
  fill_inode(made.inode, made.super, at + offsetof(Block, super), found);
  if (is_socket) made.sock.sk.__sk_common.skc_net.net = net;
  return at;
}

shadow::Pointer ShadowFiles::sock(shadow::Pointer file) const noexcept {
  return file != 0 && facts_[index_of(file)].is_socket ? file + offsetof(Block, sock) : 0;
}

shadow::Pointer ShadowFiles::socket(shadow::Pointer file) const noexcept {
  return file != 0 && facts_[index_of(file)].is_socket ? file + offsetof(Block, socket) : 0;
}

shadow::Pointer ShadowFiles::path(shadow::Pointer file) const noexcept {
  return file != 0 ? file + offsetof(Block, file) + offsetof(shadow::file, f_path) : 0;
}

shadow::inet_sock& ShadowFiles::ask(shadow::Pointer file) noexcept {
  const u32 index = index_of(file);
  Facts& facts = facts_[index];
  if (facts.is_socket && facts.asked != serial_) {
    facts.asked = serial_;
    ask_socket(memory_->files[index].sock, facts.tgid, facts.descriptor, facts.inode, facts.target);
  }
  return memory_->files[index].sock;
}

/// How a file was opened shows in the permissions of its link.
void ShadowFiles::fill_modes(u32 index) noexcept {
  Facts& facts = facts_[index];
  if (facts.asked == serial_) return;
  facts.asked = serial_;
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%u/fd/%u", facts.tgid, facts.descriptor);
  struct stat link{};
  if (::lstat(path, &link) != 0) return;
  u32& mode = memory_->files[index].file.f_mode;
  mode = facts.created ? fmode_created : 0;
  if ((link.st_mode & S_IRUSR) != 0) mode |= fmode_read;
  if ((link.st_mode & S_IWUSR) != 0) mode |= fmode_write;
}

void ShadowFiles::fill(u64 offset, u32 size) noexcept {
  const u64 index = offset / sizeof(Block), begin = offset % sizeof(Block);
  if (index >= most_files || looked_at_[index] == 0) return;
  const auto touches = [&](u64 first, u64 bytes) { return begin < first + bytes && first < begin + size; };
  const u32 file = static_cast<u32>(index);
  if (facts_[index].is_socket) {
    if (touches(offsetof(Block, sock), sizeof(Block::sock))) ask(address_of(file));
    return;
  }
  if (touches(offsetof(shadow::file, f_mode), sizeof(shadow::file::f_mode))) fill_modes(file);
  if (touches(offsetof(shadow::file, f_path), sizeof(shadow::file::f_path))) name_of(address_of(file));
}

// --- names ---

shadow::Pointer ShadowFiles::name_of(shadow::Pointer file) noexcept {
  const u32 index = index_of(file);
  Facts& facts = facts_[index];
  shadow::Pointer& dentry = memory_->files[index].file.f_path.dentry;
  if (facts.is_socket || facts.named == serial_) return dentry;
  facts.named = serial_;
  char path[64], target[4096];
  std::snprintf(path, sizeof path, "/proc/%u/fd/%u", facts.tgid, facts.descriptor);
  struct stat found{};
  const ssize_t length = ::readlink(path, target, sizeof target);
  if (length < 0 || !stat_known(path, found) || found.st_ino != facts.inode || found.st_dev != facts.device)
    return dentry;
  return dentry = name(found, last_part({target, static_cast<std::size_t>(length)}, found.st_nlink == 0));
}

/// Names of one file are told apart; a file that has one name only, and is met under another, was renamed.
u32 ShadowFiles::entry_of_name(const struct stat& found, std::string_view name) noexcept {
  const u64 device = found.st_dev, inode = found.st_ino;
  u32& head = heads_[chain_of(device, inode)];
  u32 renamed = none;
  for (u32 at = head; at != none; at = entries_[at].next) {
    if (entries_[at].inode != inode || entries_[at].device != device) continue;
    const Named& one = memory_->names[at];
    if (std::string_view(one.name, one.dentry.d_name.len) == name) return at;
    renamed = at;
  }
  if (renamed != none && found.st_nlink <= 1) return renamed;
  const u32 made = newest_++ % most_names;
  if (Entry& oldest = entries_[made]; oldest.inode != 0) {
    u32* link = &heads_[chain_of(oldest.device, oldest.inode)];
    while (*link != made && *link != none) link = &entries_[*link].next;
    if (*link == made) *link = oldest.next;
  }
  entries_[made] = {device, inode, head};
  return head = made;
}

shadow::Pointer ShadowFiles::name(const struct stat& found, std::string_view name) noexcept {
  name = name.substr(0, sizeof(Named::name) - 1);
  const u32 index = entry_of_name(found, name);
  Named& made = memory_->names[index];
  const shadow::Pointer at = address_ + offsetof(Memory, names) + index * sizeof(Named);
  std::memset(made.name, 0, sizeof made.name);
  std::memcpy(made.name, name.data(), name.size());
  made.dentry = {.d_name = {.hash = 0, .len = static_cast<u32>(name.size()), .name = at + offsetof(Named, name)},
                 .d_inode = at + offsetof(Named, inode)};
  fill_inode(made.inode, made.super, at + offsetof(Named, super), found);
  return at;
}

shadow::Pointer ShadowFiles::address(const sockaddr_storage& given) noexcept {
  memory_->address = given;
  return address_ + offsetof(Memory, address);
}

}  // namespace skep::hook
