// What the verbs of the command line share: their table, their output conventions, their errors.
//
// A verb is one function in one file; main.cpp finds it in the table. Output goes to stdout, everything
// said about it to stderr as `skep: ...`. Who asked for JSON reads one stream: there an error is {"error": "..."} on
// stdout, as bpftool's. Exit status: 0 done, 1 the answer is no or something failed, 2 wrong usage or undecidable.
#pragma once
#include <optional>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "options.hpp"

namespace skep::tools {

/// How a verb answers: in words, or in JSON, on one line or indented.
enum class Form : u8 { text, json, pretty };

struct Verb {
  std::string_view name;
  std::string_view summary;  ///< one line for `skep --help`
  int (*run)(const Arguments& arguments);
  bool has_json = true;  ///< takes --json
};

/// Every verb, in the order `skep --help` lists them.
std::span<const Verb> verbs();

/// What the words ask for, before anybody has understood them: JSON where -j or --json is among them.
Form form_of(const Arguments& arguments);

/// Prints `skep: message` to stderr, or the JSON for it to stdout, and returns the exit status for it.
int complain(const Error& error, Form form = Form::text);
int complain(std::string_view message, int status = 2, Form form = Form::text);
/// One line to stderr, unless `quiet`.
void note(std::string_view message, bool quiet = false);
/// What an engine's notes tell after a run that they did not tell at its beginning: hits and reads that are missing.
void note_news(std::string_view before, std::string_view after, bool quiet = false);

/// Our own verifier's explanation, under the kernel's rules, of why a program of `spec` is refused; where ours accepts
/// it, the kernel's log told in the same way; "" when neither says anything.
std::string explain_for_kernel(const ObjectSpec& spec, std::string_view log);

/// What a person names where a verb takes programs.
struct ProgramFile {
  std::string file;
  std::string type;  ///< the program type of bare instructions
  std::vector<std::string> cflags;
  bool raw = false;  ///< the file holds bare 8-byte instructions
};
/// C source, ELF object, classic filter or bare instructions as a spec.
Result<ObjectSpec> read_program_file(const ProgramFile& source);

int run_verb(const Arguments& arguments);
int python_verb(const Arguments& arguments);
int compile_verb(const Arguments& arguments);
int verify_verb(const Arguments& arguments);
int test_verb(const Arguments& arguments);
int bench_verb(const Arguments& arguments);
int asm_verb(const Arguments& arguments);
int disasm_verb(const Arguments& arguments);
int prog_verb(const Arguments& arguments);
int map_verb(const Arguments& arguments);
int link_verb(const Arguments& arguments);
int btf_verb(const Arguments& arguments);
int diff_verb(const Arguments& arguments);
int cgroup_verb(const Arguments& arguments);
int perf_verb(const Arguments& arguments);
int net_verb(const Arguments& arguments);
int iter_verb(const Arguments& arguments);
int struct_ops_verb(const Arguments& arguments);
int token_verb(const Arguments& arguments);
int feature_verb(const Arguments& arguments);
int tools_verb(const Arguments& arguments);
int gen_verb(const Arguments& arguments);
int batch_verb(const Arguments& arguments);

}  // namespace skep::tools
