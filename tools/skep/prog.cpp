// skep prog: programs of the kernel and of every user-engine process of this user.
#include <fmt/format.h>
#include <signal.h>

#include <charconv>
#include <fstream>

#include "disassembler.hpp"
#include "inspect/dump.hpp"
#include "inspect/graph.hpp"
#include "prog_words.hpp"
#include "show.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep prog show|list [PROG]                     facts of all programs, or of one\n"
    "       skep prog dump xlated PROG [opcodes|linum|visual|file PATH]   its instructions as they run, with the C "
    "lines\n"
    "       skep prog dump jited PROG [opcodes] [linum]    its machine code; C lines in the kernel\n"
    "       skep prog visual PROG [dot|svg]                its control flow, for Graphviz or a browser\n"
    "       skep prog run PROG data_in FILE [ctx_in FILE] [data_out FILE] [ctx_out FILE] [repeat N]\n"
    "       skep prog top [interval SECONDS] [count N]     live: events/s, ns a run, share of a CPU; -j: a line a "
    "sample\n"
    "       skep prog why PROG                             who loaded it, and what keeps it\n"
    "       skep prog profile PROG [duration SECONDS] [METRIC...]   metrics: run_cnt, run_time_ns, recursion_misses; "
    "in\n"
    "                                                      kernels with fentry: cycles, instructions, l1d_loads, "
    "llc_misses,\n"
    "                                                      itlb_misses, dtlb_misses, cpu-clock, page-faults, ...\n"
    "       skep prog profile --lines FILE [program NAME] [input FILE] [context FILE] [repeat N]   counts per C line\n"
    "       skep prog tracelog                             trace_printk lines of the kernel, as they come\n"
    "       skep prog tracelog stdout|stderr PROG          kernel 6.17: what the program wrote to its own stream\n"
    "     in the kernel:\n"
    "       skep prog load FILE PATH [type SECTION] [map idx N|name NAME MAP] [pinmaps DIRECTORY] [kernel_btf FILE] "
    "[autoattach]\n"
    "                                                      the first program, pinned; `map`: one that is there\n"
    "       skep prog loadall FILE DIRECTORY [...]         every program\n"
    "       skep prog pin PROG PATH\n"
    "       skep prog attach|detach PROG sk_msg_verdict|sk_skb_verdict|sk_skb_stream_verdict|sk_skb_stream_parser MAP\n"
    "       skep prog attach|detach PROG flow_dissector\n\n"
    "  PROG: [id] N | name NAME | tag TAG | pinned PATH      on either engine\n"
    "  -j, --json   JSON with bpftool's keys     -p, --pretty   the same, indented\n\n"
    "example:\n  skep prog show name hello --pretty\n  skep prog visual name hello svg > hello.svg\n"
    "  skep prog top interval 2\n";

/// Without a disassembler: what `opcodes` asks for can still be shown.
inspect::MachineInsn bytes_only(std::span<const std::byte> code, u64) {
  return {static_cast<u32>(std::min<std::size_t>(code.size(), 16)), "(bytes)", {}};
}

Result<int> dump_jited(const Words& words, const ProgramInfo& info, const ProgramCode& code, const btf::Btf* types,
                       const inspect::XlatedOptions& options) {
  if (code.jited.empty())
    return fail(
        Code::not_found,
        fmt::format("program {} has no machine code: {}", info.id,
                    info.host_pid != 0 ? "it is interpreted"
                    : info.jited       ? "the kernel does not show it to this process, which needs CAP_SYS_ADMIN, with "
                                         "sysctl net.core.bpf_jit_harden and kernel.kptr_restrict below 2"
                                       : "the kernel interprets it (sysctl net.core.bpf_jit_enable)"));
  auto disassembler = Disassembler::open(code.machine);
  if (!disassembler && !options.opcodes) return tl::unexpected<Error>(disassembler.error());
  if (!disassembler) note(disassembler.error().message, false);
  inspect::JitedSource source{info.name, info.host_pid == 0, types, bytes_only};
  if (disassembler)
    source.disassemble = [&](std::span<const std::byte> bytes, u64 pc) { return (**disassembler)(bytes, pc); };
  if (words.json) {
    base::JsonWriter json(words.pretty);
    inspect::write_jited(json, code, source, options);
    print(json);
  } else {
    fmt::print("{}", inspect::jited_text(code, source, options));
  }
  return 0;
}

Result<int> write_file(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) return tl::unexpected(Error{Code::io, fmt::format("{}: {}", path, strerrordesc_np(errno)), errno});
  return 0;
}

struct DumpLine {
  inspect::XlatedOptions options;
  bool visual = false;
  std::string file;
};

