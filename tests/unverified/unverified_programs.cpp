// See unverified_programs.hpp.
#include "unverified_programs.hpp"

#include <fmt/format.h>

#include <cstring>

#include "isa/isa.hpp"
#include "isa/text.hpp"
#include "vm/checked_program.hpp"

namespace skep::unverified {
namespace {

using isa::Form;
using namespace vm;

constexpr s32 helper_sum = 1, helper_loop = 2, helper_seven = 3;
constexpr u32 memory_bytes = 64;

// --- drawing ---

class Writer {
 public:
  explicit Writer(Draw& draw) : draw_(draw) {}

  std::vector<Insn> program() {
    const u64 count = 2 + draw_(24);
    while (insns_.size() < count) one();
    insns_.push_back({isa::code_exit, 0, 0, 0, 0});
    if (draw_(8) == 0) insns_.pop_back();  // runs off its end
    aim();
    return std::move(insns_);
  }

 private:
  u8 reg() { return static_cast<u8>(draw_(10)); }
  void put(u8 code, u8 dst, u8 src, s64 off, s64 imm) {
    insns_.push_back({code, dst, src, static_cast<s16>(off), static_cast<s32>(imm)});
  }
  void one() {
    switch (draw_(10)) {
      case 0:  // a pointer into the frame, or into the one around it
        put(0xbf, reg(), isa::frame_pointer, 0, 0);
        return put(0x07, insns_.back().dst, 0, 0, -static_cast<s64>(draw_(540)));
      case 1:
        return put(0x07, reg(), 0, 0, static_cast<s64>(draw_(24)) - 8);
      case 2:
        return put(0xb7, reg(), 0, 0, static_cast<s64>(draw_(5)));
      case 3: {
        constexpr s32 helpers[] = {helper_sum, helper_loop, helper_seven, isa::helper_tail_call};
        return put(isa::code_call, 0, 0, 0, helpers[draw_(std::size(helpers))]);
      }
      case 4:
        if (draw_(3) != 0) return put(isa::code_call, 0, isa::call_src_local, 0, 0);
        put(isa::code_ld_imm64, reg(), isa::imm64_src_function, 0, 0);
        return put(0, 0, 0, 0, 0);
      default:
        return row();
    }
  }
  void row() {
    const auto& row = isa::rows()[draw_(isa::op_count)];
    const auto pick = [&](s32 fixed, u64 range) {
      return fixed != isa::any ? static_cast<s64>(fixed) : static_cast<s64>(draw_(range));
    };
    Insn insn{row.code, isa::uses_dst(row.form) ? static_cast<u8>(draw_(11)) : u8{0},
              static_cast<u8>(pick(row.src, 11)), static_cast<s16>(pick(row.off, 8)),
              static_cast<s32>(pick(row.imm, 8))};
    if (isa::access_bytes(insn) != 0 && draw_(4) != 0) near_memory(insn);
    if (row.form == Form::call_kfunc) insn.imm = 1;
    if (row.form == Form::call_helper) insn.imm = helper_seven;
    if (row.form == Form::addr_space_cast || (row.form == Form::ld_imm64 && row.op != isa::Op::ld_function))
      insn = {0x18, reg(), 0, 0, static_cast<s32>(draw_(256))};
    insns_.push_back(insn);
    if (isa::is_ld_imm64(insn)) put(0, 0, 0, 0, 0);
  }
  void near_memory(Insn& insn) {
    const u8 base = draw_(3) != 0 ? u8{1} : isa::frame_pointer;
    const bool loads = isa::class_of(insn) == isa::class_ldx || insn.imm == 0x100;  // load-acquire has its base in src
    if (loads)  // Clang 14 chooses between no bit-fields
      insn.src = base;
    else
      insn.dst = base;
    const s64 off = base == 1 ? static_cast<s64>(draw_(memory_bytes + 4)) - 2 : -static_cast<s64>(draw_(530));
    insn.off = static_cast<s16>(draw_(4) == 0 ? off : off & ~7);
  }
  /// Jumps, calls and functions lead to instructions of the program, mostly near and mostly forward.
  void aim() {
    for (std::size_t i = 0; i < insns_.size(); i += isa::slots(insns_[i])) {
      Insn& insn = insns_[i];
      const auto op = isa::decode(insn);
      if (!op) continue;
      const Form form = isa::row(*op).form;
      const bool calls = form == Form::call_local || *op == isa::Op::ld_function;
      if (!isa::is_jump(form) && !calls) continue;
      std::size_t to = draw_(4) == 0 ? draw_(insns_.size()) : i + 1 + draw_(insns_.size() - i);
      if (to >= insns_.size()) to = insns_.size() - 1;
      if (to > 0 && isa::is_ld_imm64(insns_[to - 1])) to--;
      const s64 distance = static_cast<s64>(to) - static_cast<s64>(i) - 1;
      if (calls || form == Form::jump_long)
        insn.imm = static_cast<s32>(distance);
      else
        insn.off = static_cast<s16>(distance);
    }
  }

