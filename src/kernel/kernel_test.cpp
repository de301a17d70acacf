// The parts of the kernel engine that need no kernel: layouts, texts, instruction rewriting.
#include <elf.h>
#include <gtest/gtest.h>

#include <linux/bpf.h>
#include <skep/spec.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/cpus.hpp"
#include "base/gunzip.hpp"
#include "base/kernel_config.hpp"
#include "base/mapped_file.hpp"
#include "btf/test_support.hpp"
#include "catalog/syscalls.hpp"
#include "kernel/carry.hpp"
#include "kernel/close.hpp"
#include "kernel/hook_substitutes.hpp"
#include "kernel/judge.hpp"
#include "kernel/map_create.hpp"
#include "kernel/moved_hooks.hpp"
#include "kernel/pins.hpp"
#include "kernel/plan.hpp"
#include "kernel/rewrite.hpp"
#include "kernel/syscall.hpp"
#include "kernel/token.hpp"
#include "kernel/trace_lines.hpp"
#include "kernel/uapi.hpp"
#include "kernel/verifier_log.hpp"

namespace skep::kernel {
namespace {

// The layouts are the kernel's, as far as the installed header goes.
#define SAME_PLACE(ours, our_field, theirs, their_field) \
  static_assert(offsetof(uapi::ours, our_field) == offsetof(theirs, their_field))
SAME_PLACE(MapCreate, map_name, bpf_attr, map_name);
SAME_PLACE(MapCreate, btf_value_type_id, bpf_attr, btf_value_type_id);
SAME_PLACE(MapCreate, map_extra, bpf_attr, map_extra);
SAME_PLACE(MapElem, value_or_next_key, bpf_attr, value);
SAME_PLACE(MapElem, flags, bpf_attr, flags);
SAME_PLACE(ProgLoad, log_buf, bpf_attr, log_buf);
SAME_PLACE(ProgLoad, prog_name, bpf_attr, prog_name);
SAME_PLACE(ProgLoad, expected_attach_type, bpf_attr, expected_attach_type);
SAME_PLACE(ProgLoad, func_info, bpf_attr, func_info);
SAME_PLACE(ProgLoad, line_info_cnt, bpf_attr, line_info_cnt);
SAME_PLACE(ProgLoad, attach_btf_id, bpf_attr, attach_btf_id);
SAME_PLACE(ProgLoad, attach_prog_fd, bpf_attr, attach_prog_fd);
SAME_PLACE(ProgLoad, fd_array, bpf_attr, fd_array);
SAME_PLACE(BtfLoad, log_level, bpf_attr, btf_log_level);
SAME_PLACE(TestRun, ctx_out, bpf_attr, test.ctx_out);
SAME_PLACE(TestRun, cpu, bpf_attr, test.cpu);
SAME_PLACE(InfoByFd, info, bpf_attr, info.info);
SAME_PLACE(RawTracepointOpen, prog_fd, bpf_attr, raw_tracepoint.prog_fd);
SAME_PLACE(LinkCreate, bpf_cookie, bpf_attr, link_create.perf_event.bpf_cookie);
SAME_PLACE(ProgInfo, name, bpf_prog_info, name);
SAME_PLACE(ProgInfo, netns_dev, bpf_prog_info, netns_dev);
SAME_PLACE(ProgInfo, btf_id, bpf_prog_info, btf_id);
SAME_PLACE(ProgInfo, line_info, bpf_prog_info, line_info);
SAME_PLACE(ProgInfo, nr_prog_tags, bpf_prog_info, nr_prog_tags);
SAME_PLACE(ProgInfo, verified_insns, bpf_prog_info, verified_insns);
SAME_PLACE(MapInfo, btf_id, bpf_map_info, btf_id);
SAME_PLACE(MapInfo, map_extra, bpf_map_info, map_extra);
SAME_PLACE(BtfInfo, name, bpf_btf_info, name);
SAME_PLACE(BtfInfo, kernel_btf, bpf_btf_info, kernel_btf);
SAME_PLACE(LinkInfo, of, bpf_link_info, raw_tracepoint);
// The kernel refuses what is not zero beyond the structure it knows, and padding is whatever was there before.
#define NO_PADDING(ours) static_assert(std::has_unique_object_representations_v<uapi::ours>)
NO_PADDING(MapCreate);
NO_PADDING(MapElem);
NO_PADDING(MapBatch);
NO_PADDING(MapFreeze);
NO_PADDING(ProgLoad);
NO_PADDING(FuncInfo);
NO_PADDING(LineInfo);
NO_PADDING(BtfLoad);
NO_PADDING(ObjPath);
NO_PADDING(TestRun);
NO_PADDING(ObjectId);
NO_PADDING(InfoByFd);
NO_PADDING(ProgAttach);
NO_PADDING(ProgQuery);
NO_PADDING(TaskFdQuery);
NO_PADDING(LinkDetach);
NO_PADDING(IterCreate);
NO_PADDING(RawTracepointOpen);
NO_PADDING(LinkTarget);
NO_PADDING(LinkCreate);
NO_PADDING(LinkCreateTracing);
NO_PADDING(LinkCreateIter);
NO_PADDING(LinkCreateKprobeMulti);
NO_PADDING(LinkCreateUprobeMulti);
NO_PADDING(LinkCreateNetfilter);
NO_PADDING(LinkCreateOrdered);
NO_PADDING(IterMap);
NO_PADDING(IterCgroup);
NO_PADDING(IterTask);
NO_PADDING(ProgInfo);
NO_PADDING(MapInfo);
NO_PADDING(BtfInfo);
static_assert(static_cast<u32>(uapi::Cmd::link_get_next_id) == BPF_LINK_GET_NEXT_ID);
static_assert(static_cast<u32>(uapi::Cmd::map_freeze) == BPF_MAP_FREEZE);
static_assert(static_cast<u32>(uapi::Cmd::raw_tracepoint_open) == BPF_RAW_TRACEPOINT_OPEN);

TEST(ObjectName, IsCutAndCleaned) {
  char field[uapi::object_name_bytes];
  set_object_name(field, "a name-with/odd characters");
  EXPECT_STREQ(field, "a_name_with_odd");
  set_object_name(field, "");
  EXPECT_STREQ(field, "");
}

TEST(CpuList, ReadsRangesAndRefusesNonsense) {
  EXPECT_EQ(base::parse_cpu_list("0-3,8\n").value(), (std::vector<u32>{0, 1, 2, 3, 8}));
  EXPECT_EQ(base::parse_cpu_list("0\n").value(), (std::vector<u32>{0}));
  EXPECT_TRUE(base::parse_cpu_list("\n").value().empty());
  for (const char* bad : {"3-1", "a", "0-", "0,,1", "0-4294967295", "99999"})
    EXPECT_FALSE(base::parse_cpu_list(bad)) << bad;
  EXPECT_GE(base::possible_cpus(), base::online_cpus().size());
}

TEST(SyscallOfFunction, KnowsTheWrappers) {
  EXPECT_EQ(catalog::syscall_of_function("__x64_sys_execve"), "execve");
  EXPECT_EQ(catalog::syscall_of_function("do_sys_openat2"), "");
}

TEST(VerifierLog, FindsReasonInstructionAndLine) {
  const auto refusal = read_refusal(
      "func#0 @0\n0: R1=ctx() R10=fp0\n; *p = 1; @ a.bpf.c:7\n3: (7b) *(u64 *)(r0 +0) = r1\n"
      "R0 invalid mem access 'map_value_or_null'\nverification time 12 usec\nstack depth 8\n"
      "processed 4 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n");
  EXPECT_EQ(refusal.reason, "R0 invalid mem access 'map_value_or_null'");
  EXPECT_EQ(refusal.source, "a.bpf.c:7: *p = 1;");
  EXPECT_EQ(refusal.insn, 3u);
  EXPECT_TRUE(read_refusal("").reason.empty());
  EXPECT_EQ(read_refusal("unknown opcode 8f").reason, "unknown opcode 8f");
  ProgramSpec program;
  program.lines = {{0, "b.c", "  first();", 1, 1}, {3, "b.c", "  second();", 2, 1}};
  const auto text = explain_rejection("3: (7b) x\nbad\n", program);
  EXPECT_NE(text.find("b.c:2: second();"), std::string::npos) << text;
}

TEST(Judge, ReadsWhatTheVerifierSaysOfItsWork) {
  const auto work = work_in_log(
      "R5 !read_ok\nverification time 12 usec\nstack depth 8\n"
      "processed 4 insns (limit 1000000) max_states_per_insn 0 total_states 3 peak_states 2 mark_read 1\n");
  ASSERT_TRUE(work);
  EXPECT_EQ(work->insns, 4u);
  EXPECT_EQ(work->time_us, 12.0);
  EXPECT_EQ(work->states, 3u);
  EXPECT_EQ(work->peak_states, 2u);
  const auto of_functions = work_in_log(  // as Linux 7.2 has it
      "verification time 12 usec\nstack depth 0 max 0\ninsns processed 3\nprocessed 8 insns (limit 1)\n");
  ASSERT_TRUE(of_functions);
  EXPECT_EQ(of_functions->insns, 8u);
  EXPECT_FALSE(work_in_log("Tracing programs must provide btf_id\n"));
  EXPECT_FALSE(work_in_log(""));
}

TEST(TraceLines, KeepsOurEventsAndTheirContinuations) {
  TraceLines lines;
  std::vector<std::string> got;
  const auto take = [&](std::string_view line) { got.emplace_back(line); };
  lines.feed("            bash-12  [001] d..31  1.5: bpf_trace_prin", take);
  EXPECT_TRUE(got.empty());
  lines.feed(
      "tk: one\nmore of one\n\n  cat-3 [000] ..... 2.0: sched_switch: x\nnot ours\nCPU:1 [LOST 12 EVENTS]\n"
      "  a [b]-4 [000] ..... 3.0: bpf_trace_printk: two\n",
      take);
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(got[0], "            bash-12  [001] d..31  1.5: bpf_trace_printk: one");
  EXPECT_EQ(got[1], "more of one");
  EXPECT_TRUE(got[2].ends_with(": two"));
  EXPECT_EQ(lines.lost(), 12u);
  lines.feed(std::string(1u << 20, 'x'), take);  // no newline: forgotten, not kept for ever
  lines.feed("\n", take);
  EXPECT_EQ(got.size(), 3u);
}

TEST(MountPoints, ReadsMountinfo) {
  const auto found = mounts(
      "24 1 0:22 / /sys rw - sysfs sysfs rw\n30 24 0:27 / /sys/fs/bpf rw shared:9 - bpf bpf rw,mode=700\n"
      "31 24 0:28 / /tmp/my\\040bpf rw - bpf none rw\nbroken line\n",
      "bpf");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].point, "/sys/fs/bpf");
  EXPECT_EQ(found[0].options, "rw,mode=700");
  EXPECT_EQ(found[1].point, "/tmp/my bpf");
}

