// DEFLATE, the plain way: one bit at a time through the canonical code.
#include "base/gunzip.hpp"

#include <array>
#include <skep/types.hpp>
#include <vector>

namespace skep::base {

namespace {

constexpr u32 longest_code = 15;

/// Symbols by code length, in code order.
struct Huffman {
  std::array<u16, longest_code + 1> count{};
  std::vector<u16> symbols;

  explicit Huffman(std::span<const u8> lengths) {
    for (const u8 length : lengths) ++count[length];
    count[0] = 0;
    std::array<u16, longest_code + 2> start{};
    for (u32 length = 1; length <= longest_code; ++length)
      start[length + 1] = static_cast<u16>(start[length] + count[length]);
    symbols.resize(lengths.size());
    for (std::size_t symbol = 0; symbol < lengths.size(); ++symbol)
      if (lengths[symbol] != 0) symbols[start[lengths[symbol]]++] = static_cast<u16>(symbol);
  }
};

class Inflater {
 public:
  Inflater(std::span<const std::byte> in, std::size_t limit) : in_(in), limit_(limit) {}

  Result<std::string> run() {
    for (bool last = false; !last;) {
      last = bits(1) != 0;
      switch (bits(2)) {
        case 0:
          SKEP_TRY(stored());
          break;
        case 1:
          SKEP_TRY(fixed());
          break;
        case 2:
          SKEP_TRY(dynamic());
          break;
        default:
          return fail(Code::malformed, "gzip: a block of unknown kind");
      }
      if (cut_off_) return fail(Code::malformed, "gzip: the data ends in the middle");
    }
    return std::move(out_);
  }

 private:
  u32 bits(u32 count) {
    u32 value = 0;
    for (u32 i = 0; i < count; ++i, ++bit_) {
      if (bit_ / 8 >= in_.size()) {
        cut_off_ = true;
        return 0;
      }
      value |= (static_cast<u32>(in_[bit_ / 8]) >> (bit_ % 8) & 1) << i;
    }
    return value;
  }

  /// The next symbol of a code, or -1.
  int symbol(const Huffman& code) {
    int first = 0, index = 0, value = 0;
    for (u32 length = 1; length <= longest_code && !cut_off_; ++length) {
      value |= static_cast<int>(bits(1));
      const int count = code.count[length];
      if (value - count < first) return code.symbols[static_cast<std::size_t>(index + value - first)];
      index += count;
      first = (first + count) << 1;
      value <<= 1;
    }
    return -1;
  }

  Result<void> stored() {
    bit_ = (bit_ + 7) / 8 * 8;
    const u32 length = bits(16), inverted = bits(16);
    if (length != (~inverted & 0xffff)) return fail(Code::malformed, "gzip: a stored block with a wrong length");
    for (u32 i = 0; i < length && !cut_off_; ++i) out_ += static_cast<char>(bits(8));
    return check_size();
  }

  Result<void> fixed() {
    std::array<u8, 288> lengths{};
    for (u32 i = 0; i < 288; ++i) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    std::array<u8, 30> distances{};
    distances.fill(5);
    return codes(Huffman(lengths), Huffman(distances));
  }

  Result<void> dynamic() {
    const u32 literal_count = bits(5) + 257, distance_count = bits(5) + 1, length_count = bits(4) + 4;
    constexpr u8 order[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    std::array<u8, 19> code_lengths{};
    for (u32 i = 0; i < length_count; ++i) code_lengths[order[i]] = static_cast<u8>(bits(3));
    const Huffman code(code_lengths);
    std::vector<u8> lengths;
    while (lengths.size() < literal_count + distance_count) {
      const int next = symbol(code);
      if (next < 0 || (next == 16 && lengths.empty())) return fail(Code::malformed, "gzip: broken code lengths");
      if (next < 16)
        lengths.push_back(static_cast<u8>(next));
      else if (next == 16)
        lengths.insert(lengths.end(), 3 + bits(2), lengths.back());
      else
        lengths.insert(lengths.end(), next == 17 ? 3 + bits(3) : 11 + bits(7), 0);
    }
    const std::span<const u8> all(lengths);
    return codes(Huffman(all.first(literal_count)), Huffman(all.subspan(literal_count, distance_count)));
  }

  Result<void> codes(const Huffman& literals, const Huffman& distances) {
    constexpr u16 length_base[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                   31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    constexpr u8 length_extra[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                   2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    constexpr u16 distance_base[] = {1,    2,    3,    4,    5,    7,    9,    13,    17,    25,
                                     33,   49,   65,   97,   129,  193,  257,  385,   513,   769,
                                     1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    for (;;) {
      const int next = symbol(literals);
      if (next < 0 || next > 285) return fail(Code::malformed, "gzip: a code that does not exist");
      if (next == 256) return {};
      if (next < 256) {
        out_ += static_cast<char>(next);
      } else {
        const auto row = static_cast<std::size_t>(next - 257);
        const u32 length = length_base[row] + bits(length_extra[row]);
        const int place = symbol(distances);
        if (place < 0 || place > 29) return fail(Code::malformed, "gzip: a distance that does not exist");
        const u32 distance = distance_base[place] + bits(place < 4 ? 0 : static_cast<u32>(place) / 2 - 1);
        if (distance > out_.size()) return fail(Code::malformed, "gzip: a copy from before the beginning");
        for (u32 i = 0; i < length; ++i) out_ += out_[out_.size() - distance];
      }
      SKEP_TRY(check_size());
    }
  }

  Result<void> check_size() const {
    if (out_.size() > limit_)
      return fail(Code::limit, "gzip: more than " + std::to_string(limit_) + " bytes of content");
    return {};
  }

  std::span<const std::byte> in_;
  std::size_t bit_ = 0;
  std::size_t limit_;
  std::string out_;
  bool cut_off_ = false;
};

}  // namespace

Result<std::string> gunzip(std::span<const std::byte> bytes, std::size_t limit_bytes) {
  constexpr std::size_t header_bytes = 10;
  const auto at = [&](std::size_t i) { return static_cast<u8>(bytes[i]); };
  if (bytes.size() < header_bytes || at(0) != 0x1f || at(1) != 0x8b || at(2) != 8)
    return fail(Code::malformed, "not a gzip file");
  const u8 flags = at(3);
  std::size_t start = header_bytes;
  if ((flags & 4) != 0 && start + 2 <= bytes.size()) start += 2 + (at(start) | at(start + 1) << 8);  // extra field
  for (const u8 text : {8, 16})  // file name, comment: zero-terminated
    if ((flags & text) != 0) {
      while (start < bytes.size() && at(start) != 0) ++start;
      ++start;
    }
  if ((flags & 2) != 0) start += 2;  // header checksum
  if (start >= bytes.size()) return fail(Code::malformed, "gzip: the header is cut off");
  return Inflater(bytes.subspan(start), limit_bytes).run();
}

}  // namespace skep::base
