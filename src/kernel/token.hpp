// BPF tokens: the right to load programs and make maps, lent to a user namespace (Linux 6.9).
//
// Whoever has the capabilities mounts a bpffs for a user namespace with delegate_cmds=, delegate_maps=, delegate_progs=
// and delegate_attachs=. A process of that namespace, with CAP_BPF in it, makes a token of that mount and shows it with
// BPF_MAP_CREATE, BPF_PROG_LOAD and BPF_BTF_LOAD. The kernel then looks for capabilities in the namespace instead of in
// the first one. A token that does not delegate what is asked for is passed over in silence, and EPERM follows; so what
// it delegates is read from the mount, to say what is missing. Source: kernel/bpf/token.c, kernel/bpf/inode.c (mount
// options); libbpf's bpf_token_path.
#pragma once
#include <filesystem>
#include <optional>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "kernel/uapi.hpp"

namespace skep::kernel {

/// A bpffs that delegates something: its mount options, by name ("map_create"), "any", or a number in hex with a bit
/// for each that the kernel had no name for.
struct Delegation {
  std::string path;
  std::vector<std::string> commands, maps, programs, attachments;
};
/// Those in a text in the form of /proc/self/mountinfo, in its order.
std::vector<Delegation> delegations(std::string_view mountinfo);
/// Of this process's mounts. Errors: io.
Result<std::vector<Delegation>> delegations();
/// Whether a list has a thing of that name and number.
bool delegates(const std::vector<std::string>& list, std::string_view name, u32 number);

class Token {
 public:
  /// Of the bpffs mounted at `path`. Errors: not_found (no such directory, or the mount delegates nothing), unsupported
  /// (kernels before 6.9), invalid_argument (no bpffs), permission (another user namespace's, or CAP_BPF is missing).
  static Result<Token> make(const std::filesystem::path& path);

  int fd() const noexcept { return fd_.get(); }
  /// Why a command was refused with EPERM although this token was shown, as one sentence; "" where it delegates all
  /// that the command takes.
  std::string why_refused(uapi::Cmd command, std::optional<MapType> map = {},
                          const ProgramSpec* program = nullptr) const;

 private:
  base::Fd fd_;
  Delegation delegation_;
};

/// bpf_error() of a command that a token (or nullptr) was shown to.
Error refused(uapi::Cmd command, std::string_view what, int error_number, const Token* token,
              std::optional<MapType> map = {}, const ProgramSpec* program = nullptr);

/// Which bpffs a process's token is made of: `asked`, else the variable LIBBPF_BPF_TOKEN_PATH, else libbpf's default,
/// /sys/fs/bpf. nullopt: the variable is there and empty, so none is wanted.
struct TokenPath {
  std::filesystem::path path;
  bool is_asked_for = false;  ///< by name: a failure is an error, not a reason to do without
};
std::optional<TokenPath> token_path(const std::filesystem::path& asked);

/// The token's part of a command's structure.
inline void show_token(const Token* token, u32& flags, s32& field) noexcept {
  if (token == nullptr) return;
  flags |= uapi::flag_token;
  field = token->fd();
}

}  // namespace skep::kernel
