// What several tests of types need: the kernel's types where there are any, and commands where they are installed.
#pragma once
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

namespace skep::test {

inline constexpr const char* kernel_btf = "/sys/kernel/btf/vmlinux";
inline bool has_kernel_btf() { return std::filesystem::exists(kernel_btf); }

/// The first of these commands that runs with --version, or "".
inline std::string first_command(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (std::system((std::string(name) + " --version >/dev/null 2>&1").c_str()) == 0) return name;
  return {};
}
inline std::string any_clang() {
  return first_command({"clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"});
}

/// Standard output of a shell command, or nullopt where it failed.
inline std::optional<std::string> output_of(const std::string& command) {
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return std::nullopt;
  std::string out;
  std::array<char, 65536> buffer;
  while (const auto got = std::fread(buffer.data(), 1, buffer.size(), pipe)) out.append(buffer.data(), got);
  return ::pclose(pipe) == 0 ? std::optional(out) : std::nullopt;
}

/// A directory that goes with its owner.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "skep-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name) << text;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace skep::test
