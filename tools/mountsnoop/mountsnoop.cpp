// skep mountsnoop: file systems that are mounted and unmounted.
#include "mountsnoop/mountsnoop.h"

#include <fmt/format.h>

#include "base/json_writer.hpp"
#include "kit/columns.hpp"
#include "kit/containers.hpp"
#include "kit/kit.hpp"
#include "kit/process.hpp"

namespace skep::tools {

const std::string_view mountsnoop_summary = "mount() and umount() calls, with their arguments and results";

namespace {

struct FlagName {
  u64 value;
  std::string_view name;
};
// Source: include/uapi/linux/mount.h.
constexpr FlagName mount_flags[] = {
    {1, "MS_RDONLY"},           {2, "MS_NOSUID"},          {4, "MS_NODEV"},           {8, "MS_NOEXEC"},
    {16, "MS_SYNCHRONOUS"},     {32, "MS_REMOUNT"},        {64, "MS_MANDLOCK"},       {128, "MS_DIRSYNC"},
    {256, "MS_NOSYMFOLLOW"},    {1024, "MS_NOATIME"},      {2048, "MS_NODIRATIME"},   {4096, "MS_BIND"},
    {8192, "MS_MOVE"},          {16384, "MS_REC"},         {32768, "MS_SILENT"},      {65536, "MS_POSIXACL"},
    {1 << 17, "MS_UNBINDABLE"}, {1 << 18, "MS_PRIVATE"},   {1 << 19, "MS_SLAVE"},     {1 << 20, "MS_SHARED"},
    {1 << 21, "MS_RELATIME"},   {1 << 22, "MS_KERNMOUNT"}, {1 << 23, "MS_I_VERSION"}, {1 << 24, "MS_STRICTATIME"},
    {1 << 25, "MS_LAZYTIME"},
};
constexpr FlagName umount_flags[] = {{1, "MNT_FORCE"}, {2, "MNT_DETACH"}, {4, "MNT_EXPIRE"}, {8, "UMOUNT_NOFOLLOW"}};
constexpr u64 magic = 0xc0ed0000;  // MS_MGC_VAL: in the upper half, of no meaning since Linux 2.4

std::string flag_text(u64 flags, std::span<const FlagName> names) {
  std::string out;
  const auto add = [&](const std::string& text) { out += (out.empty() ? "" : "|") + text; };
  for (const FlagName& row : names) {
    if ((flags & row.value) == 0) continue;
    add(std::string(row.name));
    flags &= ~row.value;
  }
  if (flags != 0 || out.empty()) add(flags == 0 ? "0x0" : fmt::format("{:#x}", flags));
  return out;
}

std::string call_text(const mount_event& event) {
  const auto quoted = [](std::string_view value) { return base::json_quote(value); };
  const std::string result = event.result < 0 ? "-" + error_name(-event.result) : std::to_string(event.result);
  if (event.is_umount != 0)
    return fmt::format("umount({}, {}) = {}", quoted(text(event.target)), flag_text(event.flags, umount_flags), result);
  const u64 flags = (event.flags & 0xffff0000) == magic ? event.flags & 0xffff : event.flags;
  return fmt::format("mount({}, {}, {}, {}, {}) = {}", quoted(text(event.source)), quoted(text(event.target)),
                     quoted(text(event.type)), flag_text(flags, mount_flags), quoted(text(event.data)), result);
}

}  // namespace

int mountsnoop(const Arguments& arguments) {
  Kit kit({.name = "mountsnoop",
           .about = "Traces mount() and umount().",
           .examples = "  skep mountsnoop              # every mount and unmount of the machine\n"
                       "  skep mountsnoop -P           # with the caller's parent\n"
                       "  skep mountsnoop -- make install",
           .user_engine = true});
  bool parents = false;
  kit.wants_pid();
  Containers containers(kit);
  kit.options().add_flag("-P,--parent_process", parents, "columns for the caller's parent");
  if (auto status = kit.parse(arguments)) return *status;
  if (auto opened = containers.open(); !opened) return kit.complain(opened.error());
  Columns columns(kit.output(), {{"COMM", "comm", -16},
                                 {"PID", "pid", -7},
                                 {"TID", "tid", -7},
                                 {"PCOMM", "parent_comm", -16, parents},
                                 {"PPID", "ppid", -7, parents},
                                 {"MNT_NS", "mnt_ns", -11},
                                 {"CALL", "call"}});
  kit.on_record<mount_event>("events", [&](const mount_event& event) {
    columns.row({text(event.comm), event.pid, event.tid, text(event.parent_comm), event.parent, event.mount_namespace,
                 call_text(event)});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
