// skep diff: what changed between the instructions of two programs, loaded or in files.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "arguments.hpp"
#include "base/printable.hpp"
#include "base/target_words.hpp"
#include "compile/compile.hpp"
#include "inspect/diff.hpp"
#include "inspect/dump.hpp"
#include "inspect/objects.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep diff A B                                  changes that make program B of program A\n\n"
    "  A, B: [id] N | name NAME | tag TAG | pinned PATH    a loaded program, on either engine\n"
    "        FILE | FILE:PROGRAM                           a program of a source or object file\n"
    "  -j, --json   one object: counts, and a list of changes     exit: 0 the same, 1 different, 2 trouble\n\n"
    "example:\n  skep diff name hello hello.bpf.c:hello\n";

struct Side {
  std::string title;
  std::vector<std::string> texts;    ///< of instructions, without their numbers
  std::vector<std::string> sources;  ///< the C line of each, or ""
};

/// Instructions as text; the ids of maps, which differ from load to load, become their names.
Side side_of(std::string title, const ProgramCode& code, bool kernel) {
  Side side{std::move(title), {}, {}};
  const auto texts = inspect::instruction_texts(code, kernel);
  auto line = code.lines.begin();
  std::string source;
  for (u32 i = 0; i < texts.size(); ++i) {
    for (; line != code.lines.end() && line->insn <= i; ++line) source = line->text;
    if (texts[i].empty()) continue;  // the second half of a wide instruction
    side.texts.push_back(texts[i]);
    side.sources.push_back(source);
  }
  return side;
}

void name_maps(Side& side, const std::vector<inspect::Found<MapInfo>>& maps) {
  for (auto& text : side.texts) {
    const auto at = text.find("map[id:");
    if (at == std::string::npos) continue;
    const u32 id = static_cast<u32>(std::strtoul(text.c_str() + at + 7, nullptr, 10));
    const auto end = text.find(']', at);
    for (const auto& found : maps)
      if (found.info.id == id && end != std::string::npos) {
        text.replace(at, end - at, "map[" + found.info.name);
        break;
      }
  }
}

Result<Side> loaded_side(Words& words) {
  const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "program"));
  auto world = inspect::World::open();
  const auto found = SKEP_TRY(world.program(handle));
  auto code = SKEP_TRY(found.where->program_code(found.info.id));
  auto side = side_of(handle.text(), code, found.info.host_pid == 0);
  name_maps(side, world.maps());
  return side;
}

Result<Side> file_side(const std::string& word) {
  std::string file = word, name;
  if (const auto colon = word.rfind(':'); colon != std::string::npos)
    file = word.substr(0, colon), name = word.substr(colon + 1);
  const auto spec = SKEP_TRY(compile::load_program(file));
  const ProgramSpec* program = nullptr;
  std::string names;
  for (const auto& one : spec.programs) {
    if (name.empty() || one.name == name) program = program == nullptr ? &one : program;
    names.append(names.empty() ? "" : ", ").append(one.name);
  }
  if (program == nullptr || (name.empty() && spec.programs.size() != 1))
    return fail(Code::not_found, fmt::format("{}: write FILE:PROGRAM; there are: {}", word, names));
  ProgramCode code;
  code.insns = program->insns;
  code.lines = program->lines;
  code.functions = program->functions;
  auto side = side_of(fmt::format("{}:{}", file, program->name), code, false);
  // References hold no number yet; they are named.
  const auto texts = inspect::instruction_texts(code, false);
  std::vector<std::size_t> place(texts.size());
  for (std::size_t i = 0, shown = 0; i < texts.size(); ++i) place[i] = texts[i].empty() ? shown : shown++;
  for (const Reference& reference : program->references) {
    const bool is_map = reference.kind == Reference::Kind::map || reference.kind == Reference::Kind::map_value;
    if (!is_map || reference.map >= spec.maps.size() || reference.insn >= place.size()) continue;
    side.texts[place[reference.insn]] =
        fmt::format("(18) r{} = map[{}]{}", static_cast<unsigned>(program->insns[reference.insn].dst),
                    spec.maps[reference.map].name,
                    reference.kind == Reference::Kind::map_value ? fmt::format("[0]+{}", reference.addend) : "");
  }
  return side;
}