TEST(Tokens, DelegationsAreReadFromMounts) {
  const auto found = delegations(
      "30 24 0:27 / /sys/fs/bpf rw - bpf bpf rw,mode=700\n31 24 0:28 / /sys/fs/cgroup rw - cgroup2 none rw\n"
      "32 24 0:29 / /tmp/my\\040bpf rw - bpf none rw,delegate_cmds=map_create:prog_load,delegate_maps=any,"
      "delegate_progs=0x6:kprobe,delegate_attachs\n");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].path, "/tmp/my bpf");
  EXPECT_EQ(found[0].commands, (std::vector<std::string>{"map_create", "prog_load"}));
  EXPECT_TRUE(found[0].attachments.empty());
  EXPECT_TRUE(delegates(found[0].commands, "map_create", 0));
  EXPECT_FALSE(delegates(found[0].commands, "btf_load", 18));
  EXPECT_TRUE(delegates(found[0].maps, "hash", 1));
  EXPECT_TRUE(delegates(found[0].programs, "socket_filter", 1));
  EXPECT_FALSE(delegates(found[0].programs, "sched_cls", 3));
  EXPECT_TRUE(delegations("broken - bpf\n - bpf\n").empty());
}

TEST(Completed, FillsWhatTheTypeImplies) {
  MapSpec perf;
  perf.type = MapType::perf_event_array;
  EXPECT_EQ(completed(perf, 4, 4096).max_entries, 4u);
  EXPECT_EQ(completed(perf, 4, 4096).value_size, 4u);
  MapSpec ring;
  ring.type = MapType::ringbuf;
  ring.max_entries = 5000;
  EXPECT_EQ(completed(ring, 4, 4096).max_entries, 8192u);
  ring.max_entries = 0xffffffff;  // left to the kernel to refuse
  EXPECT_EQ(completed(ring, 4, 4096).max_entries, 0xffffffffu);
}

