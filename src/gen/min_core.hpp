// `skep gen min_core_btf`: of a kernel's types, those that some objects' CO-RE relocations ask for.
//
// Every place a relocation matches in the full types is kept: the records on the way, of each the members that are
// followed, the enumerators, with sizes and offsets as they are. Pointers lead nowhere unless a whole type is compared.
// Afterwards every relocation is resolved against both and must give the same; only type ids (bpf_core_type_id_kernel)
// mean the running kernel's own and cannot be kept.
#pragma once
#include <skep/spec.hpp>
#include <string>
#include <vector>

#include "btf/btf.hpp"

namespace skep::gen {

struct SmallTypes {
  std::vector<std::byte> bytes;    ///< raw BTF
  u32 relocations = 0;             ///< different ones that were looked at
  u32 types = 0;                   ///< kept
  std::vector<std::string> notes;  ///< what the small types cannot answer
};

/// Errors: as btf::resolve for records that contradict their types; limit.
Result<SmallTypes> min_core_btf(const btf::Btf& full, std::span<const ObjectSpec> objects);

}  // namespace skep::gen
