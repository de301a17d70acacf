// Candidates are collected first, then each is asked for its notes. See runtime.hpp.
#include "kit/runtime.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/mapped_file.hpp"
#include "elf/usdt.hpp"
#include "elf/user_binary.hpp"
#include "kit/c_text.hpp"

namespace skep::tools {
namespace {

constexpr std::size_t most_maps_bytes = 16u << 20;
constexpr int most_interpreters = 4;  ///< of a script that is run by a script; the kernel has the same limit

Result<std::vector<std::string>> mapped_code(int pid) {
  const auto maps = base::read_text(fmt::format("/proc/{}/maps", pid), most_maps_bytes);
  if (!maps) return fail(maps.error().code, fmt::format("process {}: {}", pid, maps.error().message));
  std::vector<std::string> out;
  std::string_view rest = *maps;
  while (!rest.empty()) {
    const auto end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const auto slash = line.find('/');
    if (slash == std::string_view::npos || line.find(" r-xp ") == std::string_view::npos) continue;
    std::string path(line.substr(slash));
    if (std::find(out.begin(), out.end(), path) == out.end()) out.push_back(std::move(path));
  }
  return out;
}

/// Where a shell would find a command; "" where it would not.
std::string program_of(const std::string& command) {
  if (command.find('/') != std::string::npos) return command;
  const char* path = std::getenv("PATH");
  for (const std::string& folder : split_outside(path != nullptr ? path : "/usr/bin:/bin", ':'))
    if (std::string file = folder + "/" + command; ::access(file.c_str(), X_OK) == 0) return file;
  return "";
}

/// "#!/usr/bin/env python3": "python3"; "" where the file is no script.
std::string interpreter_of(const std::string& path) {
  std::array<char, 256> head{};
  std::ifstream(path).read(head.data(), head.size() - 1);
  std::string_view line(head.data());
  if (!line.starts_with("#!")) return "";
  line = line.substr(2, line.find('\n') - 2);
  const auto words = split_outside(line, ' ');
  if (words.empty()) return "";
  return words[0].ends_with("/env") && words.size() > 1 ? words[1] : words[0];
}

/// The libraries that a program says it needs.
std::vector<std::string> needed_by(const elf::File& file) {
  constexpr u64 tag_needed = 1;
  std::vector<std::string> out;
  const elf::Section* dynamic = file.section(".dynamic");
  if (dynamic == nullptr || dynamic->link >= file.sections().size()) return out;
  const auto entries = file.contents(*dynamic), strings = file.contents(file.sections()[dynamic->link]);
  if (!entries || !strings) return out;
  for (std::size_t at = 0; at + 16 <= entries->size(); at += 16) {
    u64 tag = 0, value = 0;
    std::memcpy(&tag, entries->data() + at, sizeof tag);
    std::memcpy(&value, entries->data() + at + sizeof tag, sizeof value);
    if (tag != tag_needed || value >= strings->size()) continue;
    const auto* name = reinterpret_cast<const char*>(strings->data() + value);
    out.emplace_back(name, ::strnlen(name, strings->size() - value));
  }
  return out;
}

Result<std::vector<std::string>> code_of_command(const std::string& command) {
  std::string path = program_of(command);
  for (int i = 0; i < most_interpreters && !path.empty(); ++i) {
    const std::string interpreter = interpreter_of(path);
    if (interpreter.empty()) break;
    path = program_of(interpreter);
  }
  if (path.empty()) return fail(Code::not_found, fmt::format("there is no command '{}'", command));
  const auto binary = SKEP_TRY(elf::open_user_binary(path, 0));
  std::vector<std::string> out = needed_by(binary.file);
  out.insert(out.begin(), binary.path);
  std::error_code ignored;
  const auto folder = std::filesystem::canonical(path, ignored).parent_path().parent_path();
  for (const char* place : {"lib/server", "lib/amd64/server", "jre/lib/amd64/server", "lib/aarch64/server"})
    if (const auto java = folder / place / "libjvm.so"; std::filesystem::exists(java, ignored)) out.push_back(java);
  return out;
}

}  // namespace

Result<std::vector<std::string>> files_with_probes(std::string_view provider, int pid,
                                                   const std::vector<std::string>& command) {
  const auto candidates = SKEP_TRY(pid != 0 || command.empty() ? mapped_code(pid) : code_of_command(command.front()));
  std::vector<std::string> out;
  for (const std::string& path : candidates) {
    const auto binary = elf::open_user_binary(path, pid);
    if (!binary) continue;  // a deleted file, or a library that is found by other rules
    const auto notes = elf::usdt_notes(binary->file);
    if (notes &&
        std::any_of(notes->begin(), notes->end(), [&](const elf::UsdtNote& note) { return note.provider == provider; }))
      out.push_back(path);
  }
  return out;
}

}  // namespace skep::tools