constexpr Insn mov(u8 dst, s32 imm) { return {0xb7, dst, 0, 0, imm}; }
constexpr Insn exit_insn{0x95, 0, 0, 0, 0};

TEST(Insert, JumpsCallsAndRecordsFollow) {
  ProgramSpec program;
  program.insns = {
      {0x15, 1, 0, 3, 0},   // 0: if r1 == 0 goto 4
      {0x18, 2, 0, 0, 7},   // 1: r2 = ...
      {0, 0, 0, 0, 0},      // 2
      {0x85, 0, 1, 0, 2},   // 3: call 6
      {0x85, 0, 0, 0, 25},  // 4: call helper        <- insertion, also a jump target
      {0x05, 0, 0, -6, 0},  // 5: goto 0
      mov(0, 0),            // 6: subprogram
      exit_insn,            // 7
  };
  program.references = {{1, Reference::Kind::function, 0, 6}};
  program.functions = {{0, 1, "main", true}, {6, 2, "sub", false}};
  program.lines = {{0, "f", "a", 1, 1}, {4, "f", "b", 2, 1}, {6, "f", "c", 3, 1}};
  const Insertion insertions[] = {{4, mov(1, 99)}, {6, mov(3, 1)}};
  ASSERT_TRUE(insert(program, insertions));
  ASSERT_EQ(program.insns.size(), 10u);
  EXPECT_EQ(program.insns[4], mov(1, 99));
  EXPECT_EQ(program.insns[0].off, 3);  // to the inserted instruction
  EXPECT_EQ(program.insns[3].imm, 3);  // to the instruction inserted in front of the subprogram
  EXPECT_EQ(program.insns[6].off, -7);
  EXPECT_EQ(program.insns[7], mov(3, 1));
  EXPECT_EQ(program.references[0].insn, 1u);
  EXPECT_EQ(program.references[0].addend, 7u);
  EXPECT_EQ(program.functions[1].insn, 7u);
  EXPECT_EQ(program.lines[1].insn, 4u);
  prepend(program, std::vector<Insn>(3, mov(5, 5)));
  EXPECT_EQ(program.references[0].insn, 4u);
  EXPECT_EQ(program.functions[0].insn, 3u);
  EXPECT_EQ(program.insns[3].off, 3);
}