  Draw& draw_;
  std::vector<Insn> insns_;
};

// --- running ---

struct World {
  std::array<std::shared_ptr<const Function>, 2> functions;
};
thread_local World* world = nullptr;

const Function* tail_target(u64, u32 index) noexcept {
  return index < world->functions.size() ? world->functions[index].get() : nullptr;
}
u64 sum(void*, u64 a, u64 b, u64 c, u64 d, u64 e) noexcept { return a + 3 * b + 5 * c + 7 * d + 11 * e; }
u64 seven(void*, u64, u64, u64, u64, u64) noexcept { return 7; }
/// Like bpf_loop, of callbacks that are some: those a program made up are no concern of this test.
u64 loop(void* opaque, u64 callback, u64 times, u64 context, u64, u64) noexcept {
  auto& run = *static_cast<Run*>(opaque);
  for (const auto& function : world->functions) {
    const base::Callback* known = function->bytecode().callback_at(callback);
    if (known == nullptr || run.callback_depth >= 3) continue;
    run.callback_depth++;
    u64 done = 0;
    while (done < times % 4 && !run.thrown && (*known)(opaque, done, context, 0, 0, 0) == 0) done++;
    run.callback_depth--;
    return done;
  }
  return 0;
}
u64 throw_cookie(void* opaque, u64 cookie, u64, u64, u64, u64) noexcept {
  auto& run = *static_cast<Run*>(opaque);
  run.thrown = true;
  run.thrown_value = cookie;
  return 0;
}
s64 load_packet(void*, void*, u32 offset, u32 size, u64* out) noexcept {
  if (offset > 40) return -1;
  *out = u64{offset} * 0x0101 + size;
  return 0;
}
constexpr HelperFn helpers[] = {nullptr, sum, loop, seven};

Result<std::shared_ptr<const Function>> function_of(const std::vector<Insn>& insns, s64 exception_callback) {
  std::vector<Reference> references;
  for (u32 i = 0; i < insns.size(); i += isa::slots(insns[i]))
    if (insns[i].code == isa::code_call && insns[i].src == isa::call_src_kfunc)
      references.push_back({.insn = i, .kind = Reference::Kind::kfunc, .name = "bpf_throw"});
  Bindings bindings;
  bindings.helpers = helpers;
  bindings.tail_target = tail_target;
  bindings.load_packet = load_packet;
  bindings.kfunc = [](std::string_view) -> HelperFn { return throw_cookie; };
  const Source source{
      .insns = insns, .references = references, .clear_frames = true, .exception_callback = exception_callback};
  return trusted_function(SKEP_TRY(translate(source, bindings)));
}

struct OneRegion final : MemoryGuard {
  explicit OneRegion(std::span<u8> memory) : begin(reinterpret_cast<u64>(memory.data())), size(memory.size()) {}
  bool allows(u64 address, u32 bytes, bool) noexcept override {
    const u64 offset = address - begin;
    return offset <= size && bytes <= size - offset;
  }
  u64 begin, size;
};

/// What a run leaves behind.
struct Left {
  Result<u64> result = 0u;
  std::array<u8, memory_bytes> memory{};
};

class Runner {
 public:
  explicit Runner(const UnverifiedCase& drawn) : drawn_(drawn) {}

