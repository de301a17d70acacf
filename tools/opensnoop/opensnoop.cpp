// skep opensnoop: every open(), who did it and how it ended.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <bit>
#include <filesystem>

#include "kit/columns.hpp"
#include "kit/containers.hpp"
#include "kit/kit.hpp"
#include "opensnoop/opensnoop.h"

namespace skep::tools {

const std::string_view opensnoop_summary = "files opened: who, which, with what result";

namespace {

struct FlagName {
  std::string_view name;
  u32 value;
};
constexpr FlagName flag_names[] = {
    {"O_WRONLY", O_WRONLY},   {"O_RDWR", O_RDWR},           {"O_CREAT", O_CREAT},       {"O_EXCL", O_EXCL},
    {"O_TRUNC", O_TRUNC},     {"O_APPEND", O_APPEND},       {"O_NONBLOCK", O_NONBLOCK}, {"O_DSYNC", O_DSYNC},
    {"O_DIRECT", O_DIRECT},   {"O_DIRECTORY", O_DIRECTORY}, {"O_NOFOLLOW", O_NOFOLLOW}, {"O_NOATIME", O_NOATIME},
    {"O_CLOEXEC", O_CLOEXEC}, {"O_PATH", O_PATH},           {"O_NOCTTY", O_NOCTTY},     {"O_TMPFILE", 020000000},
};

std::optional<u32> flags_of(const std::vector<std::string>& names) {
  u32 flags = 0;
  for (const std::string& name : names) {
    const auto* found =
        std::find_if(std::begin(flag_names), std::end(flag_names), [&](auto& row) { return row.name == name; });
    if (found == std::end(flag_names)) return std::nullopt;
    flags |= found->value;
  }
  return flags;
}

/// A relative path behind the directory that its process is in now. "" where that cannot be seen any more.
std::string full_path(u32 pid, std::string_view path) {
  if (path.starts_with('/')) return std::string(path);
  std::error_code error;
  const auto directory = std::filesystem::read_symlink(fmt::format("/proc/{}/cwd", pid), error);
  return error ? std::string(path) : (directory / path).native();
}

}  // namespace

int opensnoop(const Arguments& arguments) {
  Kit kit({.name = "opensnoop",
           .about = "Traces open(): process, file, descriptor or error.",
           .examples = "  skep opensnoop                     # every open() of the machine\n"
                       "  skep opensnoop -T -x               # with times, only those that failed\n"
                       "  skep opensnoop -p 181              # of process 181\n"
                       "  skep opensnoop -n ngin             # of processes with \"ngin\" in their names\n"
                       "  skep opensnoop -f O_WRONLY -f O_RDWR\n"
                       "  skep opensnoop -- cat /etc/hostname",
           .user_engine = true});
  bool times = false, uids = false, failed = false, extended = false, full = false;
  std::string name;
  std::vector<std::string> flags;
  u32 buffer_pages = 256;
  kit.wants_pid();
  Containers containers(kit);
  kit.wants_tid("-t,--tid");
  kit.wants_uid("-u,--uid");
  kit.wants_duration("-d,--duration");
  kit.options().add_flag("-T,--timestamp", times, "time of each, in seconds since the first");
  kit.options().add_flag("-U,--print-uid", uids, "a column for the user");
  kit.options().add_flag("-x,--failed", failed, "only those that failed");
  kit.options().add_option("-n,--name", name, "only processes whose names contain this");
  kit.options().add_flag("-e,--extended_fields", extended, "columns for flags and mode");
  kit.options()
      .add_option("-f,--flag_filter", flags, "only with one of these flags, such as O_WRONLY (repeatable)")
      ->allow_extra_args(false);
  kit.options()
      .add_option("-b,--buffer-pages", buffer_pages, "pages of the buffer that holds events until they are printed")
      ->check(range(1, 1 << 18))
      ->capture_default_str();
  kit.options().add_flag("-F,--full-path", full, "relative paths behind the process's directory");
  if (auto status = kit.parse(arguments)) return *status;
  if (auto opened = containers.open(); !opened) return kit.complain(opened.error());
  const auto wanted_flags = flags_of(flags);
  if (!wanted_flags) return kit.complain("-f: expected a flag of open(2), such as O_WRONLY or O_CREAT");
  if (!std::has_single_bit(buffer_pages))
    return kit.complain(
        fmt::format("-b: {} pages; expected a power of two, such as {}", buffer_pages, std::bit_ceil(buffer_pages)));
  kit.set_map_size("events", buffer_pages * static_cast<u32>(::sysconf(_SC_PAGESIZE)));
  kit.set("only_failed", failed);
  kit.set("wanted_flags", *wanted_flags);

  Columns columns(kit.output(), {{"TIME(s)", "time_s", -14, times},
                                 {"UID", "uid", -6, uids},
                                 {"PID", "pid", -6},
                                 {"COMM", "comm", -16},
                                 {"FD", "fd", 4},
                                 {"ERR", "err", 3},
                                 {"FLAGS", "flags", -8, extended},
                                 {"MODE", "mode", -4, extended},
                                 {"PATH", "path"}});
  constexpr std::size_t base_bytes = offsetof(open_event, path);
  kit.on_bytes("events", base_bytes + 1, [&](std::span<const std::byte> bytes) {
    open_event event{};
    std::memcpy(&event, bytes.data(), std::min(bytes.size(), sizeof event - 1));
    if (!name.empty() && text(event.comm).find(name) == std::string_view::npos) return;
    const std::string path = full ? full_path(event.pid, text(event.path)) : std::string(text(event.path));
    columns.row({Decimal{seconds_since_start(event.time_ns), 9}, event.uid, event.pid, text(event.comm),
                 event.result >= 0 ? event.result : -1, event.result >= 0 ? 0 : -event.result,
                 fmt::format("{:08o}", event.flags), fmt::format("{:04o}", event.mode), path});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
