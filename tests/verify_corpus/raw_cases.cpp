// The kernel's own verifier cases: raw instructions with map fixups, and relocated programs with a map table.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "btf/builder.hpp"
#include "corpus.hpp"

namespace skep::corpus {
namespace {

using nlohmann::json;

/// BTF with the value types the cases' maps have: struct { int cnt; struct bpf_spin_lock l; } and one with a timer.
struct ValueTypes {
  std::shared_ptr<const btf::Btf> btf;
  u32 spin_lock = 0, timer = 0, kptr = 0;
};

ValueTypes value_types() {
  btf::Builder b;
  u32 number = b.add_int("int", 4, btf::Builder::Encoding::signed_);
  u32 wide = b.add_int("unsigned long", 8);
  btf::Builder::NewMember lock_members[] = {{"val", number, 0, 0}};
  u32 lock = b.add_struct("bpf_spin_lock", 4, lock_members);
  btf::Builder::NewMember value_members[] = {{"cnt", number, 0, 0}, {"l", lock, 32, 0}};
  ValueTypes types;
  types.spin_lock = b.add_struct("val", 8, value_members);
  btf::Builder::NewMember timer_members[] = {{"a", wide, 0, 0}, {"b", wide, 64, 0}};
  u32 timer = b.add_struct("bpf_timer", 16, timer_members);
  btf::Builder::NewMember timer_value[] = {{"t", timer, 0, 0}};
  types.timer = b.add_struct("timer", 16, timer_value);
  u32 target = b.add_struct("prog_test_ref_kfunc", 8, std::span(timer_members, 1));
  u32 tagged = b.add_modifier(btf::Kind::type_tag, "kptr", target);
  u32 pointer = b.add_pointer(tagged);
  btf::Builder::NewMember kptr_value[] = {{"ptr", pointer, 0, 0}, {"ref", pointer, 64, 0}, {"p", pointer, 128, 0}};
  types.kptr = b.add_struct("btf_ptr", 24, kptr_value);
  auto built = b.build();
  if (built) types.btf = *built;
  return types;
}

MapSpec fixup_map(const std::string& kind, const ValueTypes& types) {
  constexpr u32 read_only = 1u << 7, write_only = 1u << 8;
  MapSpec m;
  m.name = kind;
  auto set = [&m](MapType type, u32 key, u32 value, u32 entries, u32 flags = 0) {
    m.type = type;
    m.key_size = key;
    m.value_size = value;
    m.max_entries = entries;
    m.flags = flags;
  };
  if (kind == "map_hash_8b")
    set(MapType::hash, 8, 8, 1);
  else if (kind == "map_hash_16b")
    set(MapType::hash, 8, 16, 1);
  else if (kind == "map_hash_48b")
    set(MapType::hash, 8, 48, 1);
  else if (kind == "map_array_48b")
    set(MapType::array, 4, 48, 1);
  else if (kind == "map_array_ro")
    set(MapType::array, 4, 48, 1, read_only);
  else if (kind == "map_array_wo")
    set(MapType::array, 4, 48, 1, write_only);
  else if (kind == "map_array_small")
    set(MapType::array, 4, 1, 1);
  else if (kind == "map_spin_lock")
    set(MapType::array, 4, 8, 1), m.btf_value_type_id = types.spin_lock;
  else if (kind == "map_timer")
    set(MapType::array, 4, 16, 1), m.btf_value_type_id = types.timer;
  else if (kind == "map_kptr")
    set(MapType::array, 4, 24, 1), m.btf_value_type_id = types.kptr;
  else if (kind == "map_ringbuf")
    set(MapType::ringbuf, 0, 0, 4096);
  else if (kind == "map_sockmap")
    set(MapType::sockmap, 4, 4, 1);
  else if (kind == "map_sockhash")
    set(MapType::sockhash, 4, 4, 1);
  else if (kind == "map_xskmap")
    set(MapType::xskmap, 4, 4, 1);
  else if (kind == "map_stacktrace")
    set(MapType::stack_trace, 4, 1016, 1);
  else if (kind == "map_reuseport_array")
    set(MapType::reuseport_sockarray, 4, 8, 1);
  else if (kind == "sk_storage_map")
    set(MapType::sk_storage, 4, 8, 0), m.btf_value_type_id = types.spin_lock;
  else if (kind == "map_cgroup_storage")
    set(MapType::cgroup_storage, 16, 64, 0);
  else if (kind == "map_percpu_cgroup_storage")
    set(MapType::percpu_cgroup_storage, 16, 64, 0);
  else if (kind == "map_event_output")
    set(MapType::perf_event_array, 4, 4, 1);
  else if (kind == "prog1" || kind == "map_prog1")
    set(MapType::prog_array, 4, 4, 4);
  else if (kind == "prog2" || kind == "map_prog2")
    set(MapType::prog_array, 4, 4, 8);
  else if (kind == "map_in_map") {
    set(MapType::array_of_maps, 4, 4, 1);
    MapSpec inner;
    inner.name = "inner";
    inner.type = MapType::array;
    inner.key_size = 4;
    inner.value_size = 4;
    inner.max_entries = 1;
    m.inner = std::make_shared<const MapSpec>(inner);
  } else {
    m.type = MapType::unspec;
  }
  return m;
}

bool has_verdict(const json& row, const char* field) { return row[field] == "accept" || row[field] == "reject"; }

AttachKind attach_kind(u32 type, u32 attach_type) {
#define SKEP_ATTACH_POINT(name, section, program_type, attach, target)                                 \
  if (static_cast<u32>(ProgramType::program_type) == type &&                                           \
      (static_cast<u32>(AttachType::attach) == attach_type || AttachType::attach == AttachType::none)) \
    return AttachKind::name;
#include <skep/tables/attach_points.def>
#undef SKEP_ATTACH_POINT
  return AttachKind::none;
}

}  // namespace

std::vector<Case> raw_cases(const std::string& file, bool unprivileged) {
  static const ValueTypes types = value_types();
  std::vector<Case> cases;
  std::map<std::string, std::pair<std::string, json>> instructions;  // and map fixups
  for (const std::string& line : lines_of_xz(file)) {
    json row = json::parse(line, nullptr, false);
    if (row.is_discarded()) continue;
    // A row of an unprivileged process without instructions has those of the privileged one before it.
    const std::string key = fmt::format("{}/{}", row["file"].get<std::string>(), row["idx"].get<int>());
    if (row.contains("insns") && row["insns"].is_string()) instructions[key] = {row["insns"], row["fixups"]};
    if (row["mode"] != (unprivileged ? "unpriv" : "priv") || !has_verdict(row, "kernel_6_18")) continue;
    const auto known = instructions.find(key);
    if (known == instructions.end()) continue;
    Case c;
    c.name = fmt::format("{}/{}: {}", row["file"].get<std::string>(), row["idx"].get<int>(),
                         row["descr"].get<std::string>());
    c.kernel_accepts = row["kernel_6_18"] == "accept";
    c.kernel_message = row["last_line"];
    c.kernel_insns = row["insns_processed"];
    c.kernel_time_us = row["verif_us_min"];
    c.object.license = "GPL";
    c.object.btf = types.btf;
    c.program.name = "case";
    c.program.type = static_cast<ProgramType>(row["prog_type"].get<u32>());
    c.program.attach.kind = attach_kind(row["prog_type"].get<u32>(), row["expected_attach_type"].get<u32>());
    c.program.sleepable = (row["prog_flags"].get<u32>() & 16) != 0;
    c.unprivileged = unprivileged;
    c.program.insns = insns_from_hex(known->second.first);
    for (const auto& [kind, places] : known->second.second.items()) {
      u32 map = static_cast<u32>(c.object.maps.size());
      c.object.maps.push_back(fixup_map(kind, types));
      for (u32 at : places.get<std::vector<u32>>()) {
        if (at >= c.program.insns.size()) continue;
        bool value = c.program.insns[at].src == 2;
        u32 addend = value && at + 1 < c.program.insns.size() ? static_cast<u32>(c.program.insns[at + 1].imm) : 0;
        c.program.references.push_back(
            {at, value ? Reference::Kind::map_value : Reference::Kind::map, map, addend, kind, 0, false});
      }
    }
    std::sort(c.program.references.begin(), c.program.references.end(),
              [](const Reference& a, const Reference& b) { return a.insn < b.insn; });
    cases.push_back(std::move(c));
  }
  return cases;
}

std::vector<Case> relocated_cases(const std::string& file) {
  std::vector<Case> cases;
  for (const std::string& line : lines_of_xz(file)) {
    json row = json::parse(line, nullptr, false);
    if (row.is_discarded() || !has_verdict(row, "verdict") || !row.contains("insns")) continue;
    Case c;
    c.name = fmt::format("{}:{}", row["object"].get<std::string>(), row["program"].get<std::string>());
    c.kernel_accepts = row["verdict"] == "accept";
    c.kernel_message = row["last_log_line"];
    c.kernel_insns = row["insns_processed"];
    c.object.license = "GPL";
    c.program.name = row["program"];
    c.program.type = static_cast<ProgramType>(row["prog_type"].get<u32>());
    c.program.attach.kind = attach_kind(row["prog_type"].get<u32>(), row["expected_attach_type"].get<u32>());
    c.program.sleepable = (row["prog_flags"].get<u32>() & 16) != 0;
    c.program.insns = insns_from_hex(row["insns"].get<std::string>());
    for (const auto& map : row["maps"]) {
      MapSpec m;
      m.name = map["name"];
      m.type = static_cast<MapType>(map["type"].get<u32>());
      m.key_size = map["key"];
      m.value_size = map["value"];
      m.max_entries = map["max"];
      m.flags = map["flags"];
      c.object.maps.push_back(std::move(m));
    }
    for (u32 at = 0; at + 1 < c.program.insns.size(); at++) {
      Insn& i = c.program.insns[at];
      if (i.code != 0x18) continue;
      if (i.src == 1 || i.src == 2)
        c.program.references.push_back({at, i.src == 2 ? Reference::Kind::map_value : Reference::Kind::map,
                                        static_cast<u32>(i.imm), static_cast<u32>(c.program.insns[at + 1].imm), "", 0,
                                        false});
      at++;
    }
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace skep::corpus
