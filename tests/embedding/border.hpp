// The grammar that aims at the border between accept and refuse.
//
// Numbers from the context are bounded, or nearly, in every way compilers do it (masks, comparisons of either sign and
// width, copies, spills, sums with constants), then used as offsets into the stack, a map value and the packet. About
// one in two programs is accepted. r6 = context, r7 = 64 bytes of a map value (or of the stack), r9 = a pointer at
// work, the others numbers.
#pragma once
#include <random>
#include <skep/spec.hpp>

namespace skep::embedding {

inline constexpr u32 value_size = 64;

/// What the programs need: map 0 is the 64 bytes, map 1 a hash of four such values.
const ObjectSpec& object_with_value();

class Border {
 public:
  explicit Border(u64 seed) : random_(seed) {}

  /// A kprobe program; without a map r7 points into the stack.
  ProgramSpec program(bool with_map);
  /// An XDP program that also reads and writes its packet and looks up in the hash.
  ProgramSpec packet_program();
  bool loops = false;  ///< the last program has a loop, which may go round for long

 private:
  u32 pick(u32 n) { return static_cast<u32>(random_() % n); }
  bool chance(u32 of) { return pick(of) == 0; }
  template <class T, std::size_t n>
  T any(const T (&from)[n]) {
    return from[pick(n)];
  }
  s32 small();
  u8 number();
  u8 number_but(u8 other);
  void put(u32 code, u8 dst, u8 src, s32 off, s32 imm);
  void fresh_number(u8 reg);
  void begin(bool with_map);
  void body();
  ProgramSpec finish();
  void step(u32 left);
  void arithmetic();
  void narrow();
  void jump(u32 left);
  void bound(u8 index);
  void access();
  void linked_access();
  void stack();
  void partial_spill();
  void call();
  void function();
  void look_up();
  void packet_access();
  void counted_loop();
  void choice_by_sign();
  void pointer_in_step();
  void atomic();
  /// From here on the jump at `from` comes here.
  void land(std::size_t from);

  std::mt19937_64 random_;
  std::vector<Insn> out_;
  std::vector<Reference> references_;
  std::vector<std::size_t> calls_;
  ProgramType type_ = ProgramType::kprobe;
  bool with_map_ = false, with_functions_ = false;
  u32 depth_ = 0;
};

}  // namespace skep::embedding
