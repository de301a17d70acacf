// The table of verbs, and what all of them share.
#include "verb.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>

#include "base/json_writer.hpp"
#include "base/printable.hpp"

namespace skep::tools {
namespace {

constexpr Verb table[] = {
    {"run", "load a program, attach it, run a command, print what it says", run_verb, false},
    {"python", "run a Python driver of BCC's interface, or of skep's own, on either engine", python_verb, false},
    {"compile", "C (BCC dialect or libbpf style) to an object", compile_verb, false},
    {"verify", "prove a program safe, or explain why not", verify_verb},
    {"test", "run a program on given inputs in every engine, and compare", test_verb},
    {"bench", "measure a program in one engine or all of them", bench_verb},
    {"disasm", "print an object's instructions as text", disasm_verb, false},
    {"asm", "assemble text into raw instructions", asm_verb, false},
    {"prog", "programs: show, dump, visual, run, top, why, profile, load, pin, attach", prog_verb},
    {"map", "maps: show, dump, lookup, update, delete, peek, push, pop, create, event_pipe", map_verb},
    {"link", "links: show, pin, detach", link_verb},
    {"btf", "types: show, dump as C or raw", btf_verb},
    {"diff", "what changed between two programs", diff_verb},
    {"cgroup", "programs on control groups: show, tree, attach, detach", cgroup_verb},
    {"perf", "programs on perf events: show", perf_verb},
    {"net", "programs on network devices: show, attach, detach", net_verb},
    {"iter", "iterators of the kernel: pin", iter_verb},
    {"struct_ops", "structures of kernel functions: show, dump, register, unregister", struct_ops_verb},
    {"token", "mounted bpffs that lend rights to a user namespace: show", token_verb},
    {"feature", "what this kernel, or another version, can do: probe", feature_verb},
    {"tools", "the built-in tools, such as opensnoop: what each one shows", tools_verb},
    {"gen", "files from objects: skeleton, subskeleton, object, min_core_btf", gen_verb},
    {"batch", "commands of a file, in order", batch_verb},
};

}  // namespace

std::span<const Verb> verbs() { return table; }

Form form_of(const Arguments& arguments) {
  const auto is_json = [](const std::string& word) { return word == "-j" || word == "--json"; };
  return std::ranges::any_of(arguments, is_json) ? Form::json : Form::text;
}

int complain(std::string_view message, int status, Form form) {
  if (form == Form::text) {
    fmt::print(stderr, "skep: {}\n", base::printable_text(std::string(message)));
    return status;
  }
  base::JsonWriter json(form == Form::pretty);
  json.begin_object();
  json.member("error", message);
  json.end_object();
  fmt::print("{}\n", json.take());
  return status;
}

int complain(const Error& error, Form form) {
  const bool usage = error.code == Code::invalid_argument;
  return complain(error.message, usage ? 2 : 1, form);
}

void note(std::string_view message, bool quiet) {
  if (!quiet && !message.empty()) fmt::print(stderr, "skep: {}\n", base::printable_text(std::string(message)));
}

void note_news(std::string_view before, std::string_view after, bool quiet) {
  const auto differ = std::mismatch(before.begin(), before.end(), after.begin(), after.end());
  before.remove_prefix(static_cast<std::size_t>(differ.first - before.begin()));
  after.remove_prefix(static_cast<std::size_t>(differ.second - after.begin()));
  while (!before.empty() && !after.empty() && before.back() == after.back()) {
    before.remove_suffix(1);
    after.remove_suffix(1);
  }
  if (const auto start = after.find_first_not_of("; \n"); start != std::string_view::npos)
    note(after.substr(start, after.find_last_not_of("; \n") + 1 - start), quiet);
}

}  // namespace skep::tools
