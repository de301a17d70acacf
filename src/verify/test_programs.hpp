// Small programs for the tests of the verifier: assembly over an object with a map of each kind.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>

#include "btf/builder.hpp"
#include "catalog/kfuncs.hpp"
#include "catalog/prototypes.hpp"
#include "isa/isa.hpp"
#include "isa/text.hpp"
#include "verify/verify.hpp"

namespace skep::verify {

struct Case {
  const char* refused;  ///< message id, or "" when accepted
  ProgramType type;
  const char* text;
};

inline std::shared_ptr<const btf::Btf> lock_types(u32& value_type, u32& timed_type, u32& refusing_type) {
  btf::Builder b;
  u32 number = b.add_int("int", 4, btf::Builder::Encoding::signed_);
  btf::Builder::NewMember inner[] = {{"val", number, 0, 0}};
  u32 lock = b.add_struct("bpf_spin_lock", 4, inner);
  btf::Builder::NewMember outer[] = {{"count", number, 0, 0}, {"lock", lock, 32, 0}};
  value_type = b.add_struct("value", 8, outer);
  u32 wide = b.add_int("long", 8, btf::Builder::Encoding::signed_);
  btf::Builder::NewMember words[] = {{"a", wide, 0, 0}, {"b", wide, 64, 0}};
  u32 timer = b.add_struct("bpf_timer", 16, words);
  btf::Builder::NewMember timed[] = {{"t", timer, 0, 0}, {"n", wide, 128, 0}};
  timed_type = b.add_struct("timed", 24, timed);
  btf::Builder::NewMember refusing[] = {{"count", number, 0, 0},
                                        {"lock", b.add_struct("bpf_res_spin_lock", 4, inner), 32, 0}};
  refusing_type = b.add_struct("refusing", 8, refusing);
  return b.build().value();
}

inline ObjectSpec object_with_maps() {
  ObjectSpec object;
  object.license = "GPL";
  u32 locked_type = 0, timed_type = 0, refusing_type = 0;
  object.btf = lock_types(locked_type, timed_type, refusing_type);
  auto add = [&object](const char* name, MapType type, u32 key, u32 value, u32 entries) -> MapSpec& {
    MapSpec m;
    m.name = name;
    m.type = type;
    m.key_size = key;
    m.value_size = value;
    m.max_entries = entries;
    object.maps.push_back(m);
    return object.maps.back();
  };
  add("counts", MapType::hash, 8, 8, 16);
  add("table", MapType::array, 4, 48, 1);
  add("ring", MapType::ringbuf, 0, 0, 4096);
  add("events", MapType::perf_event_array, 4, 4, 4);
  add("jumps", MapType::prog_array, 4, 4, 4);
  add("locked", MapType::array, 4, 8, 1).btf_value_type_id = locked_type;
  add("refusing", MapType::array, 4, 8, 1).btf_value_type_id = refusing_type;
  add("many", MapType::array, 4, 8, 16);
  add("timed", MapType::array, 4, 24, 1).btf_value_type_id = timed_type;
  add("read_only", MapType::array, 4, 8, 1).flags = 1u << 7;
  add("write_only", MapType::array, 4, 8, 1).flags = 1u << 8;
  add("outer", MapType::array_of_maps, 4, 4, 1);
  MapSpec& constants = add(".rodata", MapType::array, 4, 8, 1);
  constants.is_global_data = constants.frozen = true;
  constants.initial_value = {std::byte{7}, std::byte{0}, std::byte{'h'}, std::byte{'i'},
                             std::byte{0}, std::byte{1}, std::byte{1},   std::byte{1}};
  return object;
}

/// Calls of numbers from here on are kernel functions, in the order of their rows.
inline constexpr s32 first_kfunc = 100000;

inline ProgramSpec program_of(const ObjectSpec& object, ProgramType type, std::string_view text) {
  isa::ParseOptions options;
  options.helper_id = [](std::string_view name) -> std::optional<s32> {
    if (name.starts_with("bpf_")) name.remove_prefix(4);
    auto id = catalog::helper_by_name(name);
    if (const auto* kfunc = catalog::kfunc_by_name("bpf_" + std::string(name)); !id && kfunc != nullptr)
      return first_kfunc + static_cast<s32>(kfunc->id);
    return id ? std::optional<s32>(static_cast<s32>(*id)) : std::nullopt;
  };
  auto assembly = isa::parse(text, options);
  EXPECT_TRUE(assembly.has_value()) << text << (assembly ? "" : assembly.error().message);
  ProgramSpec program;
  program.name = "case";
  program.type = type;
  if (!assembly) return program;
  program.insns = assembly->insns;
  for (const auto& use : assembly->maps) {
    Reference r;
    r.insn = use.insn;
    r.kind = program.insns[use.insn].src == 2 ? Reference::Kind::map_value : Reference::Kind::map;
    if (r.kind == Reference::Kind::map_value) r.addend = static_cast<u32>(program.insns[use.insn + 1].imm);
    for (u32 m = 0; m < object.maps.size(); m++)
      if (object.maps[m].name == use.name) r.map = m;
    program.references.push_back(r);
  }
  for (u32 i = 0; i < program.insns.size(); i++) {
    Insn& insn = program.insns[i];
    if (insn.code == isa::code_call && insn.src == isa::call_src_helper && insn.imm >= first_kfunc &&
        insn.imm - first_kfunc < static_cast<s32>(catalog::kfuncs().size())) {
      Reference r;
      r.insn = i;
      r.kind = Reference::Kind::kfunc;
      r.name = catalog::kfuncs()[static_cast<u32>(insn.imm - first_kfunc)].name;
      insn.src = isa::call_src_kfunc;
      insn.imm = 0;
      program.references.push_back(r);
    }
    if (isa::is_ld_imm64(insn)) i++;
  }
  std::sort(program.references.begin(), program.references.end(),
            [](const Reference& a, const Reference& b) { return a.insn < b.insn; });
  return program;
}

/// The id of the message that refuses it; "" where it is accepted.
inline std::string refused(const ProgramSpec& program, const ObjectSpec& object, const Options& options) {
  const auto outcome = verify(program, object, options);
  EXPECT_TRUE(outcome.has_value());
  if (!outcome) return "?";
  return outcome->report.rejection ? outcome->report.rejection->id : "";
}

/// `at_once`: paths are joined from the start.
inline Report judge(const Case& c, Rules rules = Rules::user, bool at_once = false, u64 most_insns = 100'000) {
  ObjectSpec object = object_with_maps();
  Options options;
  options.rules = rules;
  options.max_insns_processed = most_insns;
  if (at_once) options.insns_before_joining = 0;
  auto outcome = verify(program_of(object, c.type, c.text), object, options);
  EXPECT_TRUE(outcome.has_value());
  if (!outcome) return {};
  EXPECT_EQ(outcome->program.has_value(), outcome->report.accepted);
  return outcome->report;
}

inline constexpr auto kprobe = ProgramType::kprobe;
inline constexpr auto xdp = ProgramType::xdp;
inline constexpr auto tc = ProgramType::sched_cls;
inline constexpr auto socket = ProgramType::socket_filter;

// A look-up in `counts` with the key 0 on the stack; r0 is the value or null.
#define LOOKUP(map) "*(u64 *)(r10 -8) = 0\nr2 = r10\nr2 += -8\nr1 = map[" map "]\ncall map_lookup_elem\n"
// Packet start in r2, end in r3.
#define PACKET "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\n"
#define RETURN "r0 = 0\nexit\n"
// A loop over the numbers 0 to 9, with its body between: r6 begins at 0.
#define ITERATE                                                                                       \
  "r6 = 0\nr1 = r10\nr1 += -24\nr2 = 0\nr3 = 10\ncall iter_num_new\nnext: r1 = r10\nr1 += -24\ncall " \
  "iter_num_next\nif r0 "                                                                             \
  "== 0 goto done\n"
#define ITERATED "goto next\ndone: r1 = r10\nr1 += -24\ncall iter_num_destroy\n"
#define ARRAY_KEY(key) "*(u32 *)(r10 -8) = " key "\nr2 = r10\nr2 += -8\nr1 = map[many]\ncall map_lookup_elem\n"
#define DYNPTR "r1 = map[ring]\nr2 = 16\nr3 = 0\nr4 = r10\nr4 += -24\ncall ringbuf_reserve_dynptr\n"
#define RESERVE "r1 = map[ring]\nr2 = 16\nr3 = 0\ncall ringbuf_reserve\n"

}  // namespace skep::verify
