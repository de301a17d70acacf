// Reads map flags.
#include "verify/map_facts.hpp"

#include "btf/btf.hpp"

namespace skep::verify {
namespace {

constexpr u32 flag_read_only_program = 1u << 7, flag_write_only_program = 1u << 8;  // BPF_F_RDONLY_PROG, _WRONLY_PROG

MapFacts facts_of(const MapSpec& spec, const btf::Btf* types) {
  MapFacts facts;
  facts.spec = &spec;
  facts.value_name = "the value of map " + spec.name;
  facts.program_writes = (spec.flags & flag_read_only_program) == 0 && spec.type != MapType::devmap &&
                         spec.type != MapType::devmap_hash && !spec.frozen;
  facts.program_reads = (spec.flags & flag_write_only_program) == 0;
  facts.is_constant = spec.frozen && spec.is_global_data;
  if (types != nullptr && spec.btf_value_type_id != 0)
    facts.fields = special_fields(*types, spec.btf_value_type_id, spec.value_size);
  return facts;
}

}  // namespace

std::vector<MapFacts> map_facts(const ObjectSpec& object) {
  std::vector<MapFacts> result;
  for (const MapSpec& spec : object.maps) result.push_back(facts_of(spec, object.btf.get()));
  for (std::size_t i = 0; i < object.maps.size(); i++) {
    if (object.maps[i].inner == nullptr) continue;
    result[i].inner = static_cast<s32>(result.size());
    result.push_back(facts_of(*object.maps[i].inner, object.btf.get()));
  }
  return result;
}

}  // namespace skep::verify