TEST(Insert, RefusesJumpsOutOfTheProgramAndTooLongOnes) {
  ProgramSpec program;
  program.insns = {{0x05, 0, 0, 100, 0}, exit_insn};
  const Insertion one[] = {{1, mov(0, 0)}};
  EXPECT_EQ(insert(program, one).error().code, Code::malformed);
  program.insns.assign(32770, mov(0, 0));
  program.insns[0] = {0x05, 0, 0, 32767, 0};
  program.insns.back() = exit_insn;
  EXPECT_EQ(insert(program, one).error().code, Code::unsupported);
}

TEST(HookSubstitutes, EveryRowCanBeRead) {
  for (const HookSubstitute& row : hook_substitutes()) {
    SCOPED_TRACE(row.function);
    const auto arguments = parse_arguments(row.arguments);
    ASSERT_TRUE(arguments);
    EXPECT_LE(arguments->size(), 7u);  // those behind the sixth are on the stack, and not known
    const bool at_return = row.when == HookSubstitute::When::at_return;
    EXPECT_TRUE(!at_return || arguments->size() == 1);
    const auto tests = parse_tests(row.tests);
    ASSERT_TRUE(tests);
    const auto has = [&](s8 word) {
      return std::ranges::find(*arguments, word) != arguments->end() ||
             std::ranges::any_of(*tests, [&](const SubstituteTest& test) { return test.argument == word; });
    };
    const bool builds = std::ranges::any_of(*arguments, [](s8 argument) { return argument <= argument_structure; });
    EXPECT_FALSE(builds && (has(argument_socket) || has(argument_sock) || has(argument_new_sock))) << "one register";
    EXPECT_EQ(parse_types(row.arguments).size(), arguments->size());
    for (const std::string_view call : system_calls(row.tracepoint))
      EXPECT_NE(catalog::syscall_by_name(call), nullptr) << call;
    EXPECT_FALSE(row.note.empty());
    EXPECT_EQ(row.function.find('.'), row.function.npos);
  }
  for (const BuiltStructure& built : built_structures()) {
    const auto members = parse_members(built.members);
    ASSERT_TRUE(members && !members->empty()) << built.name;
  }
  EXPECT_EQ(parse_types("-:inode,new_dentry:dentry,-"), (std::vector<std::string_view>{"inode", "dentry", ""}));
  EXPECT_EQ(*parse_arguments("-:inode,new_dentry:dentry,kiocb"),
            (std::vector<s8>{argument_unknown, argument_new_dentry, argument_structure}));
  const auto members = parse_members("a=file b=#1 c=iter_type.ITER_IOVEC d=@iovec e=2");
  ASSERT_TRUE(members && members->size() == 5);
  EXPECT_TRUE((*members)[0].argument == argument_file && (*members)[1].number == 1);
  EXPECT_TRUE((*members)[2].enumeration == "iter_type" && (*members)[2].enumerator == "ITER_IOVEC");
  EXPECT_TRUE((*members)[3].argument <= argument_structure && (*members)[4].argument == 2);
  for (const char* text : {"a", "a=", "=1", "a=x", "a=@x", "a=#", "a=#1x", "a=-", "a=kiocb"})
    EXPECT_FALSE(parse_members(text)) << text;
  EXPECT_FALSE(parse_arguments("x"));
  EXPECT_FALSE(parse_arguments("0,12"));
  for (const char* text :
       {"", "0", "0=1", "0==", "0==1x", "0.sock==6", "0.sock.a:3==6", "12==1", "-1==1", "-==1", "file.file==1",
        "file.file.f_inode.inode:2==1", "0&==1", "0&x==1", "0&0==1", "0&1", "0.:2==1", "0.a..b:2==1"})
    EXPECT_EQ(parse_tests(text).has_value(), std::string_view(text).empty()) << text;
  const auto tests = parse_tests("0.sock.sk_protocol:2==6 2!=10");
  ASSERT_TRUE(tests && tests->size() == 2);
  EXPECT_TRUE((*tests)[0].path[0].second == "sk_protocol" && (*tests)[0].bytes == 2 && (*tests)[0].value == 6);
  EXPECT_TRUE(!(*tests)[1].equal && (*tests)[1].argument == 2 && (*tests)[1].path.empty());
  const auto masked = parse_tests("file.file.f_mode:4&1048576!=0");
  ASSERT_TRUE(masked && masked->size() == 1);
  EXPECT_TRUE(masked->front().mask == 1048576 && !masked->front().equal && masked->front().bytes == 4);
  const auto deep = parse_tests("file.file.f_inode.inode.i_mode:2==1");
  ASSERT_TRUE(deep && deep->size() == 1 && deep->front().path.size() == 2);
  EXPECT_TRUE(deep->front().argument == argument_file && deep->front().path[1].first == "inode");
  const auto calls = system_calls("sys_enter(read, pread64)");
  EXPECT_TRUE(calls.size() == 2 && calls[0] == "read" && calls[1] == "pread64");
  EXPECT_TRUE(system_calls("sched_switch").empty());
  EXPECT_EQ(source_name("finish_task_switch.isra.0"), "finish_task_switch");
}

