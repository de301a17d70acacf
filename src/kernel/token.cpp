// BPF_TOKEN_CREATE, and what its errors mean. See token.hpp.
#include "kernel/token.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "backend/names.hpp"
#include "base/mapped_file.hpp"
#include "base/split.hpp"
#include "kernel/access.hpp"
#include "kernel/pins.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

constexpr const char* default_path = "/sys/fs/bpf";
constexpr std::size_t most_mountinfo_bytes = 16u << 20;

bool is_empty(const Delegation& one) {
  return one.commands.empty() && one.maps.empty() && one.programs.empty() && one.attachments.empty();
}

/// Command names in mount options: the kernel's, without BPF_ and in small letters.
std::string option_name(uapi::Cmd command) {
  std::string name(name_of(command).substr(4));
  std::ranges::transform(name, name.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return name;
}

Error token_error(const std::string& path, int error_number) {
  const std::string place = fmt::format("BPF token of {}", path);
  const auto no = [&](Code code, std::string_view what) {
    return Error{code, fmt::format("{}: {}", place, what), error_number};
  };
  switch (error_number) {
    case ENOENT:
      return no(Code::not_found,
                "this bpffs delegates nothing; whoever mounts it for this user namespace adds delegate_cmds, "
                "delegate_maps, delegate_progs and delegate_attachs (the value any stands for all)");
    case EINVAL:
      return no(Code::unsupported,
                "this kernel has no tokens (they came with Linux 6.9), or this is not the root of a "
                "mounted bpffs");
    case EOPNOTSUPP:
      return no(Code::unsupported,
                "it is mounted in the first user namespace, where capabilities serve; tokens are for other namespaces");
    case EPERM:
    case EACCES:
      return no(Code::permission,
                capabilities().may_bpf()
                    ? "this bpffs belongs to another user namespace than this process: it must be opened (fsopen) in "
                      "the namespace that uses it, and configured by who has CAP_SYS_ADMIN in the first"
                    : "this process lacks CAP_BPF in its user namespace");
    default:
      return base::os_error(place, error_number);
  }
}

}  // namespace

std::vector<Delegation> delegations(std::string_view mountinfo) {
  std::vector<Delegation> found;
  for (const Mount& mount : mounts(mountinfo, "bpf")) {
    Delegation one;
    one.path = mount.point;
    for (const std::string& option : base::split(mount.options, ',')) {
      const auto equals = option.find('=');
      if (equals == std::string::npos) continue;
      const std::string_view key = std::string_view(option).substr(0, equals);
      auto values = base::split(std::string_view(option).substr(equals + 1), ':');
      if (key == "delegate_cmds") one.commands = std::move(values);
      if (key == "delegate_maps") one.maps = std::move(values);
      if (key == "delegate_progs") one.programs = std::move(values);
      if (key == "delegate_attachs") one.attachments = std::move(values);
    }
    if (!is_empty(one)) found.push_back(std::move(one));
  }
  return found;
}

Result<std::vector<Delegation>> delegations() {
  return delegations(SKEP_TRY(base::read_text("/proc/self/mountinfo", most_mountinfo_bytes)));
}

bool delegates(const std::vector<std::string>& list, std::string_view name, u32 number) {
  return std::ranges::any_of(list, [&](const std::string& one) {
    if (one == "any" || one == name) return true;
    if (!one.starts_with("0x")) return false;
    return number < 64 && (std::strtoull(one.c_str(), nullptr, 16) >> number & 1) != 0;
  });
}

Result<Token> Token::make(const std::filesystem::path& path) {
  const base::Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return tl::unexpected(base::os_error(fmt::format("BPF token of {}", path.native())));
  struct statfs system{};
  if (::fstatfs(directory.get(), &system) == 0 && system.f_type != bpffs_magic)
    return fail(Code::invalid_argument, fmt::format("BPF token of {}: no bpffs is mounted there", path.native()));
  uapi::TokenCreate attr{0, static_cast<u32>(directory.get())};
  const int fd = bpf(uapi::Cmd::token_create, attr);
  if (fd < 0) return tl::unexpected(token_error(path.native(), -fd));
  Token token;
  token.fd_ = base::Fd(fd);
  token.delegation_.path = path.native();
  std::error_code error;
  const auto real = std::filesystem::canonical(path, error);
  if (const auto known = delegations())
    for (const Delegation& one : *known)
      if (one.path == real) token.delegation_ = one;  // the last one mounted there is the one that is seen
  return token;
}

std::string Token::why_refused(uapi::Cmd command, std::optional<MapType> map, const ProgramSpec* program) const {
  if (is_empty(delegation_)) return {};  // not one of this process's mounts: what it delegates is not known
  const auto lacks = [&](std::string_view option, const std::vector<std::string>& list, std::string_view wanted) {
    return fmt::format("The token of {} does not delegate {} ({}={}); whoever mounts it can add that", delegation_.path,
                       wanted, option, fmt::join(list, ":"));
  };
  if (!delegates(delegation_.commands, option_name(command), static_cast<u32>(command)))
    return lacks("delegate_cmds", delegation_.commands, option_name(command));
  if (map && !delegates(delegation_.maps, name_of(*map), static_cast<u32>(*map)))
    return lacks("delegate_maps", delegation_.maps, fmt::format("maps of type {}", name_of(*map)));
  if (program == nullptr) return {};
  if (!delegates(delegation_.programs, name_of(program->type), static_cast<u32>(program->type)))
    return lacks("delegate_progs", delegation_.programs, fmt::format("programs of type {}", name_of(program->type)));
  const AttachType attach = program->attach.attach_type();
  const auto number = attach == AttachType::none ? 0 : static_cast<u32>(attach);  // 0 is what the kernel then sees
  const std::string_view name = number == 0 ? "cgroup_inet_ingress" : backend::attach_type_name(attach);
  if (!delegates(delegation_.attachments, name, number))
    return lacks("delegate_attachs", delegation_.attachments, fmt::format("attach type {} ({})", number, name));
  return {};
}

Error refused(uapi::Cmd command, std::string_view what, int error_number, const Token* token,
              std::optional<MapType> map, const ProgramSpec* program) {
  const std::string reason =
      error_number == EPERM && token != nullptr ? token->why_refused(command, map, program) : std::string();
  if (reason.empty())
    return bpf_error(command, what, error_number,
                     program != nullptr ? needed_by(program->type)
                     : map              ? needed_by(*map)
                                        : CapabilitySet());
  Error error = base::os_error(fmt::format("{}: {}", what, name_of(command)), error_number);
  error.message += ". " + reason;
  return error;
}

std::optional<TokenPath> token_path(const std::filesystem::path& asked) {
  if (!asked.empty()) return TokenPath{asked, true};
  if (const char* named = std::getenv("LIBBPF_BPF_TOKEN_PATH"); named != nullptr)
    return *named == 0 ? std::nullopt : std::optional(TokenPath{named, true});
  return TokenPath{default_path, false};
}

}  // namespace skep::kernel
