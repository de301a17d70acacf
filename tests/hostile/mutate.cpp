// See mutate.hpp. Half of the damage goes to 8-byte slots, where instructions and table entries begin.
#include "mutate.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace skep::hostile {
namespace {

constexpr std::uint64_t interesting[] = {
    0,          1,      2,         4,       7,          8,          0x7f,       0x80,        0xff,
    0x7fff,     0x8000, 0xffff,    0x10000, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff,
    1ull << 63, ~0ull,  ~0ull - 7, 512,     4096};

void damage(std::vector<std::byte>& bytes, std::mt19937_64& random) {
  if (bytes.empty()) return;
  const auto below = [&](std::size_t limit) { return static_cast<std::size_t>(random() % limit); };
  std::size_t at = below(bytes.size());
  if (random() % 2 == 0) at &= ~std::size_t{7};
  switch (random() % 8) {
    case 0:
      bytes[at] ^= static_cast<std::byte>(1u << below(8));
      break;
    case 1:
      bytes[at] = static_cast<std::byte>(random());
      break;
    case 2:
    case 3:
    case 4: {
      const std::uint64_t value = interesting[below(std::size(interesting))];
      const std::size_t width = std::size_t{1} << below(4);
      std::memcpy(bytes.data() + at, &value, std::min(width, bytes.size() - at));
      break;
    }
    case 5: {
      const std::size_t from = below(bytes.size()), length = 1 + below(64);
      const std::vector<std::byte> piece(
          bytes.begin() + static_cast<std::ptrdiff_t>(from),
          bytes.begin() + static_cast<std::ptrdiff_t>(std::min(bytes.size(), from + length)));
      std::copy_n(piece.begin(), std::min(piece.size(), bytes.size() - at),
                  bytes.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    }
    case 6: {
      std::uint32_t word = 0;
      if (bytes.size() - at < sizeof word) break;
      std::memcpy(&word, bytes.data() + at, sizeof word);
      word += static_cast<std::uint32_t>(random() % 17) - 8;
      std::memcpy(bytes.data() + at, &word, sizeof word);
      break;
    }
    default:
      if (random() % 8 == 0) bytes.resize(at);
  }
}

}  // namespace

std::vector<std::byte> mutate(const std::vector<std::byte>& original, std::mt19937_64& random) {
  auto bytes = original;
  const auto count = 1 + random() % 8;
  for (std::uint64_t i = 0; i < count; ++i) damage(bytes, random);
  return bytes;
}

}  // namespace skep::hostile