/// The reference is the table as people read it: a row that changed is copied from what this test expects.
TEST(HookSubstitutes, TheReferenceShowsTheTable) {
  std::string table = "| function | tracepoint | parameters | exactness | what is different |\n|---|---|---|---|---|\n";
  for (const HookSubstitute& row : hook_substitutes()) {
    const auto arguments = *parse_arguments(row.arguments);
    std::string known;
    for (std::size_t i = 0; i < arguments.size(); ++i)
      if (arguments[i] != argument_unknown) known += fmt::format("{}{}", known.empty() ? "" : ", ", i + 1);
    const bool at_return = row.when == HookSubstitute::When::at_return;
    table += fmt::format(
        "| {}{} | {} | {} | {}{} | {} |\n", row.function, at_return ? " (return)" : "", row.tracepoint,
        at_return                                              ? "result"
        : known.empty()                                        ? "none"
        : std::ranges::count(arguments, argument_unknown) == 0 ? "all"
                                                               : known,
        row.exactness == HookSubstitute::Exactness::exact ? "exact" : "approximate",
        row.current == HookSubstitute::Current::other ? ", not for programs that ask for the current task" : "",
        row.note);
  }
  const auto text = base::read_text("docs/reference/hook-substitutes.md");
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_NE(text->find(table), std::string::npos) << "docs/reference/hook-substitutes.md should hold:\n" << table;
}

