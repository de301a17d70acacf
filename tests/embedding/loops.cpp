// See loops.hpp.
//
// r9 is the context, r6 to r8 and the slots at -8, -16 and -24 hold the numbers a, b and c, r0 to r5 are for a moment.
// The slot at -32 holds what changes in every round. Programs are put together as text.
#include "loops.hpp"

#include <fmt/format.h>

#include "catalog/prototypes.hpp"
#include "isa/text.hpp"

namespace skep::embedding {

void LoopPrograms::line(std::string_view text) {
  text_ += text;
  text_ += '\n';
}

std::string LoopPrograms::label() { return fmt::format("l{}", labels_++); }

s32 LoopPrograms::limit() {
  constexpr s32 limits[] = {1, 2, 7, 16, 63, 64, 100, 255, 1000};
  return any(limits);
}

void LoopPrograms::choose_places() {
  u32 reg = 6;
  s32 slot = -8;
  for (Place* place : {&a_, &b_, &c_}) {
    *place = confuses_halves_ && chance(2) ? Place{0, slot, 4}
             : chance(3)                   ? Place{0, slot, chance(2) ? 4u : 8u}
                                           : Place{reg, 0, 8};
    reg++, slot -= 8;
  }
}

/// Into the register, as compilers do it: the whole, the low half, extended with or without a sign.
void LoopPrograms::load(u32 scratch, const Place& from) {
  if (from.reg == 0) {
    const bool is_narrow = from.bytes == 4 ? !chance(12) : chance(12);
    line(fmt::format("r{} = *({} *)(r10 {})", scratch, is_narrow ? "u32" : "u64", from.slot));
  } else {
    line(fmt::format("{0}{1} = {0}{2}", chance(5) ? 'w' : 'r', scratch, from.reg));
  }
  if (chance(12)) line(fmt::format("r{0} = (s32)r{0}", scratch));
  if (chance(16)) line(fmt::format("r{0} <<= 32\nr{0} {1}>>= 32", scratch, chance(2) ? "s" : ""));
}

void LoopPrograms::load_to_compare(u32 scratch, const Place& from) {
  if (from.reg != 0 || !confuses_halves_) return load(scratch, from);
  line(fmt::format("r{} = *(u64 *)(r10 {})", scratch, from.slot));
}

void LoopPrograms::store(const Place& to, u32 scratch) {
  if (to.reg != 0) return line(fmt::format("{0}{1} = {0}{2}", chance(5) ? 'w' : 'r', to.reg, scratch));
  const bool is_narrow = to.bytes == 4 ? !chance(12) : chance(12);
  line(fmt::format("*({} *)(r10 {}) = r{}", is_narrow ? "u32" : "u64", to.slot, scratch));
}

/// A number that is known, or known to be at most about `most`.
void LoopPrograms::begin_with(const Place& place, s32 most) {
  if (place.reg == 0 && place.bytes == 4 && (confuses_halves_ || chance(2))) {
    constexpr s32 above[] = {0, 1, -1, -0x7fffffff - 1, 0x7fffffff};
    line(fmt::format("*(u32 *)(r10 {}) = {}", place.slot + 4, any(above)));
  }
  switch (pick(4)) {
    case 0:
      return set(place, most);
    case 1:
      line(fmt::format("r1 = *({} *)(r9 +{})", chance(2) ? "u32" : "u64", 8 * pick(8)));
      break;
    case 2:
      line(fmt::format("r1 = map[.data][0]+{}\nr1 = *({} *)(r1 +0)", 8 * pick(8), chance(2) ? "u32" : "u64"));
      break;
    default:
      line("call get_prandom_u32\nr1 = r0");
      break;
  }
  line(fmt::format("{}1 &= {}", chance(2) ? "r" : "w", most < 2 ? 1 : chance(2) ? 1 : most));
  if (chance(3)) line(fmt::format("r1 += {}", static_cast<s32>(pick(9)) - 2));
  store(place, 1);
}

void LoopPrograms::set(const Place& place, s32 number) {
  if (place.reg != 0) return line(fmt::format("{}{} = {}", chance(4) ? "w" : "r", place.reg, number));
  line(fmt::format("*({} *)(r10 {}) = {}", place.bytes == 4 ? "u32" : "u64", place.slot, number));
}

void LoopPrograms::add(const Place& place, s32 number) {
  if (place.reg != 0 && !chance(4)) return line(fmt::format("{}{} += {}", width(), place.reg, number));
  load(2, place);
  line(fmt::format("{}2 += {}", width(), number));
  store(place, 2);
}

char LoopPrograms::width() { return chance(4) ? 'w' : 'r'; }

void LoopPrograms::coin(const std::string& target) {
  switch (pick(8)) {
    case 0:
      line("call get_prandom_u32");
      break;
    case 1:
      line("r0 = *(u64 *)(r10 -32)\nr0 += 1\n*(u64 *)(r10 -32) = r0");
      return line(fmt::format("if r0 & 1 goto {}", target));
    case 2:
    case 3:
      line(fmt::format("r0 = map[.data][0]+{}\nr0 = *(u32 *)(r0 +0)", 4 * pick(16)));
      break;
    default:
      line(fmt::format("r0 = *(u32 *)(r9 +{})", 8 * pick(16)));
      break;
  }
  constexpr const char* tests[] = {"r0 & 1", "r0 != 0", "w0 s< 0", "r0 > 7", "r0 == 0", "r0 & 0x40"};
  line(fmt::format("if {} goto {}", any(tests), target));
}

std::string LoopPrograms::comparison(std::string_view how) {
  constexpr const char* all[] = {"<", "<=", ">", ">=", "s<", "s<=", "s>", "s>=", "!=", "=="};
  return chance(10) ? any(all) : std::string(how);
}

void LoopPrograms::compare(const Place& left, std::string_view how, const Place& right, const std::string& target) {
  load_to_compare(1, left);
  load_to_compare(2, right);
  const char w = confuses_halves_ ? 'r' : width();
  line(fmt::format("if {0}1 {1} {0}2 goto {2}", w, comparison(how), target));
}

void LoopPrograms::compare(const Place& left, std::string_view how, s32 right, const std::string& target) {
  if (left.reg != 0 && chance(2)) {
    line(fmt::format("if {}{} {} {} goto {}", width(), left.reg, comparison(how), right, target));
  } else {
    load(1, left);
    line(fmt::format("if {}1 {} {} goto {}", width(), comparison(how), right, target));
  }
}

void LoopPrograms::maybe_disturb() {
  while (disturbances_ > 0 && chance(2)) {
    disturbances_--;
    const bool sometimes = chance(2);
    const std::string over = label();
    if (sometimes) coin(over);
    disturb();
    if (sometimes) line(over + ":");
  }
}

void LoopPrograms::disturb() {
  const Place& place = chance(2) ? a_ : chance(2) ? b_ : c_;
  constexpr s32 steps[] = {1, -1, 2, -2, 3, 0, 1000, -1000, 0x7fffffff, -0x7fffffff - 1};
  switch (pick(11)) {
    case 0:
    case 1:
      return add(place, any(steps));
    case 2:
      return set(place, chance(2) ? 0 : limit());
    case 3: {
      const Place& other = chance(2) ? a_ : c_;
      load(3, place);
      load(4, other);
      store(other, 3);
      return store(place, 4);
    }
    case 4: {
      load(2, place);
      constexpr const char* ops[] = {
          "r2 <<= 33\nr2 >>= 33", "w2 ^= 1", "r2 = -r2",        "r2 >>= 1", "r2 &= 0x3f",  "w2 s>>= 1",
          "r2 = (s32)r2",         "r2 /= 3", "r2 |= 1",         "r2 *= 2",  "r2 = (s8)r2", "r2 = be16 r2",
          "r2 <<= 32\nr2 >>= 32", "w2 += 0", "w2 %= 7\nw2 += 1"};
      line(any(ops));
      return store(place, 2);
    }
    default:
      return disturb_slot();
  }
}

/// A slot is written to by another way than the loop's own, whether it holds a number or not.
void LoopPrograms::disturb_slot() {
  const s32 slot = -8 * static_cast<s32>(1 + pick(3));
  constexpr const char* sizes[] = {"u8", "u16", "u32", "u64"};
  switch (pick(8)) {
    case 0:
      return line(fmt::format("r2 = r10\nr2 += {}\n*({} *)(r2 +0) = {}", slot, any(sizes), pick(3)));
    case 1:
      return line(fmt::format("*({} *)(r10 {}) = {}", any(sizes), slot + static_cast<s32>(8 * pick(1)), pick(3)));
    case 2:
      return line(fmt::format("*(u32 *)(r10 {}) = {}", slot + 4, chance(2) ? -1 : 1));
    case 3:
      calls_ = true;
      return line(fmt::format("r1 = r10\nr1 += {}\ncall changes", slot));
    case 4:
      return line(fmt::format("r1 = {}\nlock *({} *)(r10 {}) += {}1", chance(2) ? -1 : 0, "u64", slot, "r"));
    case 5:
      return line(fmt::format("r1 = r10\nr1 += {}\nr2 = {}\ncall get_current_comm", slot, chance(2) ? 4 : 8));
    case 6:
      calls_back_ = true;
      return line(fmt::format("r1 = {}\nr2 = subprog[back]\nr3 = r10\nr4 = 0\ncall loop", 1 + pick(2)));
    default:
      line(fmt::format("r0 = *(u32 *)(r9 +{})\nr0 &= 8\nr1 = r10\nr1 += {}\nr1 += r0\n*(u64 *)(r1 +0) = 0",
                       8 * pick(16), slot - 8));
      return;
  }
}

void LoopPrograms::loop(u32 depth) {
  switch (pick(14)) {
    case 0:
    case 1:
      return count_up(depth);
    case 2:
      return count_down(depth);
    case 3:
    case 4:
    case 5:
      return search();
    case 6:
      return two_ends();
    case 7:
      return shift_out();
    case 8:
      return euclid();
    case 9:
      return low_bits();
    case 10:
      return heap();
    case 11:
    case 12:
      return walk();
    default:
      return strides();
  }
}

void LoopPrograms::count_up(u32 depth) {
  const std::string head = label(), end = label();
  const bool has_bound = chance(3), is_tested_first = chance(2);
  const s32 most = limit();
  if (has_bound) begin_with(b_, most);
  begin_with(a_, 3);
  line(head + ":");
  if (is_tested_first) has_bound ? compare(a_, ">=", b_, end) : compare(a_, ">=", most, end);
  maybe_disturb();
  if (chance(6)) coin(head);
  if (depth == 0 && chance(3)) {
    const Place kept = a_;
    a_ = c_;
    count_up(1);
    a_ = kept;
  }
  add(a_, chance(6) ? 0 : 1 + static_cast<s32>(pick(3)));
  maybe_disturb();
  if (is_tested_first)
    line("goto " + head);
  else
    has_bound ? compare(a_, "<", b_, head) : compare(a_, "<", most, head);
  line(end + ":");
}

void LoopPrograms::count_down(u32 depth) {
  const std::string head = label(), end = label();
  begin_with(a_, limit());
  line(head + ":");
  maybe_disturb();
  if (depth == 0 && chance(4)) {
    const Place kept = a_;
    a_ = c_;
    count_up(1);
    a_ = kept;
  }
  add(a_, -1 - static_cast<s32>(pick(2)));
  if (chance(2)) maybe_disturb();
  constexpr const char* tests[] = {"s>", "s>=", "!=", ">"};
  compare(a_, any(tests), 0, head);
  line(end + ":");
}

/// lo in a, hi in b, the middle in c.
void LoopPrograms::search() {
  const std::string head = label(), end = label(), up = label();
  begin_with(a_, chance(2) ? 1 : limit());
  begin_with(b_, limit());
  const bool is_tested_first = chance(2), is_closed = chance(3);
  line(head + ":");
  if (is_tested_first) compare(a_, is_closed ? (chance(2) ? "s>" : ">") : chance(2) ? "s>=" : ">=", b_, end);
  load(3, a_);
  load(4, b_);
  const char w = chance(3) ? 'w' : 'r';
  const char* shift = chance(3) ? "s>>=" : ">>=";
  if (chance(2))
    line(fmt::format("{0}4 -= {0}3\n{0}4 {1} {2}\n{0}4 += {0}3", w, shift, chance(8) ? 2 : 1));
  else
    line(fmt::format("{0}4 += {0}3\n{1}{0}4 {2} 1", w, chance(6) ? fmt::format("{}4 += 1\n", w) : "", shift));
  store(c_, 4);
  maybe_disturb();
  coin(up);
  load(3, c_);
  if (chance(6) ? !is_closed : is_closed) line(fmt::format("{}3 += -1", width()));
  store(b_, 3);
  const std::string on = label();
  line("goto " + on);
  line(up + ":");
  load(3, c_);
  if (!chance(6)) line(fmt::format("{}3 += 1", width()));
  store(a_, 3);
  line(on + ":");
  maybe_disturb();
  if (is_tested_first)
    line("goto " + head);
  else
    compare(a_, is_closed ? (chance(2) ? "s<=" : "<=") : chance(2) ? "s<" : "<", b_, head);
  line(end + ":");
}

void LoopPrograms::two_ends() {
  const std::string head = label(), end = label(), other = label(), on = label();
  begin_with(a_, 3);
  begin_with(b_, limit());
  const bool is_tested_first = chance(2);
  line(head + ":");
  if (is_tested_first) compare(a_, chance(2) ? ">=" : "s>=", b_, end);
  maybe_disturb();
  coin(other);
  add(a_, chance(8) ? 0 : 1);
  line("goto " + on);
  line(other + ":");
  add(b_, chance(8) ? 0 : -1);
  line(on + ":");
  maybe_disturb();
  if (is_tested_first)
    line("goto " + head);
  else
    compare(a_, chance(2) ? "<" : "s<", b_, head);
  line(end + ":");
}

/// x >>= n, x /= n, x &= x - 1 until nothing is left.
void LoopPrograms::shift_out() {
  const std::string head = label(), end = label();
  if (chance(2))
    begin_with(a_, 0x7fffffff);
  else
    line(fmt::format("r1 = *({} *)(r9 +{})", chance(2) ? "u32" : "u64", 8 * pick(8))), store(a_, 1);
  const bool is_tested_first = chance(2);
  line(head + ":");
  if (is_tested_first) compare(a_, chance(3) ? "<" : "==", chance(6) ? 10 : 0, end);
  maybe_disturb();
  load(3, a_);
  const char w = width();
  constexpr const char* ops[] = {"{0}3 >>= 1",    "{0}3 >>= 7",
                                 "{0}3 /= 10",    "{0}3 s>>= 1",
                                 "{0}3 /= 1",     "{0}2 = {0}3\n{0}2 += -1\n{0}3 &= {0}2",
                                 "{0}3 /= 3",     "{0}3 >>= 0",
                                 "{0}3 s/= 2",    "{0}2 = {0}3\n{0}2 >>= 1\n{0}3 -= {0}2",
                                 "{0}3 &= 0x7ffe"};
  line(fmt::format(fmt::runtime(any(ops)), w));
  store(a_, 3);
  maybe_disturb();
  if (is_tested_first)
    line("goto " + head);
  else
    compare(a_, chance(3) ? ">" : "!=", chance(6) ? 9 : 0, head);
  line(end + ":");
}

void LoopPrograms::euclid() {
  const std::string head = label(), end = label();
  begin_with(a_, 0x7fffffff);
  begin_with(b_, chance(2) ? 0x7fffffff : limit());
  const bool is_tested_first = chance(2), has_remainder = !chance(4);
  const char w = width();
  line(head + ":");
  if (is_tested_first) compare(b_, "==", 0, end);
  maybe_disturb();
  load(3, a_);
  load(4, b_);
  line(fmt::format("{0}2 = {0}3\n{0}2 {1} {0}4", w, has_remainder ? "%=" : chance(2) ? "-=" : "s%="));
  store(a_, 4);
  store(b_, 2);
  maybe_disturb();
  if (is_tested_first)
    line("goto " + head);
  else
    compare(b_, "!=", 0, head);
  line(end + ":");
}

void LoopPrograms::low_bits() {
  const std::string head = label();
  begin_with(a_, 0x7fffffff);
  line(head + ":");
  maybe_disturb();
  constexpr s32 steps[] = {1, 3, 447767737, -1, 2, 0x10001};
  constexpr s32 masks[] = {1, 7, 0x703, 0x700, 0x40};
  add(a_, any(steps));
  maybe_disturb();
  load(1, a_);
  line(fmt::format("if {}1 & {} goto {}", width(), any(masks), head));
}

/// i = 2 * i + 1, or i = (i - 1) / 2.
void LoopPrograms::heap() {
  const std::string head = label(), end = label();
  begin_with(a_, 2);
  begin_with(b_, limit());
  const bool is_down = chance(2);
  line(head + ":");
  is_down ? compare(a_, ">=", b_, end) : compare(a_, "==", 0, end);
  maybe_disturb();
  load(3, a_);
  const char w = width();
  if (is_down)
    line(fmt::format("{0}3 {1}\n{0}3 += {2}", w, chance(2) ? "<<= 1" : "*= 2", chance(6) ? 0 : 1));
  else
    line(fmt::format("{0}3 += -1\n{0}3 >>= 1", w));
  store(a_, 3);
  maybe_disturb();
  line("goto " + head);
  line(end + ":");
}

/// A number that grows by what a byte of memory says.
void LoopPrograms::strides() {
  const std::string head = label(), end = label();
  const s32 most = limit();
  begin_with(a_, 3);
  line(head + ":");
  compare(a_, ">", most, end);
  maybe_disturb();
  line(fmt::format("r2 = map[.data][0]+{}\nr2 = *(u8 *)(r2 +0)", pick(64)));
  if (chance(2)) line("r2 &= 7");
  if (chance(2)) line("r2 <<= 3");
  load(3, a_);
  const char w = width();
  line(fmt::format("{0}3 += {0}2", w));
  if (!chance(4)) line(fmt::format("{0}3 += {1}", w, 1 + pick(8)));
  store(a_, 3);
  maybe_disturb();
  line("goto " + head);
  line(end + ":");
}

/// A number that goes up in some rounds and down in others, until it is below or above; each step may be paid for.
void LoopPrograms::walk() {
  const std::string head = label(), end = label(), down = label(), on = label();
  constexpr s32 steps[] = {1, 2, 3, 0};
  const s32 most = limit();
  const u32 paid = pick(3);  // by none, one of the two, both
  begin_with(a_, most);
  begin_with(b_, limit());
  line(head + ":");
  compare(a_, "s<", 1, end);
  compare(a_, "s>", most, end);
  if (paid != 0) compare(b_, "s<", 1, end);
  maybe_disturb();
  coin(down);
  add(a_, any(steps));
  if (paid != 0) add(b_, -any(steps));
  line("goto " + on);
  line(down + ":");
  add(a_, -any(steps));
  if (paid == 2) add(b_, -any(steps));
  line(on + ":");
  maybe_disturb();
  line("goto " + head);
  line(end + ":");
}

void LoopPrograms::functions() {
  if (calls_) {
    constexpr const char* bodies[] = {"*(u64 *)(r1 +0) = 0", "*(u8 *)(r1 +1) = 0", "r2 = *(u64 *)(r1 +0)",
                                      "r2 = *(u32 *)(r1 +0)\nr2 += -1\n*(u32 *)(r1 +0) = r2"};
    line(fmt::format("changes: {}\nr0 = 0\nexit", any(bodies)));
  }
  if (calls_back_) {
    constexpr const char* bodies[] = {"*(u64 *)(r2 -8) = 0", "*(u32 *)(r2 -16) = 7", "r1 = *(u64 *)(r2 -24)",
                                      "r1 = *(u64 *)(r2 -8)\nr1 += 1\n*(u64 *)(r2 -8) = r1"};
    line(fmt::format("back: {}\nr0 = {}\nexit", any(bodies), pick(2)));
  }
}

ProgramSpec LoopPrograms::program() {
  text_.clear();
  labels_ = 0;
  calls_ = calls_back_ = false;
  disturbances_ = chance(2) ? 0 : 1 + pick(3);
  confuses_halves_ = chance(6);
  choose_places();
  line("r9 = r1\n*(u64 *)(r10 -32) = 0");
  for (const char* reg : {"r6", "r7", "r8"}) line(fmt::format("{} = 0", reg));
  for (const s32 slot : {-8, -16, -24}) line(fmt::format("*(u64 *)(r10 {}) = 0", slot));
  loop(0);
  line("r0 = 0\nexit");
  functions();

  isa::ParseOptions options;
  options.helper_id = [](std::string_view name) -> std::optional<s32> {
    const auto id = catalog::helper_by_name(name);
    return id ? std::optional(static_cast<s32>(*id)) : std::nullopt;
  };
  ProgramSpec program;
  program.name = "loop";
  program.type = ProgramType::kprobe;
  program.functions.push_back({0, 0, "loop", false});
  auto assembly = isa::parse(text_, options);
  if (!assembly) {
    fmt::print(stderr, "{}\n{}\n", text_, assembly.error().message);
    std::abort();
  }
  program.insns = std::move(assembly->insns);
  for (const auto& use : assembly->maps)
    program.references.push_back({use.insn, Reference::Kind::map_value, 0,
                                  static_cast<u32>(program.insns[use.insn + 1].imm), ".data", 0, false});
  return program;
}

}  // namespace skep::embedding
