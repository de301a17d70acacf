// Small damage to a valid object: what a disk, a network or an attacker does to a file.
#pragma once
#include <cstddef>
#include <random>
#include <vector>

namespace skep::hostile {

/// A damaged copy: one to eight of flipped bits, interesting numbers, moved, repeated or cut bytes.
std::vector<std::byte> mutate(const std::vector<std::byte>& original, std::mt19937_64& random);

}  // namespace skep::hostile
