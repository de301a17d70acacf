// The program tag: SHA-256 over the instructions with map references zeroed. See tag.hpp.
#include "backend/tag.hpp"

#include <vector>

#include "base/digest.hpp"

namespace skep::backend {

std::array<u8, 32> sha256(std::span<const std::byte> bytes) noexcept {
  return base::Digest().bytes({reinterpret_cast<const char*>(bytes.data()), bytes.size()}).sum();
}

std::string program_tag(std::span<const Insn> insns) {
  constexpr u8 ld_imm64 = 0x18, map_by_fd = 1, map_value = 2;
  std::vector<Insn> hashed(insns.begin(), insns.end());
  for (std::size_t i = 0; i + 1 < hashed.size(); ++i) {
    if (hashed[i].code != ld_imm64) continue;
    if (hashed[i].src == map_by_fd || hashed[i].src == map_value) hashed[i].imm = hashed[i + 1].imm = 0;
    ++i;  // the second half is no instruction of its own
  }
  const auto digest = sha256(std::as_bytes(std::span(hashed)));
  std::string text;
  for (int i = 0; i < 8; ++i) {
    constexpr char digits[] = "0123456789abcdef";
    text += digits[digest[i] >> 4];
    text += digits[digest[i] & 15];
  }
  return text;
}

}  // namespace skep::backend