Result<Side> read_side(Words& words) {
  if (words.done()) return fail(Code::invalid_argument, "expected two programs (see `skep diff --help`)");
  const std::string& word = words.words[words.position];
  const bool is_number = base::whole_number(word) && !std::filesystem::exists(word);
  if (inspect::Handle::is_way(word) || is_number) return loaded_side(words);
  return file_side(words.next());
}

void print_text(const Side& a, const Side& b, const std::vector<inspect::Edit>& edits) {
  constexpr std::size_t context = 3;
  using Kind = inspect::Edit::Kind;
  fmt::print("--- {}\n+++ {}\n", a.title, b.title);
  std::string source;
  for (std::size_t i = 0; i < edits.size(); ++i) {
    const std::size_t from = i < context ? 0 : i - context, to = std::min(edits.size(), i + context + 1);
    const auto changed = [](const auto& edit) { return edit.kind != Kind::same; };
    if (std::none_of(edits.begin() + static_cast<long>(from), edits.begin() + static_cast<long>(to), changed)) continue;
    const auto& edit = edits[i];
    const Side& side = edit.kind == Kind::added ? b : a;
    const std::size_t at = edit.kind == Kind::added ? edit.after : edit.before;
    if (side.sources[at] != source && !side.sources[at].empty()) {
      source = side.sources[at];
      const auto begin = source.find_first_not_of(" \t");
      fmt::print("@@ {}\n", base::printable_text(begin == std::string::npos ? source : source.substr(begin)));
    }
    fmt::print("{}{}\n",
               edit.kind == Kind::same      ? ' '
               : edit.kind == Kind::removed ? '-'
                                            : '+',
               base::printable_text(side.texts[at]));
  }
}

void print_json(const Side& a, const Side& b, const std::vector<inspect::Edit>& edits, bool pretty) {
  using Kind = inspect::Edit::Kind;
  base::JsonWriter json(pretty);
  json.begin_object();
  json.member("before", a.title);
  json.member("after", b.title);
  json.member("insns_before", u64{a.texts.size()});
  json.member("insns_after", u64{b.texts.size()});
  const auto count = [&](Kind kind) {
    return static_cast<u64>(std::count_if(edits.begin(), edits.end(), [&](const auto& e) { return e.kind == kind; }));
  };
  json.member("removed", count(Kind::removed));
  json.member("added", count(Kind::added));
  json.key("changes");
  json.begin_array();
  for (const auto& edit : edits) {
    if (edit.kind == Kind::same) continue;
    const bool added = edit.kind == Kind::added;
    json.begin_object();
    json.member("change", added ? "added" : "removed");
    json.member("position", u64{added ? edit.after : edit.before});
    json.member("disasm", added ? b.texts[edit.after] : a.texts[edit.before]);
    json.member("src", added ? b.sources[edit.after] : a.sources[edit.before]);
    json.end_object();
  }
  json.end_array();
  json.end_object();
  print(json);
}

Result<int> diff(Words& words) {
  words.take("prog");
  const Side a = SKEP_TRY(read_side(words));
  const Side b = SKEP_TRY(read_side(words));
  SKEP_TRY(words.end());
  const auto edits = inspect::edits_between(a.texts, b.texts);
  const bool same =
      std::all_of(edits.begin(), edits.end(), [](const auto& e) { return e.kind == inspect::Edit::Kind::same; });
  if (words.json)
    print_json(a, b, edits, words.pretty);
  else if (!same)
    print_text(a, b, edits);
  return same ? 0 : 1;
}

}  // namespace

int diff_verb(const Arguments& arguments) {
  Words words(arguments);
  if (words.help || words.done()) {
    fmt::print("{}", usage);
    return words.help ? 0 : 2;
  }
  const auto status = diff(words);
  return status ? *status : complain(status.error().message, 2, words.form());
}

}  // namespace skep::tools