TEST(MovedHooks, EveryRowCanBeReadAndStandsInTheReference) {
  const auto text = base::read_text("docs/reference/hook-substitutes.md");
  ASSERT_TRUE(text) << text.error().message;
  const auto shown = [&](const std::string& line) {
    EXPECT_NE(text->find(line), std::string::npos) << "docs/reference/hook-substitutes.md should hold:\n" << line;
  };
  constexpr std::size_t words_of_the_view = 21;
  for (const MovedTracepoint& row : moved_tracepoints()) {
    const auto arguments = parse_arguments(row.arguments);
    ASSERT_TRUE(arguments && arguments->size() <= words_of_the_view) << row.name;
    EXPECT_GT(arguments->size(), row.count) << row.name << ": nothing would tell old programs from new ones";
    for (const s8 argument : *arguments) EXPECT_LT(argument, static_cast<s8>(row.count)) << row.name;
    shown(
        fmt::format("| raw_tracepoint/{} | itself | exact | programs that read more than {} arguments get those it had "
                    "{} |\n",
                    row.name, row.count, row.note));
  }
  for (const MovedFunction& row : moved_functions()) {
    const auto parameters = parse_arguments(row.parameters);
    ASSERT_TRUE(parameters && !parameters->empty()) << row.function;
    for (const s8 parameter : *parameters) EXPECT_TRUE(parameter == argument_unknown || parameter >= 0) << row.function;
    shown(fmt::format("| {} | {} | {} | {} |\n", row.function, row.other, name_of(row.exactness), row.note));
  }
  for (const InlinedFunction& row : inlined_functions()) {
    const auto parameters = parse_arguments(row.parameters);
    ASSERT_TRUE(parameters && !parameters->empty()) << row.function;
    for (const s8 parameter : *parameters) EXPECT_TRUE(parameter == argument_unknown || parameter >= 0) << row.function;
    shown(
        fmt::format("| {} | itself, and {} | {} | {} |\n", row.function, row.caller, name_of(row.exactness), row.note));
  }
}

