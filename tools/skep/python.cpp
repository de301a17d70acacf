// skep python: a driver of BCC's Python interface, unchanged, on either engine.
//
// Nothing is interpreted here: the Python packages and the library are found beside this binary, told to python3 by the
// environment, and python3 takes this process over. With a command (-- CMD) or -p the user engine observes that; which
// moment it starts at is decided on the Python side (python/skep/_session.py).
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "verb.hpp"

namespace skep::tools {
namespace {

namespace fs = std::filesystem;

struct PythonOptions {
  std::string backend;
  std::string python;
  int pid = 0;
  std::vector<std::string> driver;  ///< the file and its arguments
  std::vector<std::string> command;
};

constexpr const char* usage_footer =
    "examples:\n"
    "  skep python driver.py -- sh -c 'ls; date'     no privileges: the command is observed\n"
    "  skep python driver.py                         the kernel engine: the whole machine (root)\n"
    "  skep python /usr/sbin/opensnoop-bpfcc -n cat -- cat /etc/hostname\n\n"
    "The driver starts the command when it begins to wait for events; when the command has ended the driver is\n"
    "interrupted as by Ctrl-C, and skep exits as the command did.";

/// What stands before the driver is ours; what follows it, up to `--`, is the driver's own.
std::optional<int> parse_options(Arguments arguments, PythonOptions& options) {
  // A driver may have a `--` of its own: the last one is ours.
  if (const auto dashes = std::find(arguments.rbegin(), arguments.rend(), "--"); dashes != arguments.rend()) {
    options.command.assign(dashes.base(), arguments.end());
    if (options.command.empty()) return complain("`--` must be followed by a command to run");
    arguments.erase(dashes.base() - 1, arguments.end());
  }
  Options app("Runs a Python driver that uses BCC's interface (from bcc import BPF) or skep's (import skep).",
              "python");
  app.add_option("--backend", options.backend,
                 "user (no privileges) or kernel; default: user with a command or -p, else kernel")
      ->check(one_of({"user", "kernel"}));
  app.add_option("-p,--pid", options.pid, "observe this running process and its children")->check(range(1, 1 << 22));
  app.add_option("--python", options.python, "the interpreter; default: the driver's own (#!), else python3");
  app.add_option("DRIVER", options.driver, "the driver and its arguments")->required();
  app.ends_at_command();
  app.footer(usage_footer);
  // CLI11 would look for our options among the driver's: only what stands before the driver is parsed.
  auto first = arguments.begin();
  while (first != arguments.end() && first->starts_with('-')) {
    const bool takes_value = *first == "--backend" || *first == "-p" || *first == "--pid" || *first == "--python";
    first += takes_value && first + 1 != arguments.end() ? 2 : 1;
  }
  const bool has_driver = first != arguments.end();
  Arguments ours(arguments.begin(), has_driver ? first + 1 : first);
  if (auto status = app.parse(ours)) return status;
  options.driver.assign(first, arguments.end());
  if (!options.command.empty() && options.pid != 0) return complain("give a command or -p PID, not both");
  return std::nullopt;
}

/// The first of `places`, relative to this binary, that exists.
Result<fs::path> beside_binary(std::string_view what, std::initializer_list<const char*> places) {
  std::error_code error;
  const fs::path binary = fs::read_symlink("/proc/self/exe", error);
  if (error) return fail(Code::io, "/proc/self/exe: " + error.message(), error.value());
  std::string looked;
  for (const char* place : places) {
    const fs::path path = (binary.parent_path() / place).lexically_normal();
    if (fs::exists(path, error)) return path;
    looked += (looked.empty() ? "" : ", ") + path.native();
  }
  return fail(Code::not_found, fmt::format("{} of this installation is missing; looked for {}", what, looked), ENOENT);
}

/// The interpreter that the driver's first line names, where that is a Python.
std::string interpreter_of(const std::string& driver) {
  std::ifstream file(driver);
  std::string line;
  if (!std::getline(file, line) || !line.starts_with("#!")) return "python3";
  const auto begin = line.find_first_not_of(' ', 2);
  const auto end = std::min(line.find(' ', begin), line.size());
  const std::string path = begin == std::string::npos ? "" : line.substr(begin, end - begin);
  const bool is_python3 = path.find("/python3") != std::string::npos;
  return is_python3 && ::access(path.c_str(), X_OK) == 0 ? path : "python3";
}

Result<int> start(const PythonOptions& options) {
  const fs::path packages =
      SKEP_TRY(beside_binary("the Python package", {"../share/skep/python", "../../share/skep/python"}));
  const fs::path library = SKEP_TRY(beside_binary(
      "libskep.so.1", {"../" SKEP_LIBRARY_DIRECTORY "/libskep.so.1", "../lib/libskep.so.1", "../../libskep.so.1"}));
  if (::access(options.driver[0].c_str(), R_OK) != 0)
    return fail(Code::not_found, fmt::format("{}: {}", options.driver[0], std::strerror(errno)), errno);
  const bool observes = !options.command.empty() || options.pid != 0;
  const std::string backend = !options.backend.empty() ? options.backend : observes ? "user" : "kernel";
  if (backend == "user" && !observes)
    return fail(Code::invalid_argument,
                "the user engine observes a command or a process: add `-- CMD` or `-p PID` (system-wide: --backend "
                "kernel)");
  const char* before = std::getenv("PYTHONPATH");
  const std::string path = packages.native() + (before != nullptr && *before != 0 ? fmt::format(":{}", before) : "");
  ::setenv("PYTHONPATH", path.c_str(), 1);
  ::setenv("SKEP_LIBRARY", library.c_str(), 1);
  ::setenv("SKEP_BACKEND", backend.c_str(), 1);
  const std::string python = options.python.empty() ? interpreter_of(options.driver[0]) : options.python;
  std::vector<std::string> words = {python, (packages / "skep" / "_driver.py").native(), backend,
                                    std::to_string(options.pid), std::to_string(options.command.size())};
  words.insert(words.end(), options.command.begin(), options.command.end());
  words.insert(words.end(), options.driver.begin(), options.driver.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  return fail(Code::io,
              fmt::format("{}: {} (install python3, or name one with --python)", python, std::strerror(errno)), errno);
}

}  // namespace

int python_verb(const Arguments& arguments) {
  PythonOptions options;
  if (auto status = parse_options(arguments, options)) return *status;
  auto status = start(options);
  return status ? *status : complain(status.error());
}

}  // namespace skep::tools