Result<DumpLine> parse_dump(Words& words, bool xlated) {
  DumpLine line;
  while (!words.done()) {
    if (words.take("opcodes")) {
      line.options.opcodes = true;
    } else if (words.take("linum")) {
      line.options.line_numbers = true;
    } else if (xlated && words.take("visual")) {
      line.visual = true;
    } else if (words.take("file")) {
      line.file = words.next();
      if (line.file.empty()) return fail(Code::invalid_argument, "file: expected a path");
    } else {
      SKEP_TRY(words.end());
    }
  }
  return line;
}

Result<int> dump(Words& words) {
  const std::string form = words.next();
  if (form != "xlated" && form != "jited")
    return fail(Code::invalid_argument, fmt::format("dump '{}': expected xlated or jited", form));
  const auto program = SKEP_TRY(find_program(words));
  const DumpLine line = SKEP_TRY(parse_dump(words, form == "xlated"));
  const auto code = SKEP_TRY(program.where->program_code(program.info.id));
  if (!line.file.empty())
    return write_file(line.file,
                      form == "jited" ? std::span<const std::byte>(code.jited) : std::as_bytes(std::span(code.insns)));
  std::shared_ptr<const btf::Btf> types;
  if (program.info.btf_id != 0) {
    if (auto read = program.where->btf(program.info.btf_id))
      types = *read;
    else
      note("prototypes and C lines are not shown: " + read.error().message);
  }
  const bool kernel = program.in_kernel();
  if (form == "jited") return dump_jited(words, program.info, code, types.get(), line.options);
  if (line.visual) {
    fmt::print("{}", inspect::graph_as_dot(code, kernel));
  } else if (words.json) {
    base::JsonWriter json(words.pretty);
    inspect::write_xlated(json, code, types.get(), kernel, line.options);
    print(json);
  } else {
    fmt::print("{}", inspect::xlated_text(code, types.get(), kernel, line.options));
  }
  return 0;
}

Result<int> act(Words& words) {
  if (words.take("show") || words.take("list")) return show<ProgramInfo>(words, "program", &inspect::World::programs);
  if (words.take("dump")) return dump(words);
  if (words.take("visual")) return prog_visual(words);
  if (words.take("run")) return prog_run(words);
  if (words.take("top")) return prog_top(words);
  if (words.take("why")) return prog_why(words);
  if (words.take("profile")) return prog_profile(words);
  if (words.take("tracelog")) return prog_tracelog(words);
  if (words.take("load")) return prog_load(words, false);
  if (words.take("loadall")) return prog_load(words, true);
  if (words.take("pin")) return prog_pin(words);
  if (words.take("attach")) return prog_attach(words, true);
  if (words.take("detach")) return prog_attach(words, false);
  return fail(
      Code::invalid_argument,
      fmt::format("prog '{}': expected show, list, dump, visual, run, top, why, profile, tracelog, load, loadall, "
                  "pin, attach or detach (see `skep prog --help`)",
                  words.next()));
}

volatile bool stopped = false;

}  // namespace

Result<NamedProgram> find_program(Words& words) {
  const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "program"));
  auto world = inspect::World::open();
  auto found = SKEP_TRY(world.program(handle));
  return NamedProgram{std::move(world), std::move(found.info), found.where};
}

std::string describe(const ProgramInfo& info) {
  return info.name.empty() ? fmt::format("id {}", info.id) : fmt::format("{} (id {})", info.name, info.id);
}

Result<void> need_kernel(const NamedProgram& program, std::string_view what) {
  if (program.in_kernel()) return {};
  return fail(Code::unsupported,
              fmt::format("{}: program {} lives in the user-engine process {} ({}), which attaches its programs itself",
                          what, describe(program.info), program.info.host_pid, program.info.host_name));
}

Result<u64> count_of(const std::string& text, std::string_view what) {
  u64 value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value == 0)
    return fail(Code::invalid_argument, fmt::format("{}: '{}' is not a whole number above 0", what, text));
  return value;
}

const volatile bool& stop_on_signals() {
  struct sigaction action{};
  action.sa_handler = [](int) { stopped = true; };
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(number, &action, nullptr);
  return stopped;
}

Result<int> prog_visual(Words& words) {
  const auto program = SKEP_TRY(find_program(words));
  const std::string form = words.done() ? "dot" : words.next();
  SKEP_TRY(words.end());
  if (form != "dot" && form != "svg")
    return fail(Code::invalid_argument, fmt::format("'{}': expected dot or svg", form));
  const auto code = SKEP_TRY(program.where->program_code(program.info.id));
  fmt::print("{}", form == "svg" ? inspect::graph_as_svg(code, program.in_kernel())
                                 : inspect::graph_as_dot(code, program.in_kernel()));
  return 0;
}

int prog_verb(const Arguments& arguments) { return run_words(arguments, usage, act); }

}  // namespace skep::tools