#if defined(__x86_64__)
/// At a system call's boundary the file is found behind the descriptor, in r7, and tests follow members from it.
TEST(Carry, FindsTheFileAtTheBoundaryOfASystemCall) {
  ProgramSpec program;
  program.name = "f";
  program.insns = {{0x79, 0, 1, 112, 0}, exit_insn};
  program.functions = {FunctionInfo{0, 2, "f", true}};
  Carrier carrier;
  carrier.hook = CarrierHook::boundary_entry;
  carrier.function = "vfs_read";
  carrier.tracepoint = "sys_enter(read, pread64)";
  carrier.syscall_numbers = {0, 17};
  carrier.arguments = {argument_file, 1, argument_unknown};
  carrier.tests = {{argument_file, {32, 40}, 2, 0, true, 7}};
  ASSERT_TRUE(carry(program, carrier));
  EXPECT_EQ(program.attach.target, "sys_enter");
  const auto has = [&](Insn wanted) {
    return std::ranges::any_of(program.insns, [&](const Insn& insn) {
      return insn.code == wanted.code && insn.dst == wanted.dst && insn.src == wanted.src && insn.imm == wanted.imm;
    });
  };
  EXPECT_TRUE(has({0x15, 2, 0, 0, 0}) && has({0x55, 2, 0, 0, 17}));   // one of the two calls, or leave
  EXPECT_TRUE(has({0x3d, 8, 2, 0, 0}));                               // below the table's limit
  EXPECT_TRUE(has({0x07, 3, 0, 0, 32}) && has({0x07, 3, 0, 0, 40}));  // the members
  EXPECT_TRUE(has({0x55, 2, 0, 0, 7}) && has({0xbf, 2, 7, 0, 0}));    // the test, the file as first parameter
  for (std::size_t i = 0; i < program.insns.size(); ++i) {
    const Insn& insn = program.insns[i];
    if ((insn.code & 7) == 5 && insn.code != 0x85 && insn.code != 0x95) {
      EXPECT_LT(i + 1 + static_cast<std::size_t>(insn.off), program.insns.size());
    }
  }
  EXPECT_NE(describe(carrier, "kprobe/vfs_read").find("sys_enter(read, pread64)"), std::string::npos);
}

/// In front of a kprobe: the registers as they are, but for the parameters, which come from where they are declared to
/// be.
TEST(Carry, GivesTheParametersThatAreDeclared) {
  ProgramSpec program;
  program.name = "trace_unlink";
  program.insns = {{0x79, 0, 1, 104, 0}, exit_insn};
  program.functions = {FunctionInfo{0, 2, "trace_unlink", true}};
  Carrier carrier;
  carrier.hook = CarrierHook::kprobe;
  carrier.function = "vfs_unlink";
  carrier.arguments = {1, 2};
  carrier.parameters_by_type = true;
  ASSERT_TRUE(carry(program, carrier));
  EXPECT_EQ(program.attach.kind, AttachKind::kprobe);
  EXPECT_EQ(program.attach.target, "vfs_unlink");
  const auto follows = [&](s16 from, s16 to) {
    for (std::size_t i = 0; i + 1 < program.insns.size(); ++i)
      if (program.insns[i] == Insn{0x79, 2, 6, from, 0} && program.insns[i + 1] == Insn{0x7b, 10, 2, to, 0})
        return true;
    return false;
  };
  constexpr s16 view = -176, di = 112, si = 104, dx = 96, ip = 128;
  EXPECT_TRUE(follows(si, view + di) && follows(dx, view + si));
  EXPECT_TRUE(follows(dx, view + dx) && follows(ip, view + ip));
  EXPECT_NE(describe(carrier, "kprobe/vfs_unlink").find("other parameters than the program declares"),
            std::string::npos);
}

