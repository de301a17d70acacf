// The set, compiled twice. See programs.hpp.
#include "engine/programs.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "compile/compile.hpp"
#include "compile/process.hpp"

namespace skep::bench {
namespace {

namespace fs = std::filesystem;

constexpr Row set[] = {
    {"beload", true},     {"bsearch", true},   {"calls", true},    {"chacha", true},   {"csum", true},
    {"dispatch", true},   {"filter", true},    {"fnv", true},      {"log2", true},     {"matmul", true},
    {"murmur", true},     {"parse", true},     {"popcnt", true},   {"primes", true},   {"siphash", true},
    {"sortnet", true},    {"strops", true},    {"isort", false},   {"branchy", false}, {"callheavy", false},
    {"callbacks", false}, {"maparray", false}, {"maphash", false}, {"percpu", false},  {"lru", false},
    {"flows", false},     {"balance", false},  {"empty", false},
};

std::string find_program(std::string_view name) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "/usr/bin:/bin";
  while (!rest.empty()) {
    const auto colon = std::min(rest.find(':'), rest.size());
    const std::string candidate = fmt::format("{}/{}", rest.substr(0, colon), name);
    if (colon != 0 && ::access(candidate.c_str(), X_OK) == 0) return candidate;
    rest.remove_prefix(std::min(colon + 1, rest.size()));
  }
  return {};
}

std::string source_of(const std::string& name) { return fmt::format("{}/programs/{}.c", SKEP_BENCH_DIRECTORY, name); }

}  // namespace

std::span<const Row> rows() { return set; }

void Native::Close::operator()(void* handle) const { ::dlclose(handle); }

Result<Native> Native::build(const std::string& name, const std::string& compiler, const fs::path& scratch,
                             const Input& input) {
  const std::string object = (scratch / (name + ".so")).native();
  const auto finished = SKEP_TRY(compile::run_process({compiler, "-O2", "-shared", "-fPIC", "-fvisibility=hidden",
                                                       "-fno-strict-aliasing", "-o", object, source_of(name)}));
  if (finished.exit_status != 0) return fail(Code::invalid_argument, fmt::format("{}: {}", compiler, finished.output));
  Native native;
  native.library_.reset(::dlopen(object.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (!native.library_) return fail(Code::io, fmt::format("{}: {}", object, ::dlerror()));
  native.function_ = reinterpret_cast<NativeFn>(::dlsym(native.library_.get(), "program"));
  const auto words = reinterpret_cast<u64* (*)()>(::dlsym(native.library_.get(), "program_input"));
  if (native.function_ == nullptr || words == nullptr)
    return fail(Code::malformed, fmt::format("{}: no program() or program_input() in it", object));
  std::memcpy(words(), input.words.data(), sizeof input.words);
  return native;
}

Result<std::string> native_compiler() {
  if (const char* named = std::getenv("SKEP_BENCH_CC"); named != nullptr && *named != '\0')
    return std::string_view(named).find('/') == std::string_view::npos ? find_program(named) : std::string(named);
  for (int version = 25; version >= 14; --version)
    if (auto found = find_program(fmt::format("clang-{}", version)); !found.empty()) return found;
  for (const char* name : {"clang", "gcc", "cc"})
    if (auto found = find_program(name); !found.empty()) return found;
  return fail(Code::not_found, "no C compiler in PATH: install Debian's clang package, or name one in SKEP_BENCH_CC");
}

Result<ObjectSpec> bpf_object(const std::string& name, const std::string& cpu) {
  compile::CompileOptions options;
  options.cpu = cpu;
  options.dialect = compile::Dialect::libbpf;  // SEC() stands in bench.h
  return compile::load_program(source_of(name), options);
}

}  // namespace skep::bench
