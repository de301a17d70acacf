// What an older Linux does not have: Options::kernel_version.
//
// Asked at each instruction that is followed, so that code behind a test that CO-RE decides (does this kernel have
// ...?) stands in nobody's way.
#include "catalog/helpers.hpp"
#include "catalog/versions.hpp"
#include "verify/checker.hpp"

namespace skep::verify {

using catalog::Feature;
using catalog::MessageId;
using isa::Form;

bool Checker::exists_since(catalog::Version since, std::string_view what) {
  if (since <= options_.kernel_version) return true;
  return refuse(MessageId::needs_newer_kernel, what, catalog::text_of(since),
                catalog::text_of(options_.kernel_version));
}

bool Checker::exists(Feature feature) { return exists_since(catalog::since(feature), catalog::name_of(feature)); }

/// The program as a whole.
bool Checker::check_profile_of_program() {
  constexpr std::size_t old_limit = 4096;
  if (!exists_since(catalog::since(program_.type), fmt::format("the program type {}", name_of(program_.type))) ||
      (program_.insns.size() > old_limit && !exists(Feature::large_programs)) ||
      (program_.sleepable && !exists(Feature::sleepable)))
    return false;
  if (options_.kernel_version < catalog::since(Feature::large_programs)) {
    constexpr u64 old_complexity = 131'072;
    max_insns_ = std::min(max_insns_, old_complexity);
  }
  if (options_.kernel_version >= catalog::since(Feature::loops)) return true;
  const auto loop = find_loop();
  if (!loop) return true;
  insn_ = *loop;
  return exists(Feature::loops);
}

/// The features that an instruction needs.
bool Checker::check_profile() {
  const Insn& i = insn();
  switch (form()) {
    case Form::call_helper:
      if (const auto* row = catalog::helper(static_cast<u32>(i.imm)))
        return exists_since(catalog::helper_since(static_cast<u32>(i.imm)), fmt::format("bpf_{}()", row->name));
      return true;
    case Form::call_kfunc: {
      const auto* kfunc = analysis_.kfunc_at(insn_);
      return exists(Feature::kernel_functions) &&
             (kfunc == nullptr || exists_since(catalog::kfunc_since(kfunc->name), fmt::format("{}()", kfunc->name)));
    }
    case Form::call_local:
    case Form::callx:
      return exists(Feature::local_calls);
    case Form::ld_imm64: {
      if (i.src == isa::imm64_src_function) return exists(Feature::callbacks);
      const s32 at = facts().reference;
      if (at < 0) return true;
      const Reference& reference = program_.references[static_cast<u32>(at)];
      const bool is_map = reference.kind == Reference::Kind::map || reference.kind == Reference::Kind::map_value;
      if (!is_map || reference.map >= object_.maps.size()) return true;
      const MapType type = object_.maps[reference.map].type;
      return exists_since(catalog::since(type), fmt::format("the map type {}", name_of(type))) &&
             (reference.kind != Reference::Kind::map_value || exists(Feature::global_data));
    }
    case Form::jump_imm:
    case Form::jump_reg:
      return facts().code_class == isa::class_jmp || exists(Feature::jumps_32);
    case Form::atomic_fetch:
    case Form::cmpxchg:
      return exists(Feature::fetching_atomics);
    case Form::atomic:
      return i.imm == 0 || exists(Feature::fetching_atomics);  // only the plain addition is older
    case Form::load_acquire:
    case Form::store_release:
      return exists(Feature::acquire_release);
    case Form::movsx:
    case Form::jump_long:
      return exists(Feature::cpu_v4);
    case Form::load: {
      constexpr u8 mode = 0xe0, sign_extending = 0x80;
      return (i.code & mode) != sign_extending || exists(Feature::cpu_v4);
    }
    case Form::endian:
      return facts().code_class != isa::class_alu64 || exists(Feature::cpu_v4);
    case Form::alu_imm:
    case Form::alu_reg: {
      const isa::Alu op = isa::alu_of(facts().op);
      return (op != isa::Alu::sdiv && op != isa::Alu::smod) || exists(Feature::cpu_v4);
    }
    case Form::may_goto:
      return exists(Feature::may_goto);
    case Form::addr_space_cast:
      return exists(Feature::arenas);
    case Form::alu_unary:
    case Form::store_imm:
    case Form::store_reg:
    case Form::ld_abs:
    case Form::ld_ind:
    case Form::jump:
    case Form::exit:
      return true;
  }
  return true;
}

}  // namespace skep::verify
