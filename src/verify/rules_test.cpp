// Every rule of the verifier, one small program each: what is refused, for which reason, and what is accepted.
//
// A case is a program type, assembly, and the id of the message that must refuse it ("" when it must be accepted).
// A test fails when a message has neither a case nor a place in the list of those that need a whole object.
#include <set>

#include "catalog/messages.hpp"
#include "verify/test_programs.hpp"

namespace skep::verify {
namespace {

#define SAVE_INTERRUPTS(below) "r1 = r10\nr1 += -" #below "\ncall local_irq_save\n"
#define RESTORE_INTERRUPTS(below) "r1 = r10\nr1 += -" #below "\ncall local_irq_restore\n"

// The lock of the value that a register points to, in the map `refusing`.
#define LOCK(reg) "r1 = " reg "\nr1 += 4\ncall res_spin_lock\n"
#define UNLOCK(reg) "r1 = " reg "\nr1 += 4\ncall res_spin_unlock\n"
#define VALUE_IN(reg) LOOKUP("refusing") "if r0 == 0 goto end\n" reg " = r0\n"

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
    {"frame_pointer_written", kprobe, "r10 = *(u64 *)(r1 +0)\n" RETURN},
    {"frame_pointer_written", kprobe, "r10 = load_acquire((u64 *)(r10 -8))\n" RETURN},
    // An atomic instruction that fetches writes its source.
    {"frame_pointer_written", kprobe, "*(u64 *)(r10 -8) = 0\nr10 = atomic64_fetch_add((u64 *)(r10 -8), r10)\n" RETURN},
    {"frame_pointer_written", kprobe, "*(u64 *)(r10 -8) = 0\nr10 = atomic64_xchg((u64 *)(r10 -8), r10)\n" RETURN},
    {"infinite_loop", kprobe, "loop: goto loop\nexit"},
    {"infinite_loop", kprobe, "r0 = *(u64 *)(r1 +0)\nloop: if r0 != 0 goto loop\nexit"},
    {"loop_unbounded", kprobe, "r0 = 0\nloop: r0 += 1\nif r0 != -1 goto loop\nexit"},
    // Forty bits, each either way, and a square that only one path at a time knows to be one.
    {"too_complex", kprobe,
     "r6 = 0\nr9 = 0\nloop: call get_prandom_u32\nr6 <<= 1\nr0 &= 1\nif r0 == 0 goto even\nr6 |= 1\neven: r7 = r6\n"
     "r7 *= r7\nr9 += 1\nif r9 < 40 goto loop\nr6 *= r6\nif r6 == r7 goto end\nr0 = *(u64 *)(r0 +0)\nend: r0 = "
     "0\nexit"},
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
    {"map_not_readable", kprobe, LOOKUP("write_only") "if r0 == 0 goto end\nr1 = *(u8 *)(r0 +0)\nend: " RETURN},
    {"", kprobe, LOOKUP("write_only") "if r0 == 0 goto end\n*(u8 *)(r0 +0) = 1\nend: " RETURN},
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
    {"", tc, VALUE_IN("r6") LOCK("r6") "if r0 != 0 goto end\n" UNLOCK("r6") "end: " RETURN},
    // What the call returns is 0 with the lock, and from -4095 to -1 without it.
    {"", tc,
     VALUE_IN("r6") LOCK("r6") "if r0 == 0 goto held\nr0 += 4095\nif r0 <= 4094 goto end\nr1 = *(u64 *)(r2 "
                               "+0)\nheld: " UNLOCK("r6") "end: " RETURN},
    {"lock_not_held", tc, VALUE_IN("r6") LOCK("r6") UNLOCK("r6") "end: " RETURN},
    {"lock_still_held", tc, VALUE_IN("r6") LOCK("r6") "end: " RETURN},
    {"lock_again", tc, VALUE_IN("r6") LOCK("r6") "if r0 != 0 goto end\n" LOCK("r6") UNLOCK("r6") "end: " RETURN},
    {"lock_order", tc,
     VALUE_IN("r6") VALUE_IN("r7") LOCK("r6") "if r0 != 0 goto end\n" LOCK("r7") "if r0 == 0 goto both\n" UNLOCK(
         "r6") "goto end\nboth: " UNLOCK("r6") UNLOCK("r7") "end: " RETURN},
    {"irq_other", tc,
     VALUE_IN("r6")
         SAVE_INTERRUPTS(16) "r1 = r6\nr1 += 4\nr2 = r10\nr2 += -24\ncall res_spin_lock_irqsave\nr1 = r6\nr1 "
                             "+= 4\nr2 = r10\nr2 += -16\ncall res_spin_unlock_irqrestore\nend: " RETURN},
    // Two ways that differ only in what is held do not meet.
    {"lock_still_held", tc,
     VALUE_IN("r6") LOCK("r6") "if r0 != 0 goto on\nr0 = 0\non: r0 = 0\nr7 = 1\nr7 += 1\nr7 += 1\nr7 += 1\nr7 += 1\nr7 "
                               "+= 1\nr7 += 1\nend: " RETURN},
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
    {"struct_ops_unknown", ProgramType::struct_ops, RETURN},
    {"unsupported_program_type", ProgramType::netfilter, RETURN},
    {"unsupported_helper", kprobe, "call get_current_task_btf\nr1 = r0\ncall task_pt_regs\n" RETURN},
    {"", kprobe,
     "call get_current_task_btf\nr1 = r0\nr2 = 0\nr3 = subprog[f]\nr4 = r10\nr5 = 0\ncall find_vma\n" RETURN
     "f: r0 = 0\nexit"},
    {"callback_result", kprobe,
     "call get_current_task_btf\nr1 = r0\nr2 = 0\nr3 = subprog[f]\nr4 = r10\nr5 = 0\ncall find_vma\n" RETURN
     "f: r0 = 2\nexit"},
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
    {"", kprobe, SAVE_INTERRUPTS(8) SAVE_INTERRUPTS(16) RESTORE_INTERRUPTS(16) RESTORE_INTERRUPTS(8) RETURN},
    {"", kprobe, SAVE_INTERRUPTS(8) "r1 = r10\nr1 += -8\ncall f\n" RETURN "f: call local_irq_restore\n" RETURN},
    {"section_open", kprobe, SAVE_INTERRUPTS(8) RETURN},
    {"irq_order", kprobe, SAVE_INTERRUPTS(8) SAVE_INTERRUPTS(16) RESTORE_INTERRUPTS(8) RESTORE_INTERRUPTS(16) RETURN},
    {"wrong_argument", kprobe, SAVE_INTERRUPTS(8) SAVE_INTERRUPTS(8) RESTORE_INTERRUPTS(8) RETURN},
    {"wrong_argument", kprobe, SAVE_INTERRUPTS(8) RESTORE_INTERRUPTS(8) RESTORE_INTERRUPTS(8) RETURN},
    {"wrong_argument", kprobe, "*(u64 *)(r10 -8) = 0\n" RESTORE_INTERRUPTS(8) RETURN},
    {"stack_object_place", kprobe, SAVE_INTERRUPTS(12) RESTORE_INTERRUPTS(12) RETURN},
    {"wrong_argument", kprobe, SAVE_INTERRUPTS(8) "*(u64 *)(r10 -8) = 0\n" RESTORE_INTERRUPTS(8) RETURN},
    {"reference_leak", kprobe, SAVE_INTERRUPTS(8) RESERVE RESTORE_INTERRUPTS(8) RETURN},
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
    const Rules rules = std::string_view(c.refused) == "stack_uninitialised" ? Rules::strict : Rules::user;
    for (const bool at_once : {false, true}) {
      Report report = judge(c, rules, at_once);
      std::string id = report.rejection ? report.rejection->id : "";
      EXPECT_EQ(id, c.refused) << c.text << "\n" << (report.rejection ? report.rejection->reason : "accepted");
    }
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
void with_sleeping_function(ProgramSpec& program, ObjectSpec& object, Options& options) {
  with_global_function(program, object, options);
  program.sleepable = true;
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
    {"sleeps_in_section", kprobe, SAVE_INTERRUPTS(16) COPY_FROM_USER RESTORE_INTERRUPTS(16) RETURN,
     [](ProgramSpec& program, ObjectSpec&, Options&) { program.sleepable = true; }},
    {"sleeps_in_section", kprobe,
     "call rcu_read_lock\ncall f\ncall rcu_read_unlock\n" RETURN "f: " COPY_FROM_USER "r0 = 0\nexit",
     with_sleeping_function},
    {"", kprobe, "call f\n" RETURN "f: " COPY_FROM_USER "r0 = 0\nexit", with_sleeping_function},
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
    "section_over",               // tests/objects has it
    "lock_for_graph",
    "graph_in_comparison",
    "wrong_object",
    "object_field_touched",
    "unsupported_map_value",
    // RulesOfTypedContexts
    "no_such_field",
    "object_elsewhere",
    "no_attach_target",
    "struct_ops_member",
    "program_needs_gpl",
    // the kernel's own programs (tests/verify_corpus)
    "kfunc_not_for_attach",
    "no_kernel_symbol",  // elsewhere_test.cpp
    "kernel_type_needs_gpl",
    "program_not_sleepable",  // from here on: linux_rules_test.cpp
    "map_not_for_sleepable",
    "function_returns_no_number",
    "exception_callback_wrong",
    "throw_in_callback",
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
  const btf::Builder::NewMember looks[] = {{"look", operation, 0}, {"see", operation, 64}};
  types.add_struct("thing_ops", 16, looks);
  const btf::Param or_none[] = {{"thing__nullable", thing}};
  types.add_func("thing_ops__look", types.add_func_proto(0, or_none), 0);
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

  const auto judged_at = [&](const char* section) {
    ProgramSpec program =
        program_of(object, ProgramType::tracing, "r1 = *(u64 *)(r1 +0)\nr0 = *(u32 *)(r1 +0)\nr0 = 0\nexit");
    program.attach = AttachTarget::from_section(section).value();
    return refusal(program, object, kernel);
  };
  for (const char* section : {"tp_btf/none", "fentry/no_such_fn", "fexit/no_such_fn", "iter/none"})
    EXPECT_EQ(judged_at(section), "no_attach_target") << section;

  // A map of operations whose member at `offset` is the program.
  const auto operation = [&](u32 offset, const char* license, bool sleepable,
                             const char* structure = "tcp_congestion_ops", const char* text = RETURN) {
    ObjectSpec own = object;
    own.license = license;
    own.btf = small_kernel();
    MapSpec map;
    map.name = "operations";
    map.type = MapType::struct_ops;
    map.btf_value_type_id = *own.btf->find(structure, btf::Kind::struct_);
    map.initial_value.resize(16);
    map.slots.push_back({offset, "test"});
    own.maps.push_back(map);
    ProgramSpec program = program_of(own, ProgramType::struct_ops, text);
    program.name = "test";
    program.sleepable = sleepable;
    return refusal(program, own, kernel);
  };
  EXPECT_EQ(operation(0, "GPL", false), "");
  EXPECT_EQ(operation(0, "GPL", true), "struct_ops_member");
  EXPECT_EQ(operation(8, "GPL", false), "struct_ops_member");
  EXPECT_EQ(operation(0, "Proprietary", false), "program_needs_gpl");
  // What the kernel's stand-in for an operation calls so may be null.
  const char* reads = "r1 = *(u64 *)(r1 +0)\nr0 = *(u32 *)(r1 +0)\n" RETURN;
  EXPECT_EQ(operation(0, "GPL", false, "thing_ops", reads), "maybe_null");
  EXPECT_EQ(operation(8, "GPL", false, "thing_ops", reads), "");
  EXPECT_EQ(operation(0, "GPL", false, "thing_ops",
                      "r1 = *(u64 *)(r1 +0)\nif r1 == 0 goto +1\nr0 = *(u32 *)(r1 +0)\n" RETURN),
            "");
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

}  // namespace
}  // namespace skep::verify
