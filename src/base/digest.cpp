// SHA-256, straight from the standard.
#include "base/digest.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace skep::base {
namespace {

constexpr u32 round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

u32 big_endian(const u8* at) noexcept { return u32{at[0]} << 24 | u32{at[1]} << 16 | u32{at[2]} << 8 | at[3]; }

}  // namespace

void Digest::block(const u8* data) noexcept {
  u32 w[64];
  for (int i = 0; i < 16; ++i) w[i] = big_endian(data + 4 * i);
  for (int i = 16; i < 64; ++i) {
    const u32 s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
    const u32 s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  auto [a, b, c, d, e, f, g, h] = state_;
  for (int i = 0; i < 64; ++i) {
    const u32 s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    const u32 t1 = h + s1 + ((e & f) ^ (~e & g)) + round_constants[i] + w[i];
    const u32 s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    const u32 t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  const u32 add[8] = {a, b, c, d, e, f, g, h};
  for (int i = 0; i < 8; ++i) state_[i] += add[i];
}

Digest& Digest::bytes(std::string_view data) noexcept {
  while (!data.empty()) {
    const std::size_t used = total_ % 64;
    const std::size_t take = std::min(data.size(), 64 - used);
    std::memcpy(pending_.data() + used, data.data(), take);
    total_ += take;
    data.remove_prefix(take);
    if (total_ % 64 == 0) block(pending_.data());
  }
  return *this;
}

Digest& Digest::number(u64 value) noexcept { return bytes({reinterpret_cast<const char*>(&value), sizeof value}); }

Digest& Digest::field(std::string_view data) noexcept { return number(data.size()).bytes(data); }

std::array<u8, 32> Digest::sum() noexcept {
  const u64 bits = total_ * 8;
  bytes(std::string_view("\x80", 1));
  while (total_ % 64 != 56) bytes(std::string_view("\0", 1));
  char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(bits >> (56 - 8 * i));
  bytes({length, 8});
  std::array<u8, 32> hash;
  for (std::size_t i = 0; i < hash.size(); ++i) hash[i] = static_cast<u8>(state_[i / 4] >> (24 - 8 * (i % 4)));
  return hash;
}

std::string Digest::name() noexcept {
  static constexpr char digits[] = "0123456789abcdef";
  const auto hash = sum();
  std::string out;
  for (int i = 0; i < 20; ++i) {
    out.push_back(digits[hash[i] >> 4]);
    out.push_back(digits[hash[i] & 15]);
  }
  return out;
}

}  // namespace skep::base