  [[gnu::noinline]] Left interpreted(std::size_t deeper) {
    auto* padding = static_cast<volatile u8*>(__builtin_alloca(deeper));
    padding[0] = 0;
    Run run;
    OneRegion guard(memory_);
    memory_ = drawn_.memory;
    auto result = world->functions[0]->run_checked(run, memory_.data(), guard, drawn_.budget);
    return {std::move(result), memory_};
  }
  Left compiled() {
    const MemoryRegion region{reinterpret_cast<u64>(memory_.data()), memory_.size()};
    CheckedInput input;
    input.r1 = region.begin;
    input.regions = {&region, 1};
    input.max_insns = drawn_.budget;
    memory_ = drawn_.memory;
    auto result = run_checked_code(*world->functions[0], input);
    return {std::move(result), memory_};
  }
  /// The same text for the same end. Addresses in the memory are what they are; others are the stack's, which lies
  /// elsewhere in every engine, or small numbers.
  std::string text_of(const Left& left) const {
    std::string text = left.result ? fmt::format("result {:#x}", *left.result) : left.result.error().message;
    const auto at = text.find(" 0x");
    if (left.result || at == std::string::npos) return text;
    std::size_t digits = 0;
    const u64 address = std::stoull(text.substr(at + 3), &digits, 16);
    const u64 distance = address - reinterpret_cast<u64>(memory_.data()) + 4096;
    const bool comparable = distance < 8192 || address < 1u << 20;
    return comparable ? text : fmt::format("{} ?{}", text.substr(0, at), text.substr(at + 3 + digits));
  }

 private:
  const UnverifiedCase& drawn_;
  alignas(16) std::array<u8, memory_bytes> memory_{};
};

}  // namespace

UnverifiedCase draw_case(Draw& draw) {
  UnverifiedCase drawn;
  for (std::size_t i = 0; i < 2; i++) {
    drawn.programs[i] = Writer(draw).program();
    const s64 handler = static_cast<s64>(draw(drawn.programs[i].size() * 2));
    const bool is_start = handler < static_cast<s64>(drawn.programs[i].size()) &&
                          (handler == 0 || !isa::is_ld_imm64(drawn.programs[i][static_cast<std::size_t>(handler) - 1]));
    drawn.exception_callbacks[i] = is_start ? handler : -1;
  }
  for (u8& byte : drawn.memory) byte = static_cast<u8>(draw(256));
  drawn.budget = draw(2) == 0 ? 2'000 : 1 + draw(60);
  return drawn;
}

Comparison compare_unverified(const UnverifiedCase& drawn) {
  World here;
  world = &here;
  for (std::size_t i = 0; i < 2; i++) {
    auto function = function_of(drawn.programs[i], drawn.exception_callbacks[i]);
    if (!function) return {};
    here.functions[i] = std::move(*function);
  }
  Runner runner(drawn);
  const Left first = runner.interpreted(16), again = runner.interpreted(50'000), got = runner.compiled();
  const std::string expected = runner.text_of(first);
  if (expected != runner.text_of(again) || first.memory != again.memory) return {Ending::addresses, ""};
  const Ending ending = first.result                               ? Ending::result
                        : first.result.error().code == Code::limit ? Ending::budget
                                                                   : Ending::violation;
  const std::string text = runner.text_of(got);
  if (expected == text && first.memory == got.memory) return {ending, ""};
  // Perhaps only some bits of an address were looked at (not the lowest six: stacks of both engines are aligned to 64
  // bytes): many places of the stack show it.
  for (std::size_t deeper = 32; deeper < 40'000; deeper += 16 * 17) {
    const Left elsewhere = runner.interpreted(deeper);
    if (expected != runner.text_of(elsewhere) || first.memory != elsewhere.memory) return {Ending::addresses, ""};
  }
  return {ending, fmt::format("interpreter: {}\nmachine code: {}{}\nbudget {}\n{}\n{}", expected, text,
                              first.memory == got.memory ? "" : "\nthe memory differs", drawn.budget,
                              isa::disassemble(drawn.programs[0]), isa::disassemble(drawn.programs[1]))};
}

}  // namespace skep::unverified
