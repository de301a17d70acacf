// Compiles the texts that extract.py wrote, and loads each program into this kernel.
//
//   bcc_corpus DIRECTORY [--load] [--only TEXT] [--verbose]
//
// One line for each text that does not compile and each program that the kernel refuses; then the sums. Programs of
// types that need a BPF trampoline (fentry, fexit, LSM) are counted apart where the kernel has none.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <skep/backend.hpp>
#include <string>
#include <vector>

#include "compile/compile.hpp"

namespace skep {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct Sums {
  std::size_t texts = 0, compiled = 0, programs = 0, loaded = 0, without_hook = 0;
  std::vector<double> seconds;
};

std::vector<std::string> lines_of(const fs::path& path) {
  std::vector<std::string> out;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

ProgramType type_named(std::string_view name) {
  if (name == "xdp") return ProgramType::xdp;
  if (name == "socket_filter") return ProgramType::socket_filter;
  if (name == "sched_cls") return ProgramType::sched_cls;
  if (name == "tracepoint") return ProgramType::tracepoint;
  if (name == "raw_tracepoint") return ProgramType::raw_tracepoint;
  if (name == "perf_event") return ProgramType::perf_event;
  return ProgramType::kprobe;
}

/// What the tool would have done after compiling: say where each function goes.
void set_types(ObjectSpec& spec, const fs::path& list) {
  std::map<std::string, ProgramType> types;
  for (const std::string& line : lines_of(list)) {
    const std::size_t gap = line.find(' ');
    types.emplace(line.substr(0, gap), type_named(std::string_view(line).substr(gap + 1)));
  }
  for (ProgramSpec& program : spec.programs) {
    if (program.type != ProgramType::unspec) continue;
    const auto it = types.find(program.name);
    if (it == types.end()) program.autoload = false;  // BCC loads what is attached
    program.type = it != types.end() ? it->second : ProgramType::kprobe;
  }
}

void load(Backend& kernel, const ObjectSpec& spec, const std::string& text, bool verbose, Sums& sums) {
  for (const ProgramSpec& program : spec.programs) {
    if (!program.autoload) continue;
    ++sums.programs;
    LoadOptions options;
    options.programs = {program.name};
    const auto object = kernel.load(spec, options);
    if (object) {
      ++sums.loaded;
      continue;
    }
    const bool needs_trampoline = program.type == ProgramType::tracing || program.type == ProgramType::lsm;
    if (needs_trampoline && object.error().code != Code::rejected) {
      ++sums.without_hook;
      continue;
    }
    std::string said = object.error().message;
    if (!verbose) said = said.substr(0, 600);
    std::printf("%s: program %s is refused: %s\n", text.c_str(), program.name.c_str(), said.c_str());
  }
}

int run(const fs::path& directory, bool loads, const std::string& only, bool verbose) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(directory))
    if (entry.path().extension() == ".c" && (only.empty() || entry.path().stem().native().find(only) == 0))
      paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  auto kernel = kernel_backend();
  if (loads && !kernel) {
    std::printf("the kernel engine does not start, nothing is loaded: %s\n", kernel.error().message.c_str());
    loads = false;
  }
  Sums sums;
  for (const fs::path& path : paths) {
    ++sums.texts;
    const std::string name = path.stem().native();
    compile::CompileOptions options;
    options.use_cache = false;
    options.cflags = lines_of(fs::path(path).replace_extension(".cflags"));
    options.on_warning = [&](std::string_view said) {
      if (verbose) std::printf("%s: %.*s\n", name.c_str(), static_cast<int>(said.size()), said.data());
    };
    const auto began = Clock::now();
    auto spec = compile::load_program(path, options);
    sums.seconds.push_back(std::chrono::duration<double>(Clock::now() - began).count());
    if (!spec) {
      std::printf("%s does not compile: %s\n", name.c_str(),
                  spec.error().message.substr(0, verbose ? 20000 : 500).c_str());
      continue;
    }
    ++sums.compiled;
    if (!loads) continue;
    set_types(*spec, fs::path(path).replace_extension(".programs"));
    load(**kernel, *spec, name, verbose, sums);
  }
  if (sums.texts == 0) {
    std::printf("%s holds no texts\n", directory.c_str());
    return 2;
  }
  std::sort(sums.seconds.begin(), sums.seconds.end());
  struct rusage children{};
  ::getrusage(RUSAGE_CHILDREN, &children);
  std::printf("%zu of %zu texts compile; milliseconds: median %.0f, 90%% %.0f, most %.0f; largest compiler %ld MiB\n",
              sums.compiled, sums.texts, sums.seconds[sums.seconds.size() / 2] * 1e3,
              sums.seconds[sums.seconds.size() * 9 / 10] * 1e3, sums.seconds.back() * 1e3, children.ru_maxrss / 1024);
  if (loads)
    std::printf("%zu of %zu programs load; %zu more are of types that this kernel lets nobody load\n", sums.loaded,
                sums.programs, sums.without_hook);
  return sums.compiled == sums.texts && (!loads || sums.loaded + sums.without_hook == sums.programs) ? 0 : 1;
}

}  // namespace
}  // namespace skep

int main(int argc, char** argv) {
  std::string directory, only;
  bool loads = false, verbose = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--load")
      loads = true;
    else if (word == "--verbose")
      verbose = true;
    else if (word == "--only" && i + 1 < argc)
      only = argv[++i];
    else
      directory = word;
  }
  if (directory.empty()) {
    std::printf("usage: bcc_corpus DIRECTORY [--load] [--only TEXT] [--verbose]\n");
    return 2;
  }
  return skep::run(directory, loads, only, verbose);
}
