// See machine_code.hpp.
#include "kernel/machine_code.hpp"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/byte_reader.hpp"
#include "base/fd.hpp"
#include "symbols/kernel_symbols.hpp"

namespace skep::kernel {

namespace {

constexpr u64 most_code_bytes = 1u << 14;
constexpr std::size_t header_bytes = 4096;  // of /proc/kcore: some dozens of segments
constexpr u64 landing_bytes = 4;            // endbr64, bti

std::vector<std::byte> read_core(u64 address, u64 bytes) {
  const base::Fd core(::open("/proc/kcore", O_RDONLY | O_CLOEXEC));
  std::vector<std::byte> headers(header_bytes), code(bytes);
  if (!core || ::pread(core.get(), headers.data(), headers.size(), 0) != static_cast<ssize_t>(headers.size()))
    return {};
  const auto offset = core_offset(headers, address, bytes);
  if (!offset || ::pread(core.get(), code.data(), bytes, static_cast<off_t>(*offset)) != static_cast<ssize_t>(bytes))
    return {};
  return code;
}

/// Where functions of the kernel itself begin, and the first symbol of code behind `caller`.
struct Places {
  std::map<std::string, u64, std::less<>> begins;
  u64 end_of_caller = ~u64{0};
};

Places find_places(std::string_view caller, std::span<const std::string_view> functions) {
  Places places;
  const auto each = [](auto visit) {
    static_cast<void>(symbols::each_kernel_symbol(symbols::kallsyms_path, [&](const symbols::KernelSymbol& symbol) {
      if (symbol.address != 0 && symbol.module.empty() && symbol.is_code()) visit(symbol);
      return true;
    }));
  };
  each([&](const symbols::KernelSymbol& symbol) {
    if (symbol.name == caller || std::ranges::find(functions, symbol.name) != functions.end())
      places.begins.emplace(symbol.name, symbol.address);
  });
  const auto begin = places.begins.find(caller);
  if (begin == places.begins.end()) return places;
  each([&](const symbols::KernelSymbol& symbol) {
    if (symbol.address > begin->second) places.end_of_caller = std::min(places.end_of_caller, symbol.address);
  });
  return places;
}

}  // namespace

bool has_call(std::span<const std::byte> code, u64 address, u64 target) noexcept {
  const base::ByteReader in(code);
  const auto is_target = [&](u64 place) { return place - target <= landing_bytes; };
#if defined(__x86_64__)
  constexpr u8 call = 0xe8, jump = 0xe9;
  constexpr u64 length = 5;
  for (u64 at = 0; at + length <= code.size(); ++at) {
    const u8 opcode = static_cast<u8>(code[at]);
    if (opcode != call && opcode != jump) continue;
    if (is_target(address + at + length + static_cast<u64>(s64{*in.at<s32>(at + 1)}))) return true;
  }
#else
  constexpr u32 operation = 0x7c000000, branches = 0x14000000;  // b and bl
  for (u64 at = 0; at + sizeof(u32) <= code.size(); at += sizeof(u32)) {
    const u32 insn = *in.at<u32>(at);
    const s32 words = static_cast<s32>(insn << 6) >> 6;
    if ((insn & operation) == branches && is_target(address + at + static_cast<u64>(s64{words} * 4))) return true;
  }
#endif
  return false;
}

std::optional<u64> core_offset(std::span<const std::byte> headers, u64 address, u64 bytes) {
  const base::ByteReader in(headers);
  const auto head = in.at<Elf64_Ehdr>(0);
  if (!head || std::memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 || head->e_ident[EI_CLASS] != ELFCLASS64)
    return std::nullopt;
  for (u32 i = 0; i < head->e_phnum; ++i) {
    const auto segment = in.at<Elf64_Phdr>(head->e_phoff + u64{i} * sizeof(Elf64_Phdr));
    if (!segment) break;
    const u64 from = address - segment->p_vaddr;
    if (segment->p_type == PT_LOAD && address >= segment->p_vaddr && bytes <= segment->p_memsz &&
        from <= segment->p_memsz - bytes)
      return segment->p_offset + from;
  }
  return std::nullopt;
}

std::optional<bool> calls_one_of(std::string_view caller, std::span<const std::string_view> functions) {
  const Places places = find_places(caller, functions);
  const auto begin = places.begins.find(caller);
  if (begin == places.begins.end() || places.begins.size() != functions.size() + 1) return std::nullopt;
  const u64 bytes = places.end_of_caller - begin->second;
  if (bytes > most_code_bytes) return std::nullopt;
  const auto code = read_core(begin->second, bytes);
  if (code.empty()) return std::nullopt;
  for (const std::string_view function : functions)
    if (has_call(code, begin->second, places.begins.find(function)->second)) return true;
  return false;
}

}  // namespace skep::kernel
