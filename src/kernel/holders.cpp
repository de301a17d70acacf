// Walking /proc/PID/fd. A descriptor's link says what kind it is, so only the few of bpf(2) and perf are asked further.
#include "kernel/holders.hpp"

#include <dirent.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "base/mapped_file.hpp"
#include "kernel/links.hpp"
#include "kernel/open.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

/// Calls `each(number)` for the entries of a directory whose names are numbers.
template <class Each>
void each_number(const std::string& path, Each each) {
  const Directory directory(::opendir(path.c_str()), ::closedir);
  if (directory == nullptr) return;
  while (const dirent* entry = ::readdir(directory.get())) {
    int number = 0;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    const auto [stop, error] = std::from_chars(entry->d_name, end, number);
    if (error == std::errc() && stop == end) each(number);
  }
}

std::string comm_of(int pid) {
  auto text = base::read_text(fmt::format("/proc/{}/comm", pid), 64).value_or("?");
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string command_line_of(int pid) {
  auto text = base::read_text(fmt::format("/proc/{}/cmdline", pid), 1u << 16).value_or("");
  while (!text.empty() && text.back() == '\0') text.pop_back();
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return text;
}

std::string link_text(int pid, int fd) {
  char text[128];
  const auto size = ::readlink(fmt::format("/proc/{}/fd/{}", pid, fd).c_str(), text, sizeof text);
  return size < 0 ? std::string() : std::string(text, static_cast<std::size_t>(size));
}

/// The number behind "\nKEY:\t" of /proc/PID/fdinfo/FD, or 0.
u32 fdinfo_id(const std::string& text, std::string_view key) {
  const auto at = text.find(fmt::format("\n{}:", key));
  if (at == std::string::npos) return 0;
  const auto begin = text.find_first_not_of(" \t", at + key.size() + 2);
  u32 id = 0;
  if (begin != std::string::npos) std::from_chars(text.data() + begin, text.data() + text.size(), id);
  return id;
}

/// Links of many user probes, of which BPF_TASK_FD_QUERY does not tell: each place as the event that it stands for.
void add_user_probes(std::vector<PerfUser>& users, int pid, int fd) {
  const auto text = base::read_text(fmt::format("/proc/{}/fdinfo/{}", pid, fd), 1u << 16);
  const u32 id = text ? fdinfo_id(*text, "link_id") : 0;
  if (id == 0) return;
  const auto link = open_by_id(uapi::Cmd::link_get_fd_by_id, id, "link");
  if (!link) return;
  const auto probes = user_probe_link(link->get());
  if (!probes) return;
  for (const UserProbeLink::Place& place : probes->places)
    users.push_back({.pid = pid,
                     .fd = fd,
                     .comm = comm_of(pid),
                     .program_id = probes->program_id,
                     .fd_type = probes->at_return ? "uretprobe" : "uprobe",
                     .name = probes->path,
                     .offset = place.offset});
}

}  // namespace

std::vector<Holder> find_holders() {
  struct Kind {
    std::string_view link, key;
    Holder::Kind kind;
  };
  constexpr Kind kinds[] = {{"anon_inode:bpf-prog", "prog_id", Holder::Kind::program},
                            {"anon_inode:bpf-map", "map_id", Holder::Kind::map},
                            {"anon_inode:bpf_link", "link_id", Holder::Kind::link},
                            {"anon_inode:bpf-link", "link_id", Holder::Kind::link},
                            {"anon_inode:btf", "btf_id", Holder::Kind::types}};
  std::vector<Holder> holders;
  each_number("/proc", [&](int pid) {
    std::string comm, command_line;
    each_number(fmt::format("/proc/{}/fd", pid), [&](int fd) {
      const std::string link = link_text(pid, fd);
      for (const Kind& kind : kinds) {
        if (link != kind.link) continue;
        const auto text = base::read_text(fmt::format("/proc/{}/fdinfo/{}", pid, fd), 1u << 16);
        const u32 id = text ? fdinfo_id(*text, kind.key) : 0;
        if (id == 0) continue;
        if (comm.empty()) comm = comm_of(pid), command_line = command_line_of(pid);
        holders.push_back({pid, fd, comm, command_line, kind.kind, id});
      }
    });
  });
  return holders;
}

Result<std::vector<PerfUser>> find_perf_users() {
  constexpr std::string_view types[] = {"raw_tracepoint", "tracepoint", "kprobe", "kretprobe", "uprobe", "uretprobe"};
  std::vector<PerfUser> users;
  std::optional<Error> refused;
  each_number("/proc", [&](int pid) {
    each_number(fmt::format("/proc/{}/fd", pid), [&](int fd) {
      const std::string link = link_text(pid, fd);
      const bool is_bpf_link = link == "anon_inode:bpf_link" || link == "anon_inode:bpf-link";
      if (link != "anon_inode:[perf_event]" && !is_bpf_link) return;
      char name[4096] = {};
      uapi::TaskFdQuery attr;
      attr.pid = static_cast<u32>(pid);
      attr.fd = static_cast<u32>(fd);
      attr.buf = address_of(name);
      attr.buf_len = sizeof name;
      const int status = bpf(uapi::Cmd::task_fd_query, attr);
      if (status == -EPERM || status == -EACCES) refused = bpf_error(uapi::Cmd::task_fd_query, "perf events", -status);
      if (status < 0 && is_bpf_link) add_user_probes(users, pid, fd);
      if (status < 0) return;  // no program on it, or a link of another type, or it is gone
      PerfUser& user = users.emplace_back();
      user.pid = pid;
      user.fd = fd;
      user.comm = comm_of(pid);
      user.program_id = attr.prog_id;
      user.fd_type = attr.fd_type < std::size(types) ? types[attr.fd_type] : "unknown";
      user.name.assign(name, ::strnlen(name, sizeof name));
      user.offset = attr.probe_offset;
      user.address = attr.probe_addr;
    });
  });
  // Who may not look into other processes finds none of their events, and nothing was refused.
  if (const std::string missing = explain_missing(Capability::sys_admin); users.empty() && !refused && !missing.empty())
    return fail(Code::permission, "perf events of other processes: " + missing, EPERM);
  if (users.empty() && refused) return tl::unexpected(std::move(*refused));
  return users;
}

}  // namespace skep::kernel
