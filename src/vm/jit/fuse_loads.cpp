// Wide loads out of byte-wise ones (see passes.hpp).
//
// A program that cannot assume alignment reads a number byte by byte and puts it together with shifts; one that reads
// network order does so the other way round. For every combining operation this pass asks where each byte of the
// result comes from. If they are neighbours in memory, one load does it; if they are the bytes of one value, an
// extension or a byte swap does.
#include <algorithm>
#include <array>

#include "vm/jit/meaning.hpp"
#include "vm/jit/passes.hpp"

namespace skep::vm::ir {
namespace {

/// Where one byte of a value comes from.
struct Byte {
  enum class From : u8 { zero, memory, value, unknown } from = From::zero;
  u8 index = 0;             ///< value: which of its bytes
  Value source = no_value;  ///< memory: the load; value: the value
  s64 offset = 0;           ///< memory: of the byte, relative to the load's base
};
using Bytes = std::array<Byte, 8>;

class Fuser {
 public:
  explicit Fuser(Function& f) : f_(f), epoch_(f.insns.size(), 0), uses_(f.insns.size(), 0) {
    for (const auto& block : f.blocks) {
      u32 epoch = 0;
      for (const Value v : block.insns) {
        epoch += row(f.insns[v].op).effect == Effect::writes ? 1 : 0;
        epoch_[v] = epoch;
        for (const Value operand : f.operands_of(v)) uses_[operand]++;
      }
    }
  }

  void run() {
    for (BlockId b = 0; b < f_.blocks.size(); b++)
      for (std::size_t i = f_.blocks[b].insns.size(); i-- > 0;) {
        const Value v = f_.blocks[b].insns[i];
        if (!is_combining(v)) continue;
        if (fuse(v)) i = std::min(i, f_.blocks[b].insns.size());
      }
  }

 private:
  bool is_combining(Value v) const {
    const Op op = f_.insns[v].op;
    return op == Op::or_ || op == Op::add || op == Op::xor_ || op == Op::bswap;
  }
  Value operand(Value v, u32 i) const { return f_.operands[f_.insns[v].first + i]; }

  /// Byte count of a shift by whole bytes, or 8.
  u32 byte_shift(Value count) const {
    if (!f_.is_constant(count)) return 8;
    const auto bits = static_cast<u64>(f_.insns[count].imm);
    return bits % 8 == 0 && bits < 64 ? static_cast<u32>(bits / 8) : 8;
  }

  static Bytes shifted_up(const Bytes& in, u32 by) {
    Bytes out;
    for (u32 i = by; i < 8; i++) out[i] = in[i - by];
    return out;
  }
  static void keep(Bytes& bytes, u32 count) {
    for (u32 i = count; i < 8; i++) bytes[i] = {};
  }

  Bytes itself(Value v) const {
    Bytes out;
    for (u8 i = 0; i < 8; i++) out[i] = {Byte::From::value, i, v};
    return out;
  }

  Bytes bytes_of(Value v, u32 depth) const {
    const Inst& inst = f_.insns[v];
    if (depth == 0 && inst.op != Op::load && inst.op != Op::load_swapped) return itself(v);
    const bool is_half = inst.width == 32;
    switch (inst.op) {
      case Op::load:
      case Op::load_swapped:
        return of_load(v);
      case Op::constant:
        return inst.imm == 0 ? Bytes{} : itself(v);
      case Op::zext: {
        Bytes out = bytes_of(operand(v, 0), depth - 1);
        keep(out, inst.bits / 8u);
        return out;
      }
      case Op::bswap: {
        Bytes out = bytes_of(operand(v, 0), depth - 1);
        std::reverse(out.begin(), out.begin() + inst.bits / 8);
        keep(out, inst.bits / 8u);
        return out;
      }
      case Op::shl:
      case Op::shr: {
        const u32 by = byte_shift(operand(v, 1));
        if (by == 8) return itself(v);
        Bytes in = bytes_of(operand(v, 0), depth - 1);
        if (is_half) keep(in, 4);
        Bytes out;
        if (inst.op == Op::shl) {
          out = shifted_up(in, by);
        } else {
          for (u32 i = 0; i + by < 8; i++) out[i] = in[i + by];
        }
        if (is_half) keep(out, 4);
        return out;
      }
      case Op::and_:
        return masked(v, depth);
      case Op::or_:
      case Op::xor_:
      case Op::add:
        return combined(v, depth);
      default:
        return itself(v);
    }
  }

  Bytes of_load(Value v) const {
    const Inst& inst = f_.insns[v];
    Bytes out;
    const u32 count = inst.bits / 8u;
    for (u32 i = 0; i < 8; i++) {
      if (i < count) {
        const u32 place = inst.op == Op::load ? i : count - 1 - i;
        out[i] = {Byte::From::memory, 0, v, inst.imm + place};
      } else if (inst.has(Inst::sign)) {
        out[i] = {Byte::From::unknown};
      }
    }
    return out;
  }

