// Random programs as specs and as text. See program.hpp.
#include "program.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "catalog/helpers.hpp"
#include "isa/text.hpp"

namespace skep::differential {
namespace {

MapSpec map(std::string name, MapType type, u32 key_size, u32 value_size, u32 max_entries, u32 flags = 0) {
  MapSpec spec;
  spec.name = std::move(name);
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  spec.flags = flags;
  return spec;
}

std::vector<MapSpec> make_specs() {
  constexpr u32 no_prealloc = 1;
  std::vector<MapSpec> specs(map_count);
  specs[data] = map("data", MapType::array, 4, work_bytes + result_bytes, 1);
  specs[data].is_global_data = true;
  specs[data].initial_value.resize(work_bytes + result_bytes);
  specs[array] = map("array", MapType::array, 4, value_bytes, keys);
  specs[hash] = map("hash", MapType::hash, 4, value_bytes, keys);
  specs[percpu_array] = map("percpu_array", MapType::percpu_array, 4, value_bytes, keys);
  specs[lru_hash] = map("lru_hash", MapType::lru_hash, 4, value_bytes, 64);
  specs[queue] = map("queue", MapType::queue, 0, value_bytes, 3);
  specs[stack] = map("stack", MapType::stack, 0, value_bytes, 3);
  specs[prog_array] = map("prog_array", MapType::prog_array, 4, 4, 2);
  specs[percpu_hash] = map("percpu_hash", MapType::percpu_hash, 4, value_bytes, keys);
  specs[lpm] = map("lpm", MapType::lpm_trie, 8, value_bytes, 8, no_prealloc);
  return specs;
}

std::string hex(const std::vector<std::byte>& bytes) {
  std::string out;
  for (const std::byte b : bytes) out += fmt::format("{:02x}", static_cast<unsigned>(b));
  return out;
}

}  // namespace

const std::vector<MapSpec>& map_specs() {
  static const std::vector<MapSpec> specs = make_specs();
  return specs;
}

ObjectSpec object_of(const RandomProgram& program) {
  ObjectSpec object;
  object.name = "random";
  object.license = "GPL";
  object.maps = map_specs();
  ProgramSpec spec;
  spec.name = "random";
  spec.type = program.type;
  spec.sleepable = program.sleepable();
  spec.insns = program.insns;
  for (u32 i = 0; i < spec.insns.size(); i++) {
    Insn& insn = spec.insns[i];
    if (insn.code != 0x18 || i + 1 == spec.insns.size()) continue;
    Reference reference;
    reference.insn = i;
    if (insn.src == 1 || insn.src == 2) {
      reference.kind = insn.src == 1 ? Reference::Kind::map : Reference::Kind::map_value;
      reference.map = static_cast<u32>(insn.imm);
      reference.addend = insn.src == 2 ? static_cast<u32>(spec.insns[i + 1].imm) : 0;
    } else if (insn.src == 4) {
      reference.kind = Reference::Kind::function;
      reference.addend = i + 1 + static_cast<u32>(insn.imm);
    }
    const bool refers = insn.src == 1 || insn.src == 2 || insn.src == 4;
    if (refers) {
      if (insn.src != 4) insn.imm = spec.insns[i + 1].imm = 0;
      spec.references.push_back(reference);
    }
    i++;
  }
  spec.functions.push_back({0, 0, "random", true});
  for (const u32 at : program.functions) spec.functions.push_back({at, 0, fmt::format("function_{}", at), false});
  object.programs.push_back(std::move(spec));
  return object;
}

std::string RandomProgram::text(const std::string& comment) const {
  std::string out = comment + ";! run\n";
  out += fmt::format(";! name random program {}\n;! type {}\n", seed, name_of(type));
  for (u32 i = 0; i < map_count; i++) {
    if ((uses >> i & 1) == 0) continue;
    const MapSpec& m = map_specs()[i];
    if (i == data)
      out += fmt::format(";! data data {}\n", std::string(2 * std::size_t{work_bytes + result_bytes}, '0'));
    else
      out += fmt::format(";! map {} {} {} {} {}\n", m.name, name_of(m.type), m.key_size, m.value_size, m.max_entries);
  }
  if (has_packet()) out += ";! packet " + hex(packet) + "\n";
  if (!context.empty()) out += "; context " + hex(context) + "\n";
  isa::PrintOptions options;
  options.call = [](const Insn& call, std::size_t) -> std::string {
    const auto* row = call.src == 0 ? catalog::helper(static_cast<u32>(call.imm)) : nullptr;
    return row != nullptr ? fmt::format("bpf_{}", row->name) : "";
  };
  options.immediate = [&](const Insn& load, std::size_t at) -> std::string {
    if (load.src != 1 && load.src != 2) return "";
    const std::string& name = map_specs()[static_cast<u32>(load.imm) % map_count].name;
    return load.src == 1 ? fmt::format("map[{}]", name) : fmt::format("map[{}][0]+{}", name, insns[at + 1].imm);
  };
  for (std::size_t i = 0; i < insns.size(); i++) {
    out += isa::print(insns, i, options) + "\n";
    if (insns[i].code == 0x18) i++;
  }
  return out;
}

}  // namespace skep::differential
