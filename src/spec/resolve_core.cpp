// Patching instructions with CO-RE answers.
//
// Where the answer goes depends on the instruction: the immediate of arithmetic, the offset of a load or store (whose
// width may change with the field's), both halves of a 64-bit immediate. What cannot be answered is poisoned.
#include <fmt/core.h>

#include <limits>

#include "btf/core.hpp"
#include "spec/insn_codes.hpp"
#include "spec/resolve.hpp"

namespace skep::spec {
namespace {

std::optional<u8> size_code(u32 bytes) {
  switch (bytes) {
    case 1:
      return code::size_b;
    case 2:
      return code::size_h;
    case 4:
      return code::size_w;
    case 8:
      return code::size_dw;
    default:
      return std::nullopt;
  }
}

void poison(Insn& insn) {
  insn = Insn{};
  insn.code = code::call;
  insn.imm = poison_helper;
}

tl::unexpected<Error> unexpected_value(s64 found, u64 expected) {
  return fail(Code::malformed, fmt::format("the instruction holds {}, but the program's own types say {}", found,
                                           static_cast<s64>(expected)));
}

/// The first target that has a match; the first target's "nothing found" where none has.
Result<btf::CoreValue> answer(const btf::Btf& local, const CoreRelocation& relocation,
                              std::span<const std::shared_ptr<const btf::Btf>> targets, btf::CoreBudget& budget) {
  if (relocation.kind == static_cast<u32>(btf::CoreKind::type_id_local)) return btf::resolve(local, relocation, local);
  std::optional<btf::CoreValue> nothing;
  for (const auto& target : targets) {
    const auto value = SKEP_TRY(btf::resolve(local, relocation, *target, &budget));
    if (value.found) return value;
    if (!nothing) nothing = value;
  }
  if (nothing) return *nothing;
  return fail(Code::unsupported,
              "no types to relocate against; the kernel offers them in /sys/kernel/btf/vmlinux "
              "(CONFIG_DEBUG_INFO_BTF)");
}

Result<void> patch_arithmetic(Insn& insn, const btf::CoreValue& value) {
  if ((insn.code & code::source_register) != 0)
    return fail(Code::malformed, fmt::format("instruction code {:#04x} has no immediate", insn.code));
  if (value.validate && insn.imm != static_cast<s32>(value.original)) return unexpected_value(insn.imm, value.original);
  insn.imm = static_cast<s32>(value.value);
  return {};
}

Result<void> patch_memory(Insn& insn, const btf::CoreValue& value) {
  if (value.validate && insn.off != static_cast<s64>(value.original)) return unexpected_value(insn.off, value.original);
  if (value.value > static_cast<u64>(std::numeric_limits<s16>::max()))
    return fail(Code::rejected, fmt::format("offset {} does not fit a load or store (up to 32767)", value.value));
  if (!value.resizable) {
    poison(insn);
    return {};
  }
  // A compiler reads a bit-field with the narrowest load, which need not begin where its storage does.
  const s64 offset = value.validate ? static_cast<s64>(value.value)
                                    : insn.off + static_cast<s64>(value.value) - static_cast<s64>(value.original);
  insn.off = static_cast<s16>(offset);
  if (value.size == value.original_size) return {};
  const auto before = size_code(value.original_size);
  const auto after = size_code(value.size);
  if (!before || (insn.code & code::size_mask) != *before)
    return fail(Code::malformed,
                fmt::format("the instruction's width is not the field's {} bytes", value.original_size));
  if (!after)
    return fail(Code::rejected,
                fmt::format("the field has {} bytes in the target; no load has that width", value.size));
  insn.code = static_cast<u8>((insn.code & ~code::size_mask) | *after);
  return {};
}

Result<void> patch_wide(Insn* insn, const btf::CoreValue& value) {
  const u64 found = static_cast<u32>(insn[0].imm) | static_cast<u64>(static_cast<u32>(insn[1].imm)) << 32;
  // Compilers differ in how they extend a 32-bit enumerator; its lower half must agree.
  const bool agrees = found == value.original || (found == static_cast<u32>(value.original) ||
                                                  found == static_cast<u64>(s64{static_cast<s32>(value.original)}));
  if (value.validate && !agrees) return unexpected_value(static_cast<s64>(found), value.original);
  insn[0].imm = static_cast<s32>(value.value);
  insn[1].imm = static_cast<s32>(value.value >> 32);
  return {};
}

Result<void> patch(std::span<Insn> insns, u32 at, const btf::CoreValue& value) {
  Insn& insn = insns[at];
  const bool wide = insn.code == code::ld_imm64;
  if (wide && (at + 1 >= insns.size() || insns[at + 1].code != 0))
    return fail(Code::malformed, "a 64-bit load without its second half");
  if (value.poison) {
    poison(insn);
    if (wide) poison(insns[at + 1]);
    return {};
  }
  switch (insn.code & code::class_mask) {
    case code::class_alu:
    case code::class_alu64:
      return patch_arithmetic(insn, value);
    case code::class_ldx:
    case code::class_st:
    case code::class_stx:
      return patch_memory(insn, value);
    case code::class_ld:
      if (wide) return patch_wide(&insn, value);
      [[fallthrough]];
    default:
      return fail(Code::malformed, fmt::format("instruction code {:#04x} cannot be relocated", insn.code));
  }
}

}  // namespace

Result<void> apply_core(ProgramSpec& program, const btf::Btf& local,
                        std::span<const std::shared_ptr<const btf::Btf>> targets, btf::CoreBudget& budget) {
  for (const auto& relocation : program.relocations) {
    const auto place = [&] {
      return fmt::format("program {} instruction {}: CO-RE {}", program.name, relocation.insn,
                         btf::describe(local, relocation));
    };
    if (relocation.insn >= program.insns.size())
      return fail(Code::malformed, fmt::format("{}: the program has {} instructions", place(), program.insns.size()));
    const auto value = SKEP_TRY_AT(place(), answer(local, relocation, targets, budget));
    SKEP_TRY_AT(place(), patch(program.insns, relocation.insn, value));
  }
  // What found nothing stays on record: the verifier tells from it which field is missing.
  std::erase_if(program.relocations, [&](const CoreRelocation& r) { return !is_poisoned(program.insns[r.insn]); });
  return {};
}

bool is_poisoned(const Insn& insn) noexcept { return insn.code == code::call && insn.imm == poison_helper; }

}  // namespace skep::spec
