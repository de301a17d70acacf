// Addresses to names, for one caller at a time.
#include <fmt/format.h>

#include "capi/state.hpp"
#include "symbols/demangle.hpp"
#include "symbols/symbolizer.hpp"

struct skep_symbolizer {
  skep::symbols::Symbolizer symbols;
  skep::symbols::Frame frame;
  std::string demangled;
};

namespace skep::capi {
namespace {

Result<s64> find(skep_symbolizer* symbolizer, s32 pid, u64 address, skep_frame* out) {
  if (symbolizer == nullptr) return is_null("the symbolizer");
  symbols::Frame& frame = symbolizer->frame;
  frame = pid < 0 ? symbolizer->symbols.kernel(address) : symbolizer->symbols.user(static_cast<u32>(pid), address);
  symbolizer->demangled = symbols::demangle(frame.name);
  SKEP_TRY(give(out, skep_frame{sizeof(skep_frame), frame.name.c_str(), symbolizer->demangled.c_str(), frame.offset,
                                frame.module.c_str(), frame.module_offset}));
  return frame.name.empty() ? 0 : 1;
}

Result<s64> kernel_address(skep_symbolizer* symbolizer, const char* name, u64* address) {
  if (symbolizer == nullptr || name == nullptr || address == nullptr) return is_null("the symbolizer, name or address");
  const auto found = SKEP_TRY(symbolizer->symbols.kernel_symbols())->address_of(name);
  if (!found) return fail(Code::not_found, fmt::format("the kernel has no symbol \"{}\"", name));
  *address = *found;
  return 0;
}

}  // namespace
}  // namespace skep::capi

using namespace skep;

skep_symbolizer* skep_symbolizer_open(void) {
  return capi::handle_of<skep_symbolizer>(
      []() -> Result<std::unique_ptr<skep_symbolizer>> { return std::make_unique<skep_symbolizer>(); });
}
void skep_symbolizer_close(skep_symbolizer* symbolizer) { delete symbolizer; }

int skep_symbolizer_find(skep_symbolizer* symbolizer, int32_t pid, uint64_t address, skep_frame* frame) {
  return capi::status_of([&] { return capi::find(symbolizer, pid, address, frame); });
}

int skep_symbolizer_remember(skep_symbolizer* symbolizer, int32_t pid) {
  return capi::status_of([&]() -> Result<s64> {
    if (symbolizer == nullptr) return capi::is_null("the symbolizer");
    return symbolizer->symbols.remember(static_cast<u32>(pid));
  });
}

int skep_symbolizer_kernel_address(skep_symbolizer* symbolizer, const char* name, uint64_t* address) {
  return capi::status_of([&] { return capi::kernel_address(symbolizer, name, address); });
}
