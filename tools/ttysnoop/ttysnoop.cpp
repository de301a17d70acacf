// skep ttysnoop: a terminal's output, on another one.
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdio>

#include "base/fd.hpp"
#include "base/json_writer.hpp"
#include "kit/kit.hpp"
#include "ttysnoop/ttysnoop.h"

namespace skep::tools {

const std::string_view ttysnoop_summary = "what is written to a terminal, shown on this one";

namespace {

struct Terminal {
  u64 inode;
  u32 device;  ///< as the kernel has it: 12 bits major, 20 bits minor
};

Result<Terminal> find_terminal(const std::string& name) {
  const std::string path = name.starts_with('/') ? name : "/dev/pts/" + name;
  struct stat found{};
  if (::stat(path.c_str(), &found) != 0) return tl::unexpected(base::os_error(path));
  if (!S_ISCHR(found.st_mode))
    return fail(Code::invalid_argument, fmt::format("{}: no terminal: expected a character device", path));
  struct stat own{};
  if (::fstat(STDOUT_FILENO, &own) == 0 && S_ISCHR(own.st_mode) && own.st_rdev == found.st_rdev &&
      ::isatty(STDOUT_FILENO))
    return fail(Code::invalid_argument, fmt::format("{} is where this is shown: it would show itself for ever", path));
  return Terminal{found.st_ino, static_cast<u32>(::major(found.st_rdev) << 20 | ::minor(found.st_rdev))};
}

}  // namespace

int ttysnoop(const Arguments& arguments) {
  Kit kit({.name = "ttysnoop",
           .about =
               "Shows what is written to a terminal. Its escape sequences are passed on, so that this terminal looks "
               "like that one.",
           .examples = "  skep ttysnoop /dev/pts/2          # what is written to /dev/pts/2\n"
                       "  skep ttysnoop 2                   # the same\n"
                       "  skep ttysnoop /dev/console        # to the console\n"
                       "  skep ttysnoop /dev/pts/2 -s 1024  # in pieces of 1024 bytes\n"
                       "  skep ttysnoop /dev/pts/2 -c 2     # at most 2 pieces of a write"});
  bool keep = false;
  std::string device;
  u32 size = 256, count = 16;
  kit.wants_duration("--duration");
  kit.options().add_flag("-C,--noclear", keep, "do not clear the screen first");
  kit.options().add_option("DEVICE", device, "path of a terminal, or N for /dev/pts/N")->required();
  kit.options()
      .add_option("-s,--datasize", size, "bytes of a piece")
      ->capture_default_str()
      ->check(range(1, PIECE_MAX));
  kit.options().add_option("-c,--datacount", count, "pieces of a write")->capture_default_str()->check(range(1, 64));
  if (auto status = kit.parse(arguments)) return *status;
  const auto terminal = find_terminal(device);
  if (!terminal) return kit.complain(terminal.error());
  kit.set("wanted_inode", terminal->inode);
  kit.set("wanted_device", terminal->device);
  kit.set("piece_bytes", size);
  kit.set("pieces", count);
  constexpr std::size_t base_bytes = offsetof(tty_piece, bytes);
  kit.on_bytes("events", base_bytes, [&](std::span<const std::byte> record) {
    u32 bytes = 0;
    std::memcpy(&bytes, record.data(), sizeof bytes);
    const std::string_view piece(reinterpret_cast<const char*>(record.data()) + base_bytes,
                                 std::min<std::size_t>(bytes, record.size() - base_bytes));
    if (!kit.json()) {
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
      return;
    }
    base::JsonWriter json(false);
    json.begin_object();
    json.member("data", piece);
    json.end_object();
    kit.output().line(json.text());
  });
  return kit.run([&] {
    if (kit.is_loaded("written__calls"))
      note("this kernel has no hook in its terminals: write() and writev() are watched, other ways of writing are not");
    if (!keep && !kit.json() && ::isatty(STDOUT_FILENO) == 1) kit.output().line("\x1b[H\x1b[2J");
  });
}

}  // namespace skep::tools
