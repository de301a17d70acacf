// Walking bpffs.
#include "kernel/pins.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/mapped_file.hpp"
#include "kernel/info.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

constexpr std::size_t most_pins = 4096;

std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 4, value, 8).ptr == text.data() + i + 4) {
      out += static_cast<char>(value);
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

void look_at(const std::string& path, Pins& pins) {
  uapi::ObjPath attr{address_of(path.c_str()), 0, 0};
  const int status = bpf(uapi::Cmd::obj_get, attr);
  if (status < 0) return;
  const base::Fd fd(status);
  // The descriptor does not say what it is; fdinfo does.
  if (const u64 id = fdinfo_number(fd.get(), "prog_id:"); id != 0)
    pins.programs[static_cast<u32>(id)].push_back(path);
  else if (const u64 map = fdinfo_number(fd.get(), "map_id:"); map != 0)
    pins.maps[static_cast<u32>(map)].push_back(path);
}

}  // namespace

std::vector<std::string> mount_points(std::string_view mountinfo, std::string_view file_system) {
  std::vector<std::string> points;
  while (!mountinfo.empty()) {
    const auto end = std::min(mountinfo.find('\n'), mountinfo.size());
    const std::string_view line = mountinfo.substr(0, end);
    mountinfo.remove_prefix(std::min(end + 1, mountinfo.size()));
    // "36 35 98:0 /root /mount/point options... - type source super-options"
    const auto dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    const std::string_view type = line.substr(dash + 3, line.find(' ', dash + 3) - dash - 3);
    if (type != file_system) continue;
    std::string_view rest = line.substr(0, dash);
    for (int field = 0; field < 4 && !rest.empty(); ++field)
      rest.remove_prefix(std::min(rest.find(' ') + 1, rest.size()));
    points.push_back(unescaped(rest.substr(0, rest.find(' '))));
  }
  return points;
}

Pins find_pins() {
  Pins pins;
  const auto mountinfo = base::read_text("/proc/self/mountinfo", 4u << 20);
  if (!mountinfo) return pins;
  std::size_t seen = 0;
  for (const std::string& root : mount_points(*mountinfo, "bpf")) {
    std::error_code error;
    using Walk = std::filesystem::recursive_directory_iterator;
    for (Walk at(root, std::filesystem::directory_options::skip_permission_denied, error), end;
         !error && at != end && seen < most_pins; at.increment(error), ++seen)
      if (at->is_regular_file(error)) look_at(at->path().native(), pins);
  }
  return pins;
}

}  // namespace skep::kernel
