// Programs that no verifier would take, drawn from numbers, and a look whether machine code with checks does with them
// what the checked interpreter does. For the random test and the fuzzer.
//
// A case is two programs that may enter each other by tail calls. They have functions, callbacks, calls by register,
// exceptions, packet loads and loops, and accesses that are mostly near memory of theirs. Compared are the result or
// the error with its instruction and address, and the memory afterwards. What depends on where the stack is shows by
// running the interpreter twice, at different depths of the native stack; then nothing can be compared.
#pragma once
#include <array>
#include <random>
#include <string>

#include "vm/bytecode.hpp"

namespace skep::unverified {

/// Numbers from bytes as long as there are any, then from a seed.
class Draw {
 public:
  explicit Draw(u64 seed, std::span<const u8> bytes = {}) : random_(seed), bytes_(bytes) {}
  u64 operator()(u64 range) {
    if (bytes_.empty()) return random_() % range;
    u64 value = 0;
    for (u64 limit = 1; limit < range && !bytes_.empty(); limit <<= 8) {
      value = value << 8 | bytes_.front();
      bytes_ = bytes_.subspan(1);
    }
    return value % range;
  }

 private:
  std::mt19937_64 random_;
  std::span<const u8> bytes_;
};

struct UnverifiedCase {
  std::array<std::vector<Insn>, 2> programs;
  std::array<s64, 2> exception_callbacks{-1, -1};
  std::array<u8, 64> memory{};
  u64 budget = 1'000;
};
UnverifiedCase draw_case(Draw& draw);

enum class Ending : u8 { result, violation, budget, addresses, refused };
struct Comparison {
  Ending ending = Ending::refused;
  std::string difference;  ///< "": none
};
/// `ending` is the interpreter's; refused: the programs do not even decode.
Comparison compare_unverified(const UnverifiedCase& drawn);

}  // namespace skep::unverified
