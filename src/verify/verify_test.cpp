// Every rule of the verifier, one small program each: what is refused, for which reason, and what is accepted.
//
// A case is a program type, assembly, and the id of the message that must refuse it ("" when it must be accepted).
// The last test fails when a message has neither a case nor a place in the list of those that need a whole object.
#include "verify/verify.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "btf/builder.hpp"
#include "catalog/kfuncs.hpp"
#include "catalog/messages.hpp"
#include "catalog/prototypes.hpp"
#include "isa/isa.hpp"
#include "isa/text.hpp"

namespace skep::verify {
namespace {

struct Case {
  const char* refused;  ///< message id, or "" when accepted
  ProgramType type;
  const char* text;
};

std::shared_ptr<const btf::Btf> lock_types(u32& value_type, u32& timed_type) {
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
  return b.build().value();
}

ObjectSpec object_with_maps() {
  ObjectSpec object;
  object.license = "GPL";
  u32 locked_type = 0, timed_type = 0;
  object.btf = lock_types(locked_type, timed_type);
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
constexpr s32 first_kfunc = 100000;

ProgramSpec program_of(const ObjectSpec& object, ProgramType type, std::string_view text) {
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

Report judge(const Case& c, Rules rules = Rules::user) {
  ObjectSpec object = object_with_maps();
  Options options;
  options.rules = rules;
  options.max_insns_processed = 100'000;
  auto outcome = verify(program_of(object, c.type, c.text), object, options);
  EXPECT_TRUE(outcome.has_value());
  if (!outcome) return {};
  EXPECT_EQ(outcome->program.has_value(), outcome->report.accepted);
  return outcome->report;
}

constexpr auto kprobe = ProgramType::kprobe;
constexpr auto xdp = ProgramType::xdp;
constexpr auto tc = ProgramType::sched_cls;
constexpr auto socket = ProgramType::socket_filter;

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

const Case cases[] = {
    // --- accepted ---
    {"", kprobe, RETURN},
    {"", kprobe, LOOKUP("counts") "if r0 == 0 goto end\nlock *(u64 *)(r0 +0) += r0\nend: " RETURN},
    {"", kprobe, LOOKUP("table") "if r0 == 0 goto end\nr1 = *(u64 *)(r0 +40)\nend: " RETURN},
    {"", kprobe,
     "r6 = *(u64 *)(r1 +112)\nr6 &= 7\nr1 = r10\nr1 += -8\n*(u64 *)(r10 -8) = 0\nr1 += r6\nr2 = *(u8 *)(r1 "
     "+0)\n" RETURN},
    {"", xdp, PACKET "r4 = r2\nr4 += 14\nif r4 > r3 goto end\nr5 = *(u16 *)(r2 +12)\nend: r0 = 2\nexit"},
    {"", xdp, PACKET "r4 = r2\nr4 += 14\nif r3 >= r4 goto ok\nr0 = 1\nexit\nok: *(u8 *)(r2 +13) = 1\nr0 = 2\nexit"},
    {"", kprobe, "r0 = 0\nr1 = 0\nloop: r1 += 1\nr0 += r1\nif r1 < 100 goto loop\nr0 = 0\nexit"},
    {"", kprobe,
     RESERVE "if r0 == 0 goto end\n*(u64 *)(r0 +8) = 1\nr1 = r0\nr2 = 0\ncall ringbuf_submit\nend: " RETURN},
    {"", kprobe, "call f\nexit\nf: r0 = 7\nexit"},
    {"", kprobe, "r1 = map[.rodata][0]+0\nr2 = *(u8 *)(r1 +0)\nif r2 == 7 goto ok\nr3 = *(u64 *)(r2 +0)\nok: " RETURN},
    {"", kprobe,
     "r2 = *(u64 *)(r1 +0)\nr3 = r2\nif r2 > 7 goto end\nr4 = r10\nr4 += -8\n*(u64 *)(r10 -8) = 0\nr4 += r3\nr5 = *(u8 "
     "*)(r4 +0)\nend: " RETURN},
    {"", tc,
     LOOKUP("locked") "if r0 == 0 goto end\nr6 = r0\nr1 = r0\nr1 += 4\ncall spin_lock\n*(u32 *)(r6 +0) = 1\nr1 = "
                      "r6\nr1 += 4\ncall spin_unlock\nend: " RETURN},
    {"", kprobe, "r2 = map[jumps]\nr3 = 1\ncall tail_call\n" RETURN},
    {"", kprobe, ARRAY_KEY("15") "r1 = *(u64 *)(r0 +0)\n" RETURN},
    {"maybe_null", kprobe, ARRAY_KEY("16") "r1 = *(u64 *)(r0 +0)\n" RETURN},
    // One path has a key inside, the other one outside: they must not meet as if keys did not matter.
    {"maybe_null", kprobe,
     "call get_prandom_u32\nr6 = 3\nif r0 > 5 goto on\nr6 = 77\non: r7 = 1\nr7 += 1\nr7 += 1\nif r0 > 9 goto +1\nr7 "
     "+= 2\nr7 += 3\nr7 += 4\nr7 += 5\nif r0 > 10 goto +1\nr7 = 0\n*(u32 *)(r10 -8) = r6\nr2 = r10\nr2 += -8\nr1 = "
     "map[many]\ncall map_lookup_elem\nr1 = *(u64 *)(r0 +0)\n" RETURN},
    // --- shape ---
    {"jump_out_of_range", kprobe, "goto +5\nexit"},
    {"jump_into_wide_load", kprobe, "r0 = 0\nif r0 == 0 goto +1\nr1 = 5 ll\nexit"},
    {"falls_off_the_end", kprobe, "r0 = 0"},
    {"frame_pointer_written", kprobe, "r10 = 0\n" RETURN},
    {"infinite_loop", kprobe, "loop: goto loop\nexit"},
    {"infinite_loop", kprobe, "r0 = *(u64 *)(r1 +0)\nloop: if r0 != 0 goto loop\nexit"},
    {"too_complex", kprobe, "r0 = 0\nloop: r0 += 1\nif r0 != -1 goto loop\nexit"},
    // --- registers ---
    {"register_not_set", kprobe, "exit"},
    {"register_not_set", kprobe, "r0 = r2\nexit"},
    {"register_not_set", kprobe, "call ktime_get_ns\nr0 = r1\nexit"},
    {"division_by_zero", kprobe, "r0 = 1\nr0 /= 0\nexit"},
    {"shift_out_of_range", kprobe, "r0 = 1\nr0 <<= 64\nexit"},
    {"pointer_and_pointer", kprobe, "r1 += r10\n" RETURN},
    {"pointer_in_32_bits", kprobe, "w1 += 4\n" RETURN},
    {"pointer_subtracted", kprobe, "r2 = 8\nr2 -= r1\n" RETURN},
    {"pointer_operator", kprobe, "r1 &= 7\n" RETURN},
    {"pointer_maybe_null_moved", kprobe, LOOKUP("table") "r0 += 8\n" RETURN},
    {"pointer_kind_fixed", kprobe, "r1 = map[counts]\nr1 += 8\n" RETURN},
    {"stack_pointer_subtracted", kprobe, "r1 = r10\nr1 -= 8\n" RETURN},
    {"pointer_offset_too_large", kprobe, "r2 = r10\nr2 += 500000000\nr2 += 500000000\n" RETURN},
    {"pointer_offset_unbounded", kprobe, "r2 = *(u64 *)(r1 +0)\nr3 = r10\nr3 += r2\n" RETURN},
    // --- memory ---
    {"not_a_pointer", kprobe, "r2 = *(u64 *)(r1 +0)\nr3 = *(u64 *)(r2 +0)\n" RETURN},
    {"maybe_null", kprobe, LOOKUP("counts") "r1 = *(u64 *)(r0 +0)\n" RETURN},
    {"not_memory", kprobe, "r1 = map[counts]\nr2 = *(u64 *)(r1 +0)\n" RETURN},
    {"mixed_pointers", xdp,
     "r6 = r1\ncall get_prandom_u32\nr2 = r10\nr2 += -8\n*(u64 *)(r10 -8) = 0\nif r0 == 0 goto use\nr2 = r6\nuse: r3 = "
     "*(u32 *)(r2 +0)\n" RETURN},
    {"outside_region", kprobe, LOOKUP("counts") "if r0 == 0 goto end\nr1 = *(u64 *)(r0 +1)\nend: " RETURN},
    {"outside_region", kprobe,
     "r6 = *(u64 *)(r1 +0)\n" LOOKUP(
         "table") "if r0 == 0 goto end\nif r6 > 48 goto end\nr0 += r6\nr1 = *(u8 *)(r0 +0)\nend: " RETURN},
    {"below_region", kprobe, LOOKUP("counts") "if r0 == 0 goto end\nr1 = *(u8 *)(r0 -1)\nend: " RETURN},
    {"unbounded_offset", kprobe,
     "r6 = *(u64 *)(r1 +0)\nif r6 s< 0 goto end2\n" LOOKUP(
         "counts") "if r0 == 0 goto end\nr0 += r6\nr1 = *(u8 *)(r0 +0)\nend: " RETURN "end2: " RETURN},
    {"packet_out_of_bounds", xdp, PACKET "r4 = *(u8 *)(r2 +0)\n" RETURN},
    {"packet_out_of_bounds", xdp, PACKET "r4 = r2\nr4 += 14\nif r4 > r3 goto end\nr5 = *(u16 *)(r2 +13)\nend: " RETURN},
    {"packet_not_writable", ProgramType::cgroup_skb,
     "r2 = *(u32 *)(r1 +76)\nr3 = *(u32 *)(r1 +80)\nr4 = r2\nr4 += 1\nif r4 > r3 goto end\n*(u8 *)(r2 +0) = "
     "0\nend: " RETURN},
    {"packet_not_for_helper", xdp,
     PACKET "r4 = r2\nr4 += 8\nif r4 > r3 goto end\nr1 = r2\nr2 = 8\ncall trace_printk\nend: " RETURN},
    {"map_not_readable", kprobe, LOOKUP("write_only") RETURN},
    {"map_not_writable", kprobe, LOOKUP("read_only") "if r0 == 0 goto end\n*(u64 *)(r0 +0) = 0\nend: " RETURN},
    {"memory_not_writable", ProgramType::cgroup_sock_addr, "r2 = *(u64 *)(r1 +64)\n*(u32 *)(r2 +4) = 0\nr0 = 1\nexit"},
    {"special_field_touched", tc, LOOKUP("locked") "if r0 == 0 goto end\n*(u32 *)(r0 +4) = 0\nend: " RETURN},
    {"no_direct_value", kprobe, "r1 = map[many][0]+0\n" RETURN},
    // --- stack ---
    {"stack_out_of_bounds", kprobe, "*(u64 *)(r10 -520) = 0\n" RETURN},
    {"stack_out_of_bounds", kprobe, "*(u64 *)(r10 +0) = 0\n" RETURN},
    {"stack_offset_unbounded", kprobe,
     "r2 = *(u64 *)(r1 +0)\nif r2 s< 0 goto end\nr3 = r10\nr3 += r2\nr4 = *(u8 *)(r3 -8)\nend: " RETURN},
    {"stack_uninitialised", kprobe, "r0 = *(u64 *)(r10 -8)\nexit"},
    {"stack_uninitialised", kprobe,
     "*(u32 *)(r10 -8) = 0\nr2 = r10\nr2 += -8\nr1 = map[counts]\ncall map_lookup_elem\n" RETURN},
    {"stack_misaligned", kprobe, "*(u64 *)(r10 -12) = 0\n" RETURN},
    {"pointer_spilled_partly", kprobe, "*(u32 *)(r10 -8) = r1\n" RETURN},
    {"spilled_pointer_read_partly", kprobe, "*(u64 *)(r10 -8) = r1\nr2 = *(u32 *)(r10 -8)\n" RETURN},
    {"stack_pointer_to_caller", kprobe,
     "r1 = r10\nr1 += -8\n*(u64 *)(r10 -8) = 0\ncall f\n" RETURN "f: *(u64 *)(r1 +0) = r10\nr0 = 0\nexit"},
    {"stack_pointer_returned", kprobe, "call f\n" RETURN "f: r0 = r10\nexit"},
    {"stack_too_deep", kprobe, "*(u64 *)(r10 -400) = 0\ncall f\nexit\nf: *(u64 *)(r10 -400) = 0\nr0 = 0\nexit"},
    {"stack_before_tail_call", kprobe,
     "*(u64 *)(r10 -400) = 0\ncall f\n" RETURN "f: r2 = map[jumps]\nr3 = 0\ncall tail_call\nr0 = 0\nexit"},
    {"too_many_frames", kprobe,
     "call f1\nexit\nf1: call f2\nexit\nf2: call f3\nexit\nf3: call f4\nexit\nf4: call f5\nexit\nf5: call "
     "f6\nexit\nf6: call "
     "f7\nexit\nf7: call f8\nexit\nf8: r0 = 0\nexit"},
    // --- context ---
    {"context_not_readable", kprobe, "r0 = *(u64 *)(r1 +168)\nexit"},
    {"context_not_readable", xdp, "r0 = *(u64 *)(r1 +0)\nexit"},
    {"context_not_writable", kprobe, "*(u64 *)(r1 +0) = 0\n" RETURN},
    {"context_not_writable", tc, "*(u32 *)(r1 +0) = 0\n" RETURN},
    {"context_pointer_moved", kprobe, "r1 += 8\nr0 = *(u64 *)(r1 +0)\nexit"},
    {"needs_full_socket", tc, "r2 = *(u64 *)(r1 +168)\nif r2 == 0 goto end\nr0 = *(u32 *)(r2 +16)\nend: " RETURN},
    // --- atomics, packet loads ---
    {"atomic_not_possible", tc, "r2 = 1\nlock *(u32 *)(r1 +8) += r2\n" RETURN},
    {"atomic_misaligned", kprobe,
     LOOKUP("table") "if r0 == 0 goto end\nr1 = 1\nlock *(u64 *)(r0 +4) += r1\nend: " RETURN},
    {"packet_load_type", kprobe, "r6 = r1\nr0 = *(u8 *)skb[0]\nexit"},
    {"packet_load_context", tc, "r6 = 0\nr0 = *(u8 *)skb[0]\nexit"},
    {"packet_load_in_function", tc, "call f\nexit\nf: r6 = r1\nr0 = *(u8 *)skb[0]\nexit"},
    // --- helpers ---
    {"unknown_helper", kprobe, "call 9999\n" RETURN},
    {"core_relocation_failed", kprobe, "call 195896080\n" RETURN},
    {"helper_not_for_type", kprobe, "r2 = 0\ncall xdp_adjust_head\n" RETURN},
    {"helper_sleeps", kprobe, "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\ncall copy_from_user\n" RETURN},
    {"wrong_argument", kprobe, "r1 = 0\nr2 = r10\ncall map_lookup_elem\n" RETURN},
    {"argument_misaligned", kprobe,
     "*(u64 *)(r10 -16) = 49\n*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -16\nr2 = 4\nr3 = 10\nr4 = r10\nr4 += -12\ncall "
     "strtol\n" RETURN},
    {"map_type_mismatch", kprobe, LOOKUP("ring") RETURN},
    {"inner_map_unknown", kprobe, LOOKUP("outer") RETURN},
    {"size_may_be_negative", kprobe,
     "r2 = *(u64 *)(r1 +0)\nr1 = r10\nr1 += -8\nr3 = 0\ncall probe_read_kernel\n" RETURN},
    {"size_may_be_zero", kprobe,
     "r2 = *(u8 *)(r1 +0)\nr2 &= 7\nr1 = r10\nr1 += -8\n*(u64 *)(r10 -8) = 0\ncall trace_printk\n" RETURN},
    {"size_unbounded", kprobe,
     "r2 = *(u64 *)(r1 +0)\nif r2 s< 0 goto end\nr1 = r10\nr1 += -8\nr3 = 0\ncall probe_read_kernel\nend: " RETURN},
    {"size_not_constant", kprobe, "r2 = *(u64 *)(r1 +0)\nr1 = map[ring]\nr3 = 0\ncall ringbuf_reserve\n" RETURN},
    {"not_a_constant_string", kprobe,
     "*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr2 = 8\nr3 = r1\ncall strncmp\n" RETURN},
    {"wrong_argument", kprobe,
     LOOKUP("table") "if r0 == 0 goto end\nr1 = r0\nr2 = 0\ncall ringbuf_submit\nend: " RETURN},
    {"not_a_pointer", kprobe,
     RESERVE "if r0 == 0 goto end\nr6 = r0\nr1 = r0\nr2 = 0\ncall ringbuf_submit\n*(u64 *)(r6 +0) = 0\nend: " RETURN},
    {"nothing_to_release", tc, "r1 = *(u64 *)(r1 +168)\nif r1 == 0 goto end\ncall sk_release\nend: " RETURN},
    {"record_moved", kprobe,
     RESERVE "if r0 == 0 goto end\nr1 = r0\nr1 += 8\nr2 = 0\ncall ringbuf_submit\nend: " RETURN},
    // --- discipline ---
    {"reference_leak", tc,
     "*(u64 *)(r10 -16) = 0\n*(u64 *)(r10 -8) = 0\nr2 = r10\nr2 += -16\nr3 = 12\nr4 = 0\nr5 = 0\ncall "
     "sk_lookup_tcp\nif r0 == 0 goto end\nr6 = r0\nr1 = r0\ncall sk_fullsock\nif r0 == 0 goto end\nr1 = r6\ncall "
     "sk_release\nend: " RETURN},
    {"reference_leak", kprobe, RESERVE RETURN},
    {"reference_leak", kprobe,
     "r6 = r1\n" RESERVE "if r0 == 0 goto end\nr7 = r0\nr1 = r6\nr2 = map[jumps]\nr3 = 0\ncall tail_call\nr1 = r7\nr2 "
     "= 0\ncall ringbuf_discard\nend: " RETURN},
    {"lock_held", tc,
     LOOKUP("locked") "if r0 == 0 goto end\nr1 = r0\nr1 += 4\ncall spin_lock\ncall ktime_get_ns\nend: " RETURN},
    {"lock_still_held", tc, LOOKUP("locked") "if r0 == 0 goto end\nr1 = r0\nr1 += 4\ncall spin_lock\nend: " RETURN},
    {"lock_held", tc,
     LOOKUP("locked") "if r0 == 0 goto end\nr6 = r0\nr1 = r0\nr1 += 4\ncall spin_lock\nr1 = r6\nr1 += 4\ncall "
                      "spin_lock\nend: " RETURN},
    {"lock_not_held", tc, LOOKUP("locked") "if r0 == 0 goto end\nr1 = r0\nr1 += 4\ncall spin_unlock\nend: " RETURN},
    {"lock_other", tc,
     LOOKUP("locked") "if r0 == 0 goto end\nr6 = r0\nr1 = map[locked]\nr2 = r10\nr2 += -8\ncall map_lookup_elem\nif r0 "
                      "== 0 goto end\nr7 = r0\nr1 = r6\nr1 += 4\ncall spin_lock\nr1 = r7\nr1 += 4\ncall "
                      "spin_unlock\nend: " RETURN},
    {"lock_not_for_type", kprobe,
     LOOKUP("locked") "if r0 == 0 goto end\nr1 = r0\nr1 += 4\ncall spin_lock\nend: " RETURN},
    {"return_out_of_range", ProgramType::cgroup_sysctl, "r0 = 2\nexit"},
    {"return_not_a_number", ProgramType::cgroup_sysctl, "r0 = r1\nexit"},
    // --- pruning: a proof that rested on a spilled number being equal to a register covers no other bytes ---
    {"pointer_offset_unbounded", kprobe,
     "r6 = *(u64 *)(r1 +0)\nr9 = *(u64 *)(r1 +8)\n" LOOKUP(
         "counts") "if r0 == 0 goto end\nr7 = r0\n"
                   "*(u64 *)(r10 -16) = r6\nif r9 & 1 goto other\ngoto +0\nr1 = 1\nr1 = 1\nr1 = 1\nr1 = 1\nr1 = 1\nr1 "
                   "= 1\nr1 = 1\nr1 = 1\n"
                   "goto join\nother: r1 = 256\n*(u32 *)(r10 -16) = r1\n*(u32 *)(r10 -12) = r1\njoin: r1 = 1\nr1 = "
                   "2\nr1 = 3\nif r6 > 7 goto end\nr1 = *(u64 *)(r10 -16)\nr7 += r1\n*(u8 *)(r7 +0) = 7\nend: " RETURN},
    {"pointer_offset_unbounded", kprobe,
     "r6 = *(u64 *)(r1 +0)\nr9 = *(u64 *)(r1 +8)\n" LOOKUP(
         "counts") "if r0 == 0 goto end\nr7 = r0\n"
                   "*(u64 *)(r10 -16) = r6\nif r9 & 1 goto other\ngoto +0\nr1 = 1\nr1 = 1\nr1 = 1\nr1 = 1\nr1 = 1\nr1 "
                   "= 1\nr1 = 1\nr1 = 1\n"
                   "goto join\nother: r1 = 256\n*(u32 *)(r10 -12) = r1\n*(u32 *)(r10 -16) = r6\njoin: r1 = 1\nr1 = "
                   "2\nr1 = 3\nif r6 > 7 goto end\nr1 = *(u64 *)(r10 -16)\nr7 += r1\n*(u8 *)(r7 +0) = 7\nend: " RETURN},
    // --- beyond this stage ---
    {"unsupported_program_type", ProgramType::struct_ops, RETURN},
    {"unsupported_helper", kprobe,
     "call get_current_task_btf\nr1 = r0\nr2 = 0\nr3 = subprog[f]\nr4 = r10\nr5 = 0\ncall find_vma\n" RETURN
     "f: r0 = 0\nexit"},
    {"wrong_argument", ProgramType::lsm,
     "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\nr4 = r10\ncall inode_storage_delete\n" RETURN},
    // --- loops that end by themselves ---
    {"", kprobe, "r6 = 0\nloop: may_goto end\nr6 += 1\ngoto loop\nend: " RETURN},
    {"outside_region", kprobe,
     LOOKUP("table") "if r0 == 0 goto end\nr6 = 0\nloop: may_goto end\nr1 = r0\nr1 += r6\n*(u8 *)(r1 +0) = 1\nr6 += "
                     "1\nr6 &= 63\ngoto loop\nend: " RETURN},
    {"", kprobe,
     LOOKUP("table") "if r0 == 0 goto end\nr6 = 0\nloop: may_goto end\nr1 = r0\nr1 += r6\n*(u8 *)(r1 +0) = 1\nr6 += "
                     "1\nr6 &= 31\ngoto loop\nend: " RETURN},
    {"infinite_loop", kprobe, "r6 = 0\nmay_goto +0\nloop: goto loop\n" RETURN},
    {"", kprobe, ITERATE "r6 += 1\n" ITERATED RETURN},
    {"outside_region", kprobe,
     LOOKUP("table") "r7 = r0\nif r0 == 0 goto out\n" ITERATE
                     "r1 = r7\nr1 += r6\n*(u8 *)(r1 +0) = 1\nr6 += 1\nif r6 > 60 "
                     "goto done\n" ITERATED "out: " RETURN},
    {"reference_leak", kprobe, "r1 = r10\nr1 += -24\nr2 = 0\nr3 = 9\ncall iter_num_new\n" RETURN},
    {"iterator_in_use", kprobe,
     "r1 = r10\nr1 += -24\nr2 = 0\nr3 = 9\ncall iter_num_new\nr1 = r10\nr1 += -24\nr2 = 0\nr3 = 9\ncall "
     "iter_num_new\n" RETURN},
    {"iterator_missing", kprobe, "r1 = r10\nr1 += -24\ncall iter_num_next\n" RETURN},
    {"stack_object_read", kprobe,
     "r1 = r10\nr1 += -24\nr2 = 0\nr3 = 9\ncall iter_num_new\nr1 = *(u64 *)(r10 -24)\n" RETURN},
    {"reference_leak", kprobe,
     "r1 = r10\nr1 += -24\nr2 = 0\nr3 = 9\ncall iter_num_new\n*(u64 *)(r10 -24) = 0\n" RETURN},
    {"stack_object_place", kprobe, "r1 = r10\nr1 += -20\nr2 = 0\nr3 = 9\ncall iter_num_new\n" RETURN},
    {"", kprobe, "r1 = 8\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall loop\n" RETURN "f: r0 = 0\nexit"},
    {"", kprobe,
     "*(u64 *)(r10 -8) = 0\nr1 = 1000000\nr2 = subprog[f]\nr3 = r10\nr3 += -8\nr4 = 0\ncall loop\n" RETURN
     "f: r3 = *(u64 *)(r2 +0)\nr3 += r1\n*(u64 *)(r2 +0) = r3\nr0 = 0\nexit"},
    // What the callback counts up is an offset afterwards: it must not be taken for what it was before.
    {"outside_region", kprobe,
     "*(u64 *)(r10 -16) = 0\nr1 = 100\nr2 = subprog[f]\nr3 = r10\nr3 += -16\nr4 = 0\ncall loop\nr6 = *(u64 *)(r10 "
     "-16)\nr6 &= 255\n" LOOKUP("table") "if r0 == 0 goto end\nr0 += r6\n*(u8 *)(r0 +0) = 1\nend: " RETURN
                                         "f: r3 = *(u64 *)(r2 +0)\nr3 += 1\n*(u64 *)(r2 +0) = r3\nr0 = 0\nexit"},
    {"callback_result", kprobe, "r1 = 8\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall loop\n" RETURN "f: r0 = 2\nexit"},
    {"recursion", kprobe,
     "r1 = 8\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall loop\n" RETURN
     "f: r1 = 8\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall loop\nr0 = 0\nexit"},
    {"recursion", kprobe, "call f\n" RETURN "f: call f\nr0 = 0\nexit"},
    {"", kprobe, "r3 = subprog[f]\ncallx r3\n" RETURN "f: r0 = 0\nexit"},
    {"callx_target", kprobe, "r3 = 7\ncallx r3\n" RETURN},
    {"register_not_set", kprobe, "r3 = subprog[f]\nr6 = 1\ncallx r3\nr0 = r3\n" RETURN "f: r0 = 0\nexit"},
    // --- exceptions and sections ---
    {"", tc, "r1 = 1\ncall throw\nr0 = 0\nexit"},
    {"reference_leak", tc, RESERVE "r1 = 1\ncall throw\nr0 = 0\nexit"},
    {"return_out_of_range", ProgramType::cgroup_skb, "r1 = 7\ncall throw\nr0 = 0\nexit"},
    {"", kprobe, "call rcu_read_lock\ncall rcu_read_unlock\n" RETURN},
    {"section_open", kprobe, "call rcu_read_lock\n" RETURN},
    {"section_open", kprobe, "call preempt_disable\n" RETURN},
    {"section_twice", kprobe, "call rcu_read_lock\ncall rcu_read_lock\n" RETURN},
    {"section_not_open", kprobe, "call preempt_enable\n" RETURN},
    {"kfunc_not_for_type", kprobe, "call cpumask_create\n" RETURN},
    {"no_arena", kprobe, "r1 = 1\nr1 = addr_space_cast(r1, 0, 1)\n" RETURN},
    // --- timers, dynptrs ---
    {"", tc, LOOKUP("timed") "if r0 == 0 goto end\nr1 = r0\nr2 = map[timed]\nr3 = 1\ncall timer_init\nend: " RETURN},
    {"timer_of_other_map", tc,
     LOOKUP("timed") "if r0 == 0 goto end\nr1 = r0\nr2 = map[many]\nr3 = 1\ncall timer_init\nend: " RETURN},
    {"timer_not_for_type", kprobe,
     LOOKUP("timed") "if r0 == 0 goto end\nr1 = r0\nr2 = map[timed]\nr3 = 1\ncall timer_init\nend: " RETURN},
    {"callback_result", tc,
     LOOKUP("timed") "if r0 == 0 goto end\nr1 = r0\nr2 = subprog[f]\ncall timer_set_callback\nend: " RETURN
                     "f: r0 = 5\nexit"},
    {"", kprobe, DYNPTR "r1 = r10\nr1 += -24\nr2 = 0\ncall ringbuf_submit_dynptr\n" RETURN},
    {"reference_leak", kprobe, DYNPTR RETURN},
    {"dynptr_overwritten", kprobe, DYNPTR "*(u64 *)(r10 -16) = 0\n" RETURN},
    {"wrong_argument", kprobe, "r1 = r10\nr1 += -24\nr2 = 0\ncall ringbuf_submit_dynptr\n" RETURN},
    {"not_a_pointer", kprobe,
     DYNPTR "r1 = r10\nr1 += -24\nr2 = 0\nr3 = 8\ncall dynptr_data\nr6 = r0\nr1 = r10\nr1 += -24\nr2 = 0\ncall "
            "ringbuf_discard_dynptr\nif r6 == 0 goto end\nr1 = *(u8 *)(r6 +0)\nend: " RETURN},
    {"unsupported_access", kprobe, "call get_current_task_btf\nr1 = *(u64 *)(r0 +0)\n" RETURN},
};

TEST(Verify, EveryRuleRefusesItsProgram) {
  for (const Case& c : cases) {
    // Only strict rules mind reading stack that was never written.
    Report report = judge(c, std::string_view(c.refused) == "stack_uninitialised" ? Rules::strict : Rules::user);
    std::string id = report.rejection ? report.rejection->id : "";
    EXPECT_EQ(id, c.refused) << c.text << "\n" << (report.rejection ? report.rejection->reason : "accepted");
  }
}

std::string refusal(ProgramSpec program, ObjectSpec object, Options options) {
  auto outcome = verify(program, object, options);
  if (!outcome) return "error: " + outcome.error().message;
  return outcome->report.rejection ? outcome->report.rejection->id : "";
}

/// A refusal that takes more than instructions: what to change about the program, its object or the rules.
struct Special {
  const char* refused;
  ProgramType type;
  std::string text;
  void (*change)(ProgramSpec& program, ObjectSpec& object, Options& options);
};

void nothing(ProgramSpec&, ObjectSpec&, Options&) {}
void kernel_rules(ProgramSpec&, ObjectSpec&, Options& options) { options.rules = Rules::kernel; }
void unprivileged(ProgramSpec&, ObjectSpec&, Options& options) {
  options.rules = Rules::kernel;
  options.unprivileged = true;
}
void linux_5_4(ProgramSpec&, ObjectSpec&, Options& options) {
  options.rules = Rules::kernel;
  options.kernel_version = 5004;
}
void linux_5_2(ProgramSpec&, ObjectSpec&, Options& options) {
  options.rules = Rules::kernel;
  options.kernel_version = 5002;
}
void with_global_function(ProgramSpec& program, ObjectSpec&, Options&) {
  const auto load = std::ranges::find_if(program.insns, [](const Insn& insn) { return insn.src == 4; });
  const auto call =
      std::ranges::find_if(program.insns, [](const Insn& insn) { return insn.code == 0x85 && insn.src == 1; });
  const auto at = load != program.insns.end() ? load : call;
  const u32 target = static_cast<u32>(at - program.insns.begin() + 1 + at->imm);
  program.functions = {{0, 0, "case", true}, {target, 1, "f", true}};
}

std::string many_functions() {
  std::string text, bodies;
  for (int i = 0; i < 257; i++) {
    text += "call f" + std::to_string(i) + "\n";
    bodies += "f" + std::to_string(i) + ": r0 = 0\nexit\n";
  }
  return text + "exit\n" + bodies;
}

#define COPY_FROM_USER "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\ncall copy_from_user\n"
#define PRINT "*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr2 = 8\ncall trace_printk\n"

const Special specials[] = {
    {"empty_program", kprobe, RETURN, [](ProgramSpec& program, ObjectSpec&, Options&) { program.insns.clear(); }},
    {"bad_instruction", kprobe, RETURN,
     [](ProgramSpec& program, ObjectSpec&, Options&) { program.insns[0].code = 0xff; }},
    {"unreachable_code", kprobe, "r0 = 0\nexit\nr0 = 1\nexit", kernel_rules},
    {"too_many_functions", kprobe, many_functions(), nothing},
    {"unresolved_reference", kprobe, "r1 = map[counts]\n" RETURN,
     [](ProgramSpec& program, ObjectSpec&, Options&) { program.references.clear(); }},
    {"context_offset_varies", ProgramType::raw_tracepoint_writable,
     "r2 = *(u64 *)(r1 +8)\nr2 &= 8\nr3 = *(u64 *)(r1 +0)\nr3 += r2\nr0 = *(u64 *)(r3 +0)\nexit", nothing},
    {"helper_not_in_engine", kprobe, PRINT RETURN,
     [](ProgramSpec&, ObjectSpec&, Options& options) { options.engine_helpers.assign(212, false); }},
    {"helper_needs_gpl", kprobe, PRINT RETURN,
     [](ProgramSpec&, ObjectSpec& object, Options& options) {
       object.license = "Proprietary";
       options.rules = Rules::kernel;
     }},
    {"kfunc_not_in_engine", kprobe, "call rcu_read_lock\ncall rcu_read_unlock\n" RETURN,
     [](ProgramSpec&, ObjectSpec&, Options& options) {
       options.engine_kfuncs.assign(catalog::kfuncs().size(), false);
     }},
    {"unsupported_kfunc", kprobe, "call rcu_read_lock\n" RETURN,
     [](ProgramSpec& program, ObjectSpec&, Options&) { program.references[0].name = "bpf_of_another_kernel"; }},
    {"unsupported_instruction", kprobe, "r3 = subprog[f]\ncallx r3\n" RETURN "f: r0 = 0\nexit", kernel_rules},
    {"sleeps_in_section", kprobe, "call rcu_read_lock\n" COPY_FROM_USER "call rcu_read_unlock\n" RETURN,
     [](ProgramSpec& program, ObjectSpec&, Options&) { program.sleepable = true; }},
    {"callback_not_static", kprobe, "r1 = 8\nr2 = subprog[f]\nr3 = 0\nr4 = 0\ncall loop\n" RETURN "f: r0 = 0\nexit",
     with_global_function},
    {"unsupported_global_argument", kprobe, "call f\n" RETURN "f: r0 = 0\nexit",
     [](ProgramSpec& program, ObjectSpec& object, Options& options) {
       with_global_function(program, object, options);
       object.btf = nullptr;
     }},
    {"two_arenas", kprobe, "r1 = map[counts]\nr2 = map[table]\n" RETURN,
     [](ProgramSpec&, ObjectSpec& object, Options&) {
       for (MapSpec& map : object.maps)
         if (map.name == "counts" || map.name == "table") map.type = MapType::arena;
     }},
    {"needs_capability", kprobe, RETURN, unprivileged},
    {"needs_capability", socket, "call f\n" RETURN "f: r0 = 0\nexit", unprivileged},
    {"needs_capability", socket, "r0 = 4\nr0 += -1\nif r0 != 0 goto pc-2\nexit", unprivileged},
    {"needs_capability", socket, "call jiffies64\n" RETURN, unprivileged},
    {"", socket, "call get_prandom_u32\n" RETURN, unprivileged},
    {"address_leaked", socket, "r0 = r10\nexit", unprivileged},
    {"address_leaked", socket, "w0 = w10\nexit", unprivileged},
    {"address_leaked", socket, "r0 = r10\nr0 -= r1\nexit", unprivileged},
    {"address_leaked", socket, "if r1 > r10 goto pc+0\n" RETURN, unprivileged},
    {"address_leaked", socket, LOOKUP("counts") "if r0 == 0 goto end\n*(u64 *)(r0 +0) = r10\nend: " RETURN,
     unprivileged},
    {"stack_uninitialised", socket, "r0 = *(u64 *)(r10 -8)\nexit", unprivileged},
    {"spilled_pointer_corrupted", socket, "*(u64 *)(r10 -8) = r1\n*(u32 *)(r10 -8) = 0\n" RETURN, unprivileged},
    {"unprivileged_offset", socket, "r2 = r10\nr2 += -1024\n" RETURN, unprivileged},
    {"unprivileged_offset", socket, LOOKUP("table") "if r0 == 0 goto end\nr6 = *(u8 *)(r0 +0)\nr0 += r6\nend: " RETURN,
     unprivileged},
    {"needs_newer_kernel", kprobe, "call get_func_ip\n" RETURN, linux_5_4},
    {"needs_newer_kernel", kprobe, "r1 = map[ring]\n" RETURN, linux_5_4},
    {"needs_newer_kernel", kprobe, "r0 = 4\nr0 += -1\nif r0 != 0 goto pc-2\nexit", linux_5_2},
    {"", kprobe, "r0 = 4\nr0 += -1\nif r0 != 0 goto pc-2\nexit", linux_5_4},
    {"unsupported_kernel_symbol", kprobe, "r1 = 5 ll\nr0 = *(u64 *)(r1 +0)\nexit",
     [](ProgramSpec& program, ObjectSpec&, Options&) {
       program.references = {{.insn = 0, .kind = Reference::Kind::ksym, .name = "jiffies", .type_id = 1}};
     }},
};

TEST(Verify, RulesAboutMoreThanInstructions) {
  for (const Special& special : specials) {
    ObjectSpec object = object_with_maps();
    ProgramSpec program = program_of(object, special.type, special.text);
    Options options;
    special.change(program, object, options);
    EXPECT_EQ(refusal(program, object, options), special.refused) << special.text;
  }
}

/// What no program of this file can cause: each with the reason.
const std::set<std::string_view> elsewhere = {
    "lock_twice",                 // lock_held comes first: taking a lock is a call
    "global_returns_pointer",     // from here on: the programs need types of their own; the kernel's test programs
    "exception_callback_called",  // (tests/verify_corpus) have them
    "lock_for_graph",
    "graph_in_comparison",
    "wrong_object",
    "object_field_touched",
    "unsupported_map_value",
    // RulesOfTypedContexts
    "no_such_field",
    "object_elsewhere",
    "struct_ops_member",
    "program_needs_gpl",
    // the kernel's own programs (tests/verify_corpus)
    "kfunc_not_for_attach",
};

TEST(Verify, EveryMessageHasACase) {
  std::set<std::string_view> seen;
  for (const Case& c : cases) seen.insert(c.refused);
  for (const Special& special : specials) seen.insert(special.refused);
  for (const auto& row : catalog::messages())
    EXPECT_NE(seen.contains(row.name), elsewhere.contains(row.name))
        << row.name << (seen.contains(row.name) ? " has a case now: it need not be left out" : " has no case");
}

TEST(Verify, RulesThatDependOnMoreThanTheProgram) {
  ObjectSpec object = object_with_maps();
  ProgramSpec unreachable = program_of(object, kprobe, "r0 = 0\nexit\nr0 = 1\nexit");
  EXPECT_EQ(refusal(unreachable, object, {.rules = Rules::user}), "");

  ProgramSpec printing = program_of(object, kprobe, PRINT RETURN);
  object.license = "Proprietary";
  EXPECT_EQ(refusal(printing, object, {.rules = Rules::user}), "");

  ProgramSpec uninitialised = program_of(object, kprobe, "r0 = *(u64 *)(r10 -8)\nexit");
  EXPECT_EQ(refusal(uninitialised, object, {.rules = Rules::kernel}), "");
  EXPECT_EQ(refusal(uninitialised, object, {.rules = Rules::user}), "");
  auto padded = verify(uninitialised, object, {.rules = Rules::user});
  ASSERT_TRUE(padded && padded->program);
  EXPECT_TRUE(padded->program->reads_untouched_stack());
}

/// A kernel in miniature: a tracepoint `made(struct thing *)`, whose thing holds a number and a process's memory, and
/// the operations of a congestion control.
std::shared_ptr<const btf::Btf> small_kernel() {
  btf::Builder types;
  const u32 number = types.add_int("int", 4, btf::Builder::Encoding::signed_);
  const btf::Builder::NewMember inner[] = {{"value", number, 0}};
  const u32 part = types.add_struct("part", 4, inner);
  const u32 user_part = types.add_pointer(types.add_modifier(btf::Kind::type_tag, "user", part));
  const btf::Builder::NewMember members[] = {{"id", number, 0}, {"buffer", user_part, 64}};
  const u32 thing = types.add_pointer(types.add_struct("thing", 16, members));
  const btf::Param made[] = {{"__data", types.add_pointer(0)}, {"thing", thing}};
  types.add_modifier(btf::Kind::typedef_, "btf_trace_made", types.add_pointer(types.add_func_proto(0, made)));
  const btf::Param with_thing[] = {{"thing", thing}};
  const u32 operation = types.add_pointer(types.add_func_proto(0, with_thing));
  const btf::Builder::NewMember operations[] = {{"init", operation, 0}, {"get_info", operation, 64}};
  types.add_struct("tcp_congestion_ops", 16, operations);
  return types.build().value();
}

TEST(Verify, RulesOfTypedContexts) {
  const Options kernel{.rules = Rules::kernel, .kernel_types = small_kernel()};
  ObjectSpec object = object_with_maps();
  const auto judged = [&](std::string_view text) {
    ProgramSpec program = program_of(object, ProgramType::tracing, text);
    program.attach = AttachTarget::from_section("tp_btf/made").value();
    return refusal(program, object, kernel);
  };
  EXPECT_EQ(judged("r1 = *(u64 *)(r1 +0)\nr0 = *(u32 *)(r1 +0)\nr0 = 0\nexit"), "");
  EXPECT_EQ(judged("r1 = *(u64 *)(r1 +0)\nr0 = *(u32 *)(r1 +2)\nr0 = 0\nexit"), "no_such_field");
  EXPECT_EQ(judged("r1 = *(u64 *)(r1 +0)\nr0 = *(u32 *)(r1 +16)\nr0 = 0\nexit"), "no_such_field");
  EXPECT_EQ(judged("r1 = *(u64 *)(r1 +0)\n*(u32 *)(r1 +0) = 0\nr0 = 0\nexit"), "memory_not_writable");
  EXPECT_EQ(judged("r1 = *(u64 *)(r1 +0)\nr1 = *(u64 *)(r1 +8)\nr0 = *(u32 *)(r1 +0)\nr0 = 0\nexit"),
            "object_elsewhere");

  // A map of operations whose member at `offset` is the program.
  const auto operation = [&](u32 offset, const char* license, bool sleepable) {
    ObjectSpec own = object;
    own.license = license;
    own.btf = small_kernel();
    MapSpec map;
    map.name = "operations";
    map.type = MapType::struct_ops;
    map.btf_value_type_id = *own.btf->find("tcp_congestion_ops", btf::Kind::struct_);
    map.initial_value.resize(16);
    map.slots.push_back({offset, "test"});
    own.maps.push_back(map);
    ProgramSpec program = program_of(own, ProgramType::struct_ops, RETURN);
    program.name = "test";
    program.sleepable = sleepable;
    return refusal(program, own, kernel);
  };
  EXPECT_EQ(operation(0, "GPL", false), "");
  EXPECT_EQ(operation(0, "GPL", true), "struct_ops_member");
  EXPECT_EQ(operation(8, "GPL", false), "struct_ops_member");
  EXPECT_EQ(operation(0, "Proprietary", false), "program_needs_gpl");
}

TEST(Verify, TheAttachTypeDecidesFieldsAndHelpers) {
  ObjectSpec object = object_with_maps();
  Options options;
  options.rules = Rules::kernel;
  auto accepted = [&](ProgramType type, AttachKind kind, std::string_view target, const char* text) {
    ProgramSpec program = program_of(object, type, text);
    program.attach.kind = kind;
    program.attach.target = target;
    return verify(program, object, options)->report.accepted;
  };
  const char* egress = "r0 = *(u32 *)(r1 +20)\n" RETURN;
  EXPECT_FALSE(accepted(xdp, AttachKind::xdp, "", egress));
  EXPECT_TRUE(accepted(xdp, AttachKind::xdp_devmap, "", egress));
  const char* result = "call get_retval\nr0 = 1\nexit\n";
  EXPECT_TRUE(accepted(ProgramType::cgroup_sock_addr, AttachKind::cgroup_connect4, "", result));
  EXPECT_FALSE(accepted(ProgramType::cgroup_sock_addr, AttachKind::cgroup_getpeername4, "", result));
}

TEST(Verify, TheProofSaysWhatTheEngineNeeds) {
  ObjectSpec object = object_with_maps();
  ProgramSpec program = program_of(object, xdp, PACKET "*(u64 *)(r10 -24) = 0\ncall ktime_get_ns\nr0 = 2\nexit");
  auto outcome = verify(program, object, {});
  ASSERT_TRUE(outcome && outcome->program);
  const VerifiedProgram& proof = *outcome->program;
  ASSERT_EQ(proof.context_loads().size(), 2u);
  EXPECT_EQ(proof.context_loads()[0].insn, 0u);
  EXPECT_EQ(proof.context_loads()[0].offset, 24);
  EXPECT_EQ(proof.context_loads()[1].offset, 32);
  EXPECT_EQ(proof.context_bytes(), 8u);
  EXPECT_GE(proof.stack_bytes(), 24u);
  EXPECT_EQ(proof.helpers(), std::vector<u32>{5});
}

VerifiedProgram proof_of(std::string_view text) {
  ObjectSpec object = object_with_maps();
  ProgramSpec program = program_of(object, kprobe, text);
  auto outcome = verify(program, object, {});
  EXPECT_TRUE(outcome && outcome->program) << explain(outcome->report, program);
  return *outcome->program;
}

TEST(Verify, ProofsSayWhichWaysWereExplored) {
  const auto proofs = proof_of(
                          "r0 = 0\ncall get_prandom_u32\nr0 &= 7\nif r0 > 9 goto dead\nif r0 < 8 goto live\nr0 = 1\n"
                          "exit\nlive: if r0 == 3 goto both\nr0 = 2\nboth: r0 = 0\nexit\ndead: r0 = 9\nexit")
                          .proofs();
  EXPECT_TRUE(proofs[3].jump_passed && !proofs[3].jump_taken);
  EXPECT_TRUE(!proofs[4].jump_passed && proofs[4].jump_taken);
  EXPECT_TRUE(proofs[7].jump_passed && proofs[7].jump_taken);
  for (u32 i : {0u, 3u, 4u, 7u, 8u, 9u, 10u}) EXPECT_TRUE(proofs[i].reached) << i;
  for (u32 i : {5u, 6u, 11u, 12u}) EXPECT_FALSE(proofs[i].reached) << i;
}

TEST(Verify, AWayThatOnlyACoveredPathTakesCountsAsExplored) {
  // The second path meets the first at `meet` and is covered there: both ways of the jump behind it stay.
  const auto proofs = proof_of(
                          "call get_prandom_u32\nr6 = r0\ncall get_prandom_u32\nr7 = 1\nif r0 > 5 goto +2\nr7 = 2\n"
                          "goto +1\nr7 = 3\nmeet: if r6 == 4 goto end\nr6 = 1\nend: r0 = 0\nexit")
                          .proofs();
  EXPECT_TRUE(proofs[8].jump_taken && proofs[8].jump_passed);
}

TEST(Verify, ProofsOfDivisors) {
  const auto divides = [](const char* before, const char* division) {
    const std::string text = std::string("r6 = r1\ncall get_prandom_u32\nr2 = r0\nr3 = 100\n") + before +
                             "\nx: " + division + "\nr0 = 0\nexit";
    const auto program = proof_of(text);
    for (u32 i = 0; i < program.insns().size(); i++) {
      const u8 op = program.insns()[i].code & 0xf7;
      if (op == 0x37 || op == 0x34 || op == 0x97 || op == 0x94) return program.proofs()[i].divisor_nonzero;
    }
    ADD_FAILURE() << "no division in " << text;
    return false;
  };
  EXPECT_FALSE(divides("", "r3 /= r2"));
  EXPECT_TRUE(divides("r2 |= 1", "r3 /= r2"));
  EXPECT_TRUE(divides("if r2 == 0 goto x\nr2 |= 2", "r3 /= 5"));
  EXPECT_TRUE(divides("r2 &= 7\nr2 += 1", "r3 s/= r2"));
  EXPECT_FALSE(divides("r2 |= 1\nr2 <<= 32", "w3 %= w2"));
  EXPECT_TRUE(divides("", "r3 s/= -1"));  // 100 is not the smallest number
  EXPECT_FALSE(divides("r3 = r2\nr3 <<= 40", "r3 s/= -1"));
  // One path has a divisor that may be 0, the other has 5: the number must not be forgotten where they meet.
  EXPECT_FALSE(divides("r4 = 5\nif r0 > 9 goto +2\nr4 = r2\nr4 &= 1\nr5 = 1\nr5 += 1", "r3 /= r4"));
}

TEST(Verify, StackTouchesAreTheUnionOverAllPaths) {
  const auto program = proof_of(
      "r6 = 0\n*(u64 *)(r10 -16) = r6\ncall get_prandom_u32\nr2 = r10\nr2 += -16\nif r0 > 5 goto +1\nr2 += 8\n"
      "*(u8 *)(r2 +0) = 1\nr1 = r10\nr1 += -8\ncall f\nr0 = 0\nexit\n"
      "f: *(u32 *)(r1 +0) = 7\n*(u32 *)(r10 -4) = 9\nr0 = 0\nexit");
  struct Expected {
    u32 insn, function;
    s16 low, high;
  };
  std::vector<Expected> found;
  for (const StackTouch& t : program.stack_touches()) found.push_back({t.insn, t.function, t.low, t.high});
  const std::vector<Expected> expected = {{1, 0, -16, -8}, {7, 0, -16, -7}, {13, 0, -8, -4}, {14, 13, -4, 0}};
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); i++) {
    EXPECT_EQ(found[i].insn, expected[i].insn);
    EXPECT_EQ(found[i].function, expected[i].function);
    EXPECT_EQ(found[i].low, expected[i].low);
    EXPECT_EQ(found[i].high, expected[i].high);
  }
}

TEST(Verify, PathsThatDifferInUninterestingNumbersMeet) {
  // Thirty branches, each leaving another number in r7, which nothing depends on: 2^30 paths are one.
  ObjectSpec object = object_with_maps();
  std::string text = "r6 = r1\nr7 = 0\n";
  for (int i = 0; i < 30; i++)
    text += "call get_prandom_u32\nif r0 > 5 goto +2\nr7 += " + std::to_string(i + 1) +
            "\nr8 = r7\n*(u64 *)(r10 -8) = r7\n";
  ProgramSpec program = program_of(object, kprobe, text + RETURN);
  auto outcome = verify(program, object, {});
  ASSERT_TRUE(outcome.has_value());
  EXPECT_TRUE(outcome->report.accepted) << explain(outcome->report, program);
  EXPECT_LT(outcome->report.insns_processed, 1000u);
}

TEST(Verify, TheMaskOfASignIsOneOfTwoNumbers) {
  // r6 is 0 or -1, so r6 & -16 is 0 or -16, as a program that returns an error code or nothing computes it.
  const std::string text =
      "call get_prandom_u32\nr6 = r0\nr6 s>>= 63\nr6 &= -16\nif r6 == 0 goto end\n"
      "r6 += 16\nif r6 != 0 goto other\nend: " RETURN "other: r0 = *(u64 *)(r6 +0)\n" RETURN;
  EXPECT_TRUE(judge({"", kprobe, text.c_str()}).accepted);
  const std::string narrow =
      "call get_prandom_u32\nw6 = w0\nw6 s>>= 31\nw6 |= 5\nif w6 == 5 goto end\n"
      "w6 += 1\nif w6 != 0 goto other\nend: " RETURN "other: r0 = *(u64 *)(r6 +0)\n" RETURN;
  EXPECT_TRUE(judge({"", kprobe, narrow.c_str()}).accepted);
}

TEST(Verify, APartOfASpilledNumberOverwrittenLeavesBytes) {
  // Byte -1 was stored as 0, and stays that by our rules; Linux forgets it with the number in the slot's low half.
  const std::string text =
      "call get_prandom_u32\n*(u32 *)(r10 -4) = 0\n*(u32 *)(r10 -8) = r0\n*(u8 *)(r10 -6) = r0\n"
      "r7 = *(u8 *)(r10 -1)\nif r7 == 0 goto end\nr0 = *(u64 *)(r7 +0)\nend: " RETURN;
  ObjectSpec object = object_with_maps();
  const ProgramSpec program = program_of(object, kprobe, text);
  for (const Rules rules : {Rules::user, Rules::kernel}) {
    Options options;
    options.rules = rules;
    auto outcome = verify(program, object, options);
    ASSERT_TRUE(outcome.has_value());
    EXPECT_EQ(outcome->report.accepted, rules == Rules::user) << explain(outcome->report, program);
  }
}

TEST(Verify, NumbersThatDecideKeepPathsApart) {
  // r7 is 0 or 8 by a branch long before it is an offset: forgetting it would accept a write past the value.
  Case c{"outside_region", kprobe,
         "r6 = 0\ncall get_prandom_u32\nr7 = 0\nif r0 == 1 goto meet\nr7 = 8\nmeet: r8 = 1\nr8 += 2\nr9 = r8\nr9 += 1\n"
         "if r0 > 77 goto more\nr9 += 1\nmore: if r0 > 99 goto later\nr9 += 2\nlater: " LOOKUP(
             "counts") "if r0 == 0 goto end\nr0 += r7\n*(u64 *)(r0 +0) = 1\nend: " RETURN};
  Report report = judge(c);
  ASSERT_TRUE(report.rejection.has_value());
  EXPECT_EQ(report.rejection->id, c.refused);
}

TEST(Verify, AnInsertionSortMeetsItselfAgain) {
  // How far a word moves depends on the words: 32 of them are sorted in about 500 ways to be in both loops, if a slot
  // that was written as a word and one that was written as half of a slot are taken for the same thing.
  const char* sort =
      "r7 = 0\nfill: call get_prandom_u32\nr4 = r10\nr4 += -128\nr4 += r7\n*(u32 *)(r4 +0) = r0\nr7 += 4\nif r7 != 128 "
      "goto fill\nr1 = 1\n"
      "outer: r3 = r1\nr3 <<= 2\nr4 = r10\nr4 += -128\nr4 += r3\nr3 = *(u32 *)(r4 +0)\nr4 = r1\n"
      "inner: r5 = r4\nr5 += -1\nr0 = r5\nr0 <<= 2\nr6 = r10\nr6 += -128\nr6 += r0\nr0 = *(u32 *)(r6 +0)\nif r3 >= r0 "
      "goto place\n*(u32 *)(r6 +4) = r0\nr4 = r5\nif r4 != 0 goto inner\n"
      "place: r4 <<= 2\nr5 = r10\nr5 += -128\nr5 += r4\n*(u32 *)(r5 +0) = r3\nr1 += 1\nif r1 != 32 goto outer\n" RETURN;
  Report report = judge({"", kprobe, sort});
  EXPECT_TRUE(report.accepted);
  EXPECT_LT(report.insns_processed, 60'000u);
}

TEST(Verify, EndsWithinItsLimits) {
  // The counter comes from outside: each of its values is another state.
  ObjectSpec object = object_with_maps();
  ProgramSpec program = program_of(
      object, kprobe, "r6 = *(u64 *)(r1 +0)\nr6 &= 0xffffff\nloop: r6 += 1\nif r6 != 0x2000000 goto loop\n" RETURN);
  Options options;
  options.max_insns_processed = 50'000;
  auto outcome = verify(program, object, options);
  ASSERT_TRUE(outcome && outcome->report.rejection);
  EXPECT_NE(outcome->report.rejection->reason.find("50000 instructions"), std::string::npos);
  options.max_insns_processed = 0;
  options.max_state_bytes = 1 << 20;
  outcome = verify(program, object, options);
  ASSERT_TRUE(outcome && outcome->report.rejection);
  EXPECT_NE(outcome->report.rejection->reason.find("1 MiB of states"), std::string::npos);
}

TEST(Explain, SaysWhereWhyAndWhatToDo) {
  ObjectSpec object = object_with_maps();
  ProgramSpec program = program_of(object, kprobe, LOOKUP("counts") "r6 = r0\nr1 = *(u64 *)(r6 +0)\n" RETURN);
  program.name = "count";
  program.lines = {{0, "count.bpf.c", "  v = bpf_map_lookup_elem(&counts, &key);", 12, 7},
                   {7, "count.bpf.c", "  total += *v;", 14, 12}};
  auto outcome = verify(program, object, {});
  ASSERT_TRUE(outcome && outcome->report.rejection);
  std::string text = explain(outcome->report, program);
  for (const char* part : {"count.bpf.c:14:12", "total += *v;", "maybe_null", "map value of counts", "or null",
                           "map_lookup_elem", "count.bpf.c:12", "if (!p) return 0;"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " is missing in:\n" << text;
  EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 25);
}

TEST(Explain, NamesWhatMadeAPointerInvalid) {
  ObjectSpec object = object_with_maps();
  ProgramSpec program =
      program_of(object, kprobe,
                 RESERVE
                 "if r0 == 0 goto end\nr6 = r0\nr1 = r0\nr2 = 0\ncall ringbuf_submit\nr1 = *(u64 *)(r6 "
                 "+0)\nend: " RETURN);
  auto outcome = verify(program, object, {});
  ASSERT_TRUE(outcome && outcome->report.rejection);
  EXPECT_NE(outcome->report.rejection->cause.find("instruction 9 (call bpf_ringbuf_submit"), std::string::npos)
      << outcome->report.rejection->cause;
  program =
      program_of(object, tc,
                 "r6 = r1\nr7 = *(u32 *)(r1 +76)\nr8 = *(u32 *)(r1 +80)\nr2 = r7\nr2 += 14\nif r2 > r8 goto end\nr1 "
                 "= r6\nr2 = 64\ncall skb_pull_data\nr1 = *(u8 *)(r7 +0)\nend: " RETURN);
  outcome = verify(program, object, {});
  ASSERT_TRUE(outcome && outcome->report.rejection);
  EXPECT_NE(outcome->report.rejection->cause.find("instruction 8 (call bpf_skb_pull_data"), std::string::npos)
      << outcome->report.rejection->cause;
}

TEST(Prototypes, EveryHelperHasOne) {
  EXPECT_EQ(catalog::prototypes().size(), catalog::helpers().size());
  for (const auto& p : catalog::prototypes())
    for (std::size_t a = 0; a < p.args.size(); a++) {
      bool sized = p.args[a] == catalog::Arg::size || p.args[a] == catalog::Arg::size_or_zero;
      if (sized) {
        EXPECT_GT(a, 0u) << catalog::helper(static_cast<u32>(p.id))->name;
      }
    }
}

}  // namespace
}  // namespace skep::verify
