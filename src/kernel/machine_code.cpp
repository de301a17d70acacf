// See machine_code.hpp.
#include "kernel/machine_code.hpp"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "base/byte_reader.hpp"
#include "base/fd.hpp"
#include "elf/functions.hpp"
#include "kernel/hook_substitutes.hpp"

namespace skep::kernel {

namespace {

constexpr u64 most_code_bytes = 1u << 14;   // of one function
constexpr std::size_t header_bytes = 4096;  // of /proc/kcore: some dozens of segments
// What some kernels keep in front of each function, under a name of its own (CONFIG_CALL_PADDING): where calls are
// counted against Retbleed, they are patched to go there (arch/x86/kernel/callthunks.c).
constexpr std::string_view padding_prefix = "__pfx_";

/// A file like /proc/kcore.
class Core {
 public:
  static Result<Core> open(const std::filesystem::path& path) {
    Core core;
    core.path_ = path.native();
    core.file_ = base::Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!core.file_) return tl::unexpected(base::os_error(core.path_));
    core.headers_.resize(header_bytes);
    const ssize_t count = ::pread(core.file_.get(), core.headers_.data(), header_bytes, 0);
    if (count < 0) return tl::unexpected(base::os_error(core.path_));
    core.headers_.resize(static_cast<std::size_t>(count));
    return core;
  }
  Result<std::vector<std::byte>> read(u64 address, u64 bytes) const {
    const auto offset = core_offset(headers_, address, bytes);
    if (!offset) return fail(Code::unsupported, path_ + " does not hold the kernel's code");
    std::vector<std::byte> code(bytes);
    const ssize_t count = ::pread(file_.get(), code.data(), bytes, static_cast<off_t>(*offset));
    if (count < 0) return tl::unexpected(base::os_error(path_));
    const bool is_blank = std::ranges::count(code, std::byte{}) == std::ssize(code);  // a page that it could not read
    if (static_cast<u64>(count) != bytes || is_blank)
      return fail(Code::unsupported, path_ + " does not hold the kernel's code");
    return code;
  }

 private:
  std::string path_;
  base::Fd file_;
  std::vector<std::byte> headers_;
};

struct Piece {
  u64 begin = 0, end = 0;
  bool is_padding = false;  // in front of the function: calls may go there, none are made there
};

/// The kernel's own functions of some names, and where their code is.
class Functions {
 public:
  /// `wanted`: names without what compilers put behind them.
  static Result<Functions> find(const std::filesystem::path& path, std::span<const std::string_view> wanted) {
    Functions out;
    std::vector<u64> begins;
    SKEP_TRY(symbols::each_kernel_symbol(path, [&](const symbols::KernelSymbol& symbol) {
      if (!symbol.module.empty() || !symbol.is_code() || symbol.address == 0) return true;
      begins.push_back(symbol.address);
      std::string_view name = elf::without_cold(symbol.name);
      const bool is_padding = name.starts_with(padding_prefix);
      if (is_padding) name.remove_prefix(padding_prefix.size());
      if (std::ranges::find(wanted, source_name(name)) != wanted.end())
        out.pieces_[std::string(name)].push_back({symbol.address, 0, is_padding});
      return true;
    }));
    if (begins.empty())
      return fail(
          Code::permission,
          path.native() + " does not show the addresses of the kernel's functions (sysctl kernel.kptr_restrict)");
    std::ranges::sort(begins);
    for (auto& [name, pieces] : out.pieces_)
      for (Piece& piece : pieces) {
        const auto next = std::ranges::upper_bound(begins, piece.begin);
        piece.end = next == begins.end() ? piece.begin : *next;
      }
    return out;
  }

  const std::map<std::string, std::vector<Piece>, std::less<>>& all() const noexcept { return pieces_; }

 private:
  std::map<std::string, std::vector<Piece>, std::less<>> pieces_;
};

/// Whether one of these pieces of code comes to where one of the others begins.
Result<bool> comes_to(const Core& core, const std::vector<Piece>& pieces, const std::vector<Piece>& targets) {
  for (const Piece& piece : pieces) {
    if (piece.is_padding) continue;
    if (piece.end - piece.begin > most_code_bytes)
      return fail(Code::unsupported, "the symbols do not tell where its code ends");
    const auto code = SKEP_TRY(core.read(piece.begin, piece.end - piece.begin));
    for (const Piece& target : targets)
      if (has_call(code, piece.begin, target.begin, target.is_padding ? target.end - target.begin : landing_bytes))
        return true;
  }
  return false;
}

}  // namespace

bool has_call(std::span<const std::byte> code, u64 address, u64 target, u64 within) noexcept {
  const base::ByteReader in(code);
  const auto is_target = [&](u64 place) { return place - target <= within; };
#if defined(__x86_64__)
  constexpr u8 call = 0xe8, jump = 0xe9, two_bytes = 0x0f, jump_if = 0x80;
  constexpr u64 length = 5;
  for (u64 at = 0; at + length <= code.size(); ++at) {
    const u8 opcode = static_cast<u8>(code[at]);
    const bool is_conditional = (opcode & 0xf0) == jump_if && at > 0 && static_cast<u8>(code[at - 1]) == two_bytes;
    if (opcode != call && opcode != jump && !is_conditional) continue;
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

Result<std::vector<std::string>> callers_with_body_of(std::string_view function,
                                                      std::span<const std::string_view> callers,
                                                      const std::filesystem::path& symbols,
                                                      const std::filesystem::path& core) {
  std::vector<std::string_view> wanted(callers.begin(), callers.end());
  wanted.push_back(function);
  const auto image = SKEP_TRY(Core::open(core));  // first: who may not is spared the walk
  const auto functions = SKEP_TRY(Functions::find(symbols, wanted));
  std::vector<std::string> found;
  for (const auto& [name, pieces] : functions.all()) {
    if (source_name(name) == function) continue;
    std::vector<Piece> targets;
    for (const auto& [other, others_pieces] : functions.all())
      if (other == function || (source_name(other) != function && other != name))  // a clone is not what is probed
        std::ranges::copy(others_pieces, std::back_inserter(targets));
    if (!SKEP_TRY(comes_to(image, pieces, targets))) found.push_back(name);
  }
  return found;
}

}  // namespace skep::kernel