TEST(Carry, PutsTheProgramBehindItsCarrier) {
  ProgramSpec program;
  program.name = "hello";
  program.insns = {{0x85, 0, 0, 0, 25}, mov(0, 0), exit_insn};
  program.functions = {{0, 5, "hello", true}};
  Carrier carrier;
  carrier.function = "__x64_sys_execve";
  carrier.syscall_number = 59;
  ASSERT_TRUE(carry(program, carrier));
  EXPECT_EQ(program.type, ProgramType::raw_tracepoint);
  EXPECT_EQ(program.attach.target, "sys_enter");
  ASSERT_EQ(program.functions.size(), 2u);
  const u32 body = program.functions[1].insn;
  EXPECT_EQ(program.insns[body - 1], exit_insn);
  EXPECT_EQ(program.insns[body], (Insn{0x79, 1, 1, 168, 0}));  // the real context, for perf_event_output
  EXPECT_EQ(program.insns[body + 1].imm, 25);
  // The one local call leads to the body.
  u32 calls = 0;
  for (u32 i = 0; i < body; ++i)
    if (program.insns[i].code == 0x85 && program.insns[i].src == 1) {
      ++calls;
      EXPECT_EQ(i + 1 + static_cast<u32>(program.insns[i].imm), body);
    }
  EXPECT_EQ(calls, 1u);
  EXPECT_NE(describe(carrier, "ksyscall/execve").find("raw_tracepoint/sys_enter"), std::string::npos);
}
#endif

TEST(Gunzip, UnpacksAndSurvivesDamage) {
  // printf 'CONFIG_A=y\nCONFIG_A=y\nCONFIG_B=42\n' | gzip -9n
  const u8 packed[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x73, 0xf6, 0xf7,
                       0x73, 0xf3, 0x74, 0x8f, 0x77, 0xb4, 0xad, 0xe4, 0x72, 0xc6, 0x60, 0x3a, 0xd9,
                       0x9a, 0x18, 0x71, 0x01, 0x00, 0x95, 0xa7, 0x8c, 0x24, 0x22, 0x00, 0x00, 0x00};
  const auto bytes = std::as_bytes(std::span(packed));
  const auto text = base::gunzip(bytes);
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(*text, "CONFIG_A=y\nCONFIG_A=y\nCONFIG_B=42\n");
  for (std::size_t length = 0; length + 9 < bytes.size(); ++length)
    EXPECT_FALSE(base::gunzip(bytes.first(length))) << length;
  std::vector<std::byte> damaged(bytes.begin(), bytes.end());
  for (std::size_t i = 0; i < damaged.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      damaged[i] ^= std::byte(1 << bit);
      static_cast<void>(base::gunzip(damaged, 4096));  // any answer, no fault
      damaged[i] ^= std::byte(1 << bit);
    }
  EXPECT_EQ(base::gunzip(bytes, 5).error().code, Code::limit);
}

TEST(KernelConfig, IsReadWhereTheKernelShowsIt) {
  const auto config = base::kernel_config();
  if (!config && config.error().code == Code::not_found) GTEST_SKIP() << config.error().message;
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_NE(config->find("\nCONFIG_BPF=y\n"), std::string::npos);
}

TEST(AttachWays, ThePageOfHooksNamesEveryOne) {
  const auto page = base::read_text("docs/reference/hooks.md");
  ASSERT_TRUE(page) << "tests run in the root of the source";
  const auto listed = [&](AttachKind kind) {
    EXPECT_NE(page->find("| `" + std::string(name_of(kind)) + "` | "), std::string::npos) << name_of(kind);
  };
#define SKEP_ATTACH_WAY(kind, attacher, target, form) listed(AttachKind::kind);
#define SKEP_NO_ATTACH_WAY(kind, reason) listed(AttachKind::kind);
#include "kernel/attach_ways.def"
}

}  // namespace
}  // namespace skep::kernel
