// skep prog: programs of the kernel and of every user-engine process of this user.
#include <fmt/format.h>

#include "arguments.hpp"
#include "inspect/dump.hpp"
#include "show.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep prog show|list [PROG]                     facts of all programs, or of one\n"
    "       skep prog dump xlated PROG [opcodes] [linum]   its instructions as they run, with the C lines\n\n"
    "  PROG: id N | name NAME | tag TAG | pinned PATH      on either engine\n"
    "  -j, --json   JSON with bpftool's keys     -p, --pretty   the same, indented\n\n"
    "example:\n  skep prog show name hello --pretty\n";

Result<int> dump(Words& words) {
  const std::string form = words.next();
  if (form == "jited")
    return fail(Code::unsupported,
                "dump jited: the user engine interprets in this version, and the kernel's machine code needs a "
                "disassembler; `dump xlated` shows the instructions");
  if (form != "xlated") return fail(Code::invalid_argument, fmt::format("dump '{}': expected xlated", form));
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
