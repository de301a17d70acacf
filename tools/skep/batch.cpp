// skep batch: many commands of one file, in one process, as bpftool's batch mode.
//
// A line is a command without the leading `skep`, its words parted by blanks; "..." and '...' keep blanks. `#` begins a
// comment, a backslash at the end of a line goes on with the next. The first command that fails ends the batch.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <utility>

#include "arguments.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep batch file FILE|-                         the commands of a file, or of standard input, in order\n\n"
    "  A line is a command without `skep`; # begins a comment; the first that fails ends the batch.\n"
    "  -j, --json   an array of {\"command\": [...], \"output\": ...}     -p, --pretty   outputs are indented\n\n"
    "example:\n  printf 'prog show\\nmap show\\n' | skep batch file -\n";

/// The words of a line. Errors: invalid_argument (a quote that does not end).
Result<Arguments> split(std::string_view line) {
  Arguments words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (const char c : line) {
    if (quote != 0 && c == quote) {
      quote = 0;
    } else if (quote != 0) {
      word += c;
    } else if (c == '"' || c == '\'') {
      quote = c, in_word = true;
    } else if (c == '#' && !in_word) {
      break;
    } else if (c == ' ' || c == '\t' || c == '\r') {
      if (in_word) words.push_back(std::exchange(word, {}));
      in_word = false;
    } else {
      word += c, in_word = true;
    }
  }
  if (quote != 0) return fail(Code::invalid_argument, fmt::format("the quote {} does not end", quote));
  if (in_word) words.push_back(std::move(word));
  return words;
}

int run_command(const Arguments& words, Form form) {
  for (const Verb& verb : verbs()) {
    if (verb.name != words.front() || verb.name == "batch") continue;
    if (form != Form::text && !verb.has_json)
      return complain(fmt::format("verb '{}' has no answer in JSON", verb.name), 2, form);
    return verb.run({words.begin() + 1, words.end()});
  }
  return complain(fmt::format("no verb '{}' for a batch", words.front()), 2, form);
}

/// Runs one command, in JSON between what makes it a member of the array.
int run_line(const Words& options, Arguments words, bool first) {
  if (!options.json) return run_command(words, Form::text);
  base::JsonWriter json;
  json.begin_array();
  for (const auto& word : words) json.string(word);
  json.end_array();
  fmt::print("{}{{\"command\":{},\"output\":", first ? "" : ",", json.take());
  words.push_back(options.pretty ? "--pretty" : "--json");
  const int status = run_command(words, options.form());
  fmt::print("}}\n");
  return status;
}

Result<int> run(const Words& options, std::istream& in, std::string_view name) {
  constexpr std::size_t longest_command = 65536;
  std::string command, line;
  u64 number = 0, done = 0;
  int status = 0;
  if (options.json) fmt::print("[");
  while (status == 0 && std::getline(in, line)) {
    ++number;
    const bool goes_on = line.ends_with('\\');
    if (goes_on) line.back() = ' ';
    command += line;
    if (command.size() > longest_command)
      return fail(Code::limit, fmt::format("{}:{}: a command of more than {} bytes", name, number, longest_command));
    if (goes_on) continue;
    auto words = SKEP_TRY_AT(fmt::format("{}:{}", name, number), split(std::exchange(command, {})));
    if (words.empty()) continue;
    status = run_line(options, std::move(words), done == 0);
    std::fflush(stdout);
    if (status == 0)
      ++done;
    else
      note(fmt::format("{}:{}: this command failed, after {} that did not", name, number, done), options.json);
  }
  if (options.json)
    fmt::print("]\n");
  else if (status == 0)
    note(fmt::format("processed {} commands", done));
  return status;
}

Result<int> act(Words& words) {
  if (!words.take("file"))
    return fail(Code::invalid_argument,
                fmt::format("batch '{}': expected file (see `skep batch --help`)", words.next()));
  const std::string path = words.next();
  if (path.empty()) return fail(Code::invalid_argument, "file: expected a path, or - for standard input");
  SKEP_TRY(words.end());
  if (path == "-") return run(words, std::cin, "-");
  std::ifstream file(path);
  if (!file) return tl::unexpected(Error{Code::io, fmt::format("{}: {}", path, strerrordesc_np(errno)), errno});
  return run(words, file, path);
}

}  // namespace

int batch_verb(const Arguments& arguments) { return run_words(arguments, usage, act); }

}  // namespace skep::tools