  Bytes masked(Value v, u32 depth) const {
    const Value mask = operand(v, 1);
    if (!f_.is_constant(mask)) return itself(v);
    Bytes out = bytes_of(operand(v, 0), depth - 1);
    const u64 bits = low_bits(static_cast<u64>(f_.insns[mask].imm), f_.insns[v].width);
    for (u32 i = 0; i < 8; i++) {
      const u64 byte = bits >> (i * 8) & 0xff;
      if (byte == 0)
        out[i] = {};
      else if (byte != 0xff)
        return itself(v);
    }
    return out;
  }

  /// Every byte may come from one side only: then or, xor and + are the same.
  Bytes combined(Value v, u32 depth) const {
    Bytes a = bytes_of(operand(v, 0), depth - 1);
    const Bytes b = bytes_of(operand(v, 1), depth - 1);
    for (u32 i = 0; i < 8; i++) {
      if (b[i].from == Byte::From::zero) continue;
      if (a[i].from != Byte::From::zero) return itself(v);
      a[i] = b[i];
    }
    if (f_.insns[v].width == 32) keep(a, 4);
    return a;
  }

  bool fuse(Value v) {
    const Bytes bytes = bytes_of(v, 12);
    u32 count = 8;
    while (count > 0 && bytes[count - 1].from == Byte::From::zero) count--;
    if (count != 2 && count != 4 && count != 8) return false;
    return bytes[0].from == Byte::From::memory ? fuse_memory(v, bytes, count) : fuse_value(v, bytes, count);
  }

  bool fuse_memory(Value v, const Bytes& bytes, u32 count) {
    const Value first = bytes[0].source;
    const bool is_up = bytes[1].from == Byte::From::memory && bytes[1].offset == bytes[0].offset + 1;
    bool is_many = false, is_shared = false, is_stack = true;
    Value earliest = first;
    for (u32 i = 0; i < count; i++) {
      const Byte& byte = bytes[i];
      if (byte.from != Byte::From::memory) return false;
      const Inst& load = f_.insns[byte.source];
      const s64 expected = is_up ? bytes[0].offset + i : bytes[0].offset - static_cast<s64>(i);
      if (byte.offset != expected || operand(byte.source, 0) != operand(first, 0)) return false;
      if (load.block != f_.insns[first].block || epoch_[byte.source] != epoch_[first]) return false;
      is_many = is_many || byte.source != first;
      is_shared = is_shared || uses_[byte.source] != 1;
      is_stack = is_stack && load.has(Inst::stack);
      if (position(byte.source) < position(earliest)) earliest = byte.source;
    }
    // One load that is only swapped: worth it when nobody else wants the bytes as they lie.
    if (!is_many && (is_shared || is_up)) return false;
    const Value base = operand(first, 0);
    const s64 low = is_up ? bytes[0].offset : bytes[count - 1].offset;
    return become(v,
                  {.op = is_up ? Op::load : Op::load_swapped,
                   .bits = static_cast<u8>(count * 8),
                   .flags = static_cast<u8>(is_stack ? Inst::stack : 0),
                   .imm = low},
                  base, earliest);
  }

  bool fuse_value(Value v, const Bytes& bytes, u32 count) {
    const Value source = bytes[0].source;
    if (source == v || bytes[0].from != Byte::From::value) return false;
    const bool is_up = bytes[1].index == bytes[0].index + 1;
    for (u32 i = 0; i < count; i++) {
      const u32 expected = is_up ? i : count - 1 - i;
      if (bytes[i].from != Byte::From::value || bytes[i].source != source || bytes[i].index != expected) return false;
    }
    if (f_.insns[v].op == Op::bswap && !is_up && operand(v, 0) == source) return false;
    if (is_up && count == 8) return false;
    Inst& inst = f_.insns[v];
    inst = {.op = is_up ? Op::zext : Op::bswap,
            .bits = static_cast<u8>(count * 8),
            .count = 1,
            .first = inst.first,
            .block = inst.block};
    f_.operands[inst.first] = source;
    return true;
  }

  std::ptrdiff_t position(Value v) const {
    const auto& list = f_.blocks[f_.insns[v].block].insns;
    return std::ranges::find(list, v) - list.begin();
  }

  /// The instruction itself becomes the load and moves to where the first of the old ones stands.
  bool become(Value v, Inst load, Value base, Value where) {
    Inst& inst = f_.insns[v];
    std::erase(f_.blocks[inst.block].insns, v);
    load.block = f_.insns[where].block;
    load.first = inst.first;
    load.count = 1;
    inst = load;
    f_.operands[load.first] = base;
    epoch_[v] = epoch_[where];
    auto& list = f_.blocks[load.block].insns;
    list.insert(list.begin() + position(where), v);
    return true;
  }

  Function& f_;
  std::vector<u32> epoch_;  ///< writes in the block up to here
  std::vector<u32> uses_;
};

}  // namespace

void fuse_loads(Function& f) { Fuser(f).run(); }

}  // namespace skep::vm::ir
