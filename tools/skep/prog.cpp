// skep prog: programs of the kernel and of every user-engine process of this user.
#include <fmt/format.h>

#include "arguments.hpp"
#include "disassembler.hpp"
#include "inspect/dump.hpp"
#include "show.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep prog show|list [PROG]                     facts of all programs, or of one\n"
    "       skep prog dump xlated PROG [opcodes] [linum]   its instructions as they run, with the C lines\n"
    "       skep prog dump jited PROG [opcodes] [linum]    its machine code; C lines in the kernel\n\n"
    "  PROG: id N | name NAME | tag TAG | pinned PATH      on either engine\n"
    "  -j, --json   JSON with bpftool's keys     -p, --pretty   the same, indented\n\n"
    "example:\n  skep prog show name hello --pretty\n  skep prog dump jited name hello opcodes\n";

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

Result<int> dump(Words& words) {
  const std::string form = words.next();
  if (form != "xlated" && form != "jited")
    return fail(Code::invalid_argument, fmt::format("dump '{}': expected xlated or jited", form));
  const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "program"));
  inspect::XlatedOptions options;
  while (!words.done()) {
    if (words.take("opcodes")) {
      options.opcodes = true;
    } else if (words.take("linum")) {
      options.line_numbers = true;
    } else {
      SKEP_TRY(words.end());
    }
  }
  auto world = inspect::World::open();
  auto found = SKEP_TRY(inspect::select_one(world.programs(), handle, "program"));
  const auto code = SKEP_TRY(found.where->program_code(found.info.id));
  std::shared_ptr<const btf::Btf> types;
  if (found.info.btf_id != 0)
    if (auto read = found.where->btf(found.info.btf_id)) types = *read;  // without them: no prototypes
  const bool kernel = found.info.host_pid == 0;
  if (form == "jited") return dump_jited(words, found.info, code, types.get(), options);
  if (words.json) {
    base::JsonWriter json(words.pretty);
    inspect::write_xlated(json, code, types.get(), kernel, options);
    print(json);
  } else {
    fmt::print("{}", inspect::xlated_text(code, types.get(), kernel, options));
  }
  return 0;
}

}  // namespace

int prog_verb(const Arguments& arguments) {
  Words words(arguments);
  if (words.help || words.done()) {
    fmt::print("{}", usage);
    return words.help ? 0 : 2;
  }
  Result<int> status = 0;
  if (words.take("show") || words.take("list")) {
    status = show<ProgramInfo>(words, "program", &inspect::World::programs);
  } else if (words.take("dump")) {
    status = dump(words);
  } else {
    status = fail(Code::invalid_argument,
                  fmt::format("prog '{}': expected show, list or dump (see `skep prog --help`)", words.next()));
  }
  return status ? *status : complain(status.error());
}

}  // namespace skep::tools
