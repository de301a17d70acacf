// Addresses to names, for one caller at a time.
#include <fmt/format.h>

#include "capi/state.hpp"
#include "symbols/demangle.hpp"
#include "symbols/symbolizer.hpp"

struct skep_symbolizer {
  skep::symbols::Symbolizer symbols;
  skep::symbols::Frame frame;
  std::string demangled;
  std::vector<skep::symbols::Frame> stack;
  std::vector<std::string> stack_demangled;
  bool follows = false;
};

namespace skep::capi {
namespace {

skep_frame as_told(const symbols::Frame& frame, const std::string& demangled) {
  return {sizeof(skep_frame),  frame.name.c_str(), demangled.c_str(),    frame.offset, frame.module.c_str(),
          frame.module_offset, frame.address,      frame.source.c_str(), frame.line,   frame.is_inlined};
}

Result<s64> find(skep_symbolizer* symbolizer, s32 pid, u64 address, skep_frame* out) {
  if (symbolizer == nullptr) return is_null("the symbolizer");
  symbols::Frame& frame = symbolizer->frame;
  frame = pid < 0 ? symbolizer->symbols.kernel(address) : symbolizer->symbols.user(static_cast<u32>(pid), address);
  symbolizer->demangled = symbols::demangle(frame.name);
  SKEP_TRY(give(out, as_told(frame, symbolizer->demangled)));
  return frame.name.empty() ? 0 : 1;
}

Result<s64> stack(skep_symbolizer* symbolizer, s32 pid, const u64* addresses, std::size_t count) {
  if (symbolizer == nullptr || (addresses == nullptr && count != 0)) return is_null("the symbolizer or the addresses");
  auto& [symbols, frame, demangled, frames, names, follows] = *symbolizer;
  const std::span<const u64> wanted(addresses, count);
  frames = pid < 0 ? symbols.kernel(wanted) : symbols.user_stack(static_cast<u32>(pid), wanted);
  names.clear();
  for (const symbols::Frame& one : frames) names.push_back(symbols::demangle(one.name));
  return static_cast<s64>(frames.size());
}

Result<s64> frame_at(skep_symbolizer* symbolizer, std::size_t index, skep_frame* out) {
  if (symbolizer == nullptr) return is_null("the symbolizer");
  if (index >= symbolizer->stack.size())
    return fail(Code::not_found, fmt::format("frame {}: the stack has {}", index, symbolizer->stack.size()));
  return give(out, as_told(symbolizer->stack[index], symbolizer->stack_demangled[index]));
}

Result<s64> follow(skep_symbolizer* symbolizer, bool children) {
  if (symbolizer == nullptr) return is_null("the symbolizer");
  if (symbolizer->follows) {
    symbolizer->symbols.keep_up();
    return 0;
  }
  SKEP_TRY(symbolizer->symbols.follow(children));
  symbolizer->follows = true;
  return 0;
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

int64_t skep_symbolizer_stack(skep_symbolizer* symbolizer, int32_t pid, const uint64_t* addresses, size_t count) {
  return capi::guarded([&] { return capi::stack(symbolizer, pid, addresses, count); });
}

int skep_symbolizer_frame(skep_symbolizer* symbolizer, size_t index, skep_frame* frame) {
  return capi::status_of([&] { return capi::frame_at(symbolizer, index, frame); });
}

int skep_symbolizer_follow(skep_symbolizer* symbolizer, int children) {
  return capi::status_of([&] { return capi::follow(symbolizer, children != 0); });
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
