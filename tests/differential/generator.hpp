// What makes a random program: the words that all steps are written in, and the steps by what they are about.
// generator.cpp tells the story; numbers, memory and calls have files of their own.
#pragma once
#include <initializer_list>
#include <random>
#include <utility>
#include <vector>

#include "program.hpp"

namespace skep::differential {

inline constexpr s16 spill_at = -72, loop_at = -80, key_at = -96, buffer_at = -112;

/// What may be called at the place at hand, and with what.
struct Scope {
  bool main = false;
  u32 depth = 0;          ///< of blocks inside blocks
  u32 loops = 0;          ///< around this place
  bool r9_taken = false;  ///< r9 counts the rounds of a loop
};

class Generator {
 public:
  explicit Generator(u64 seed) : random_(seed) { out_.seed = seed; }

  RandomProgram run();

 private:
  // --- small words ---
  std::vector<Insn>& code() { return out_.insns; }
  s64 here() { return static_cast<s64>(code().size()); }
  u32 pick(u32 n) { return static_cast<u32>(random_() % n); }
  bool chance(u32 of) { return pick(of) == 0; }
  template <class T, std::size_t n>
  T any(const T (&from)[n]) {
    return from[pick(n)];
  }
  template <class T>
  T any(std::initializer_list<T> from) {
    return *(from.begin() + pick(static_cast<u32>(from.size())));
  }
  void put(u8 code_byte, u8 dst, u8 src, s32 off, s32 imm);
  void wide(u8 dst, u8 src, u32 low, u32 high);
  void mov(u8 dst, u8 src) { put(0xbf, dst, src, 0, 0); }
  void set(u8 dst, s32 imm) { put(0xb7, dst, 0, 0, imm); }
  void stack_address(u8 dst, s32 at);
  void map(u8 dst, MapIndex index) { wide(dst, 1, index, 0); }
  s32 small();
  u8 number();
  u8 number_but(u8 other);
  static constexpr u8 sizes[] = {0x00, 0x08, 0x10, 0x18};  // 4 2 1 8 bytes
  static u32 bytes_of(u8 size) { return size == 0 ? 4 : size == 8 ? 2 : size == 0x10 ? 1 : 8; }
  u8 load_code(u8 size) { return static_cast<u8>((size != 0x18 && chance(4) ? 0x81 : 0x61) | size); }

  void refill(u8 reg);
  void refill_after_call();

  // --- the shape of a program ---
  void choose_type();
  void fill_stack();
  void main_function();
  void function(u32 index);
  void callback();
  void block(u32 steps);
  void step();

  // --- numbers ---
  void arithmetic();
  void rotate(u8 dst, u8 other);
  void idiom(u8 dst);
  void count_bits(u8 x, u8 t, u8 mask);

  // --- control ---
  void many_ways();
  std::size_t condition();
  void land(std::size_t from);
  std::size_t forward();
  void branch();
  void loop();

  // --- memory ---
  void stack_access();
  void use(u8 pointer, s32 off, u8 size);
  void memory_access();
  void atomic(u8 pointer, s32 off);
  void spilled_pointer();

  // --- the context and its packet ---
  void context_load(u8 reg);
  void context_store();
  void context_step();
  void packet_access();
  void classic_load();

  // --- calls ---
  void call(s32 helper) { put(0x85, 0, 0, 0, helper); }

  void call_step();
  MapIndex keyed_map();
  void write_key(MapIndex of);
  void write_buffer();
  void look_up();
  void map_change();
  void queue_change();
  void local_call();
  void call_back();
  void packet_helper();
  void tail_call();
  void checksum();

  // --- the end ---
  void patch_calls();
  void inputs();
  void mutate();
  std::mt19937_64 random_;
  RandomProgram out_;
  Scope scope_;
  bool classic_ = false, loops_back_ = false, callback_used_ = false;
  u32 functions_wanted_ = 0, callbacks_wanted_ = 0, level_ = 0;
  s64 function_at_[2] = {}, callback_at_ = 0;
  std::vector<std::pair<std::size_t, u32>> calls_;
  std::vector<std::size_t> callback_loads_;
};

}  // namespace skep::differential
