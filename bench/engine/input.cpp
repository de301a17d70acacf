// The input of all programs, the same on every machine. See programs.hpp.
#include <algorithm>
#include <cstring>

#include "engine/programs.hpp"

namespace skep::bench {
namespace {

/// splitmix64: the same numbers on every machine.
u64 next_random(u64& state) {
  u64 z = state += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return z ^ z >> 31;
}

/// One of sixteen frames: TCP, UDP, ICMP, ARP, with and without a VLAN tag, from a few hosts to a few ports.
void write_frame(std::byte* to, u32 index, u64& state) {
  u8 frame[frame_bytes];
  for (u8& byte : frame) byte = static_cast<u8>(next_random(state));
  constexpr u8 protocols[] = {6, 17, 6, 1, 6, 17, 6, 58};
  constexpr u8 ports[] = {80, 53, 187, 22};
  const bool tagged = index % 5 == 4, arp = index % 7 == 6;
  u32 at = 12;
  const auto put = [&](auto... bytes) { ((frame[at++] = static_cast<u8>(bytes)), ...); };
  if (tagged) put(0x81, 0x00, 0x00, index);
  if (arp)
    put(0x08, 0x06);
  else
    put(0x08, 0x00);
  put(index % 11 == 10 ? 0x46 : 0x45, 0, 0, 50, 0, index, 0, 0, 64, protocols[index % 8], 0, 0);
  put(index % 3 == 0 ? 10 : 192, 168, 0, index % 4, 192, 168, 1, index % 2);
  put(index, 200, 0, ports[index % 4]);
  std::memcpy(to, frame, sizeof frame);
}

}  // namespace

Input make_input() {
  Input input;
  u64 state = 2024;
  for (u64& word : input.words) word = next_random(state);
  std::sort(input.words.begin() + random_words, input.words.end());
  input.packet.resize(frames * frame_bytes);
  for (u32 i = 0; i < frames; ++i) write_frame(input.packet.data() + i * frame_bytes, i, state);
  return input;
}

}  // namespace skep::bench
