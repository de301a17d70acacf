// ELF files of user programs: functions and static probes as plain arrays.
#include <fmt/format.h>

#include "capi/state.hpp"
#include "elf/functions.hpp"
#include "elf/usdt.hpp"
#include "elf/user_binary.hpp"

struct skep_binary {
  skep::elf::UserBinary binary;
  std::vector<skep::elf::Function> functions;
  std::vector<skep_binary_function> told_functions;
  std::vector<skep::elf::UsdtNote> probes;
  std::vector<skep_binary_probe> told_probes;
  bool read_functions = false, read_probes = false;
};

namespace skep::capi {
namespace {

Result<std::unique_ptr<skep_binary>> open(const char* path) {
  if (path == nullptr) return is_null("the path");
  auto binary = std::make_unique<skep_binary>();
  binary->binary = SKEP_TRY(elf::open_binary_file(path));
  return binary;
}

Result<s64> functions(skep_binary& binary) {
  if (!binary.read_functions) {
    binary.functions = SKEP_TRY(elf::functions(binary.binary, [](std::string_view) { return true; }));
    for (const elf::Function& one : binary.functions)
      binary.told_functions.push_back({one.name.c_str(), one.file_offset, one.size});
    binary.read_functions = true;
  }
  return static_cast<s64>(binary.told_functions.size());
}

Result<s64> probes(skep_binary& binary) {
  if (!binary.read_probes) {
    binary.probes = SKEP_TRY(elf::usdt_notes(binary.binary.file));
    for (const elf::UsdtNote& one : binary.probes)
      binary.told_probes.push_back({one.provider.c_str(), one.name.c_str(), one.arguments.c_str(), one.address,
                                    one.file_offset, one.semaphore_offset});
    binary.read_probes = true;
  }
  return static_cast<s64>(binary.told_probes.size());
}

}  // namespace
}  // namespace skep::capi

using namespace skep;

skep_binary* skep_binary_open(const char* path) {
  return capi::handle_of<skep_binary>([&] { return capi::open(path); });
}
void skep_binary_close(skep_binary* binary) { delete binary; }

int64_t skep_binary_functions(skep_binary* binary, const skep_binary_function** list) {
  return capi::guarded([&]() -> Result<s64> {
    if (binary == nullptr || list == nullptr) return capi::is_null("the binary or the list");
    const s64 count = SKEP_TRY(capi::functions(*binary));
    *list = binary->told_functions.data();
    return count;
  });
}

int64_t skep_binary_probes(skep_binary* binary, const skep_binary_probe** list) {
  return capi::guarded([&]() -> Result<s64> {
    if (binary == nullptr || list == nullptr) return capi::is_null("the binary or the list");
    const s64 count = SKEP_TRY(capi::probes(*binary));
    *list = binary->told_probes.data();
    return count;
  });
}
