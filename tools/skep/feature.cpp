// skep feature: what this kernel can do, found by trying; or what a version of Linux can, from the table of releases.
#include <fmt/format.h>

#include "arguments.hpp"
#include "catalog/helpers.hpp"
#include "catalog/versions.hpp"
#include "kernel/probe.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep feature probe [kernel]                    this kernel, by trying: needs CAP_BPF or root\n"
    "       skep feature probe --kernel 5.15               that version, from the table of releases: needs nothing\n"
    "       skep feature list_builtins prog_types|map_types|helpers|attach_types\n\n"
    "  -j, --json   JSON with bpftool's keys     -p, --pretty   the same, indented\n\n"
    "example:\n  skep feature probe --kernel 5.15 --json\n";

struct Row {
  std::string key, text;
  bool value = false;
};

void section(base::JsonWriter& json, const Words& words, std::string_view key, std::string_view title,
             const std::vector<Row>& rows) {
  if (!words.json) {
    fmt::print("{}\n", title);
    for (const Row& row : rows) fmt::print("{} is {}available\n", row.text, row.value ? "" : "NOT ");
    fmt::print("\n");
    return;
  }
  json.key(key);
  json.begin_object();
  for (const Row& row : rows) json.member(row.key, row.value);
  json.end_object();
}

void helpers_section(base::JsonWriter& json, const Words& words,
                     const std::vector<std::pair<std::string, std::vector<std::string>>>& by_type) {
  if (!words.json) fmt::print("Scanning eBPF helper functions...\n");
  json.key("helpers");
  json.begin_object();
  for (const auto& [type, names] : by_type) {
    if (!words.json) {
      fmt::print("eBPF helpers supported for program type {}:\n", type);
      for (const auto& name : names) fmt::print("\t- {}\n", name);
      continue;
    }
    json.key(type + "_available_helpers");
    json.begin_array();
    for (const auto& name : names) json.string(name);
    json.end_array();
  }
  json.end_object();
  if (!words.json) fmt::print("\n");
}

std::vector<Row> program_rows(auto available) {
  std::vector<Row> rows;
#define SKEP_PROGRAM_TYPE(name, number, printed, since) \
  rows.push_back({"have_" printed "_prog_type", "eBPF program_type " printed, available(ProgramType::name)});
#include <skep/tables/program_types.def>
#undef SKEP_PROGRAM_TYPE
  return rows;
}
std::vector<Row> map_rows(auto available) {
  std::vector<Row> rows;
#define SKEP_MAP_TYPE(name, number, printed, since) \
  rows.push_back({"have_" printed "_map_type", "eBPF map_type " printed, available(MapType::name)});
#include <skep/tables/map_types.def>
#undef SKEP_MAP_TYPE
  return rows;
}

Result<int> probe_table(const Words& words, const std::string& version_text) {
  const catalog::Version version = catalog::version_of(version_text);
  if (version == 0)
    return fail(Code::invalid_argument, fmt::format("--kernel '{}': expected a version, such as 5.15", version_text));
  const auto has = [&](auto what) { return catalog::since(what) <= version; };
  base::JsonWriter json(words.pretty);
  json.begin_object();
  json.member("kernel", catalog::text_of(version));
  section(json, words, "program_types", fmt::format("eBPF program types of Linux {}...", catalog::text_of(version)),
          program_rows(has));
  section(json, words, "map_types", "eBPF map types...", map_rows(has));
  // The table knows when a helper came, not which program types may call it.
  std::vector<std::string> names;
  for (const auto& row : catalog::helpers())
    if (catalog::helper_since(static_cast<u32>(row.id)) <= version) names.push_back("bpf_" + std::string(row.name));
  helpers_section(json, words, {{"any", names}});
  std::vector<Row> features;
#define SKEP_FEATURE_SINCE(name, since, text) features.push_back({"have_" #name, text, has(catalog::Feature::name)});
#include "catalog/versions.def"
  section(json, words, "misc", "Other features...", features);
  json.end_object();
  if (words.json) print(json);
  return 0;
}

void settings_section(base::JsonWriter& json, const Words& words) {
  if (!words.json) fmt::print("Scanning system configuration...\n");
  json.key("system_config");
  json.begin_object();
  for (const auto& setting : kernel::probe_settings()) {
    if (!words.json) {
      fmt::print("{} is {}\n", setting.name, setting.value ? *setting.value : "not set");
      continue;
    }
    json.key(setting.name);
    if (!setting.value)
      json.null();
    else if (setting.is_number)
      json.raw(*setting.value);
    else
      json.string(*setting.value);
  }
  json.end_object();
  if (!words.json) fmt::print("\n");
}

Result<int> probe_kernel(const Words& words) {
  SKEP_TRY(kernel::probe_access());
  base::JsonWriter json(words.pretty);
  json.begin_object();
  settings_section(json, words);
  section(json, words, "syscall_config", "Scanning system call availability...",
          {{"have_bpf_syscall", "bpf() syscall", true}});
  const auto programs = program_rows([](ProgramType type) { return kernel::probe(type); });
  section(json, words, "program_types", "Scanning eBPF program types...", programs);
  section(json, words, "map_types", "Scanning eBPF map types...",
          map_rows([](MapType type) { return kernel::probe(type); }));
  std::vector<std::pair<std::string, std::vector<std::string>>> helpers;
#define SKEP_PROGRAM_TYPE(name, number, printed, since) \
  helpers.emplace_back(printed, kernel::probe_helpers(ProgramType::name));
#include <skep/tables/program_types.def>
#undef SKEP_PROGRAM_TYPE
  helpers_section(json, words, helpers);
  const auto misc = kernel::probe_instructions();
  section(json, words, "misc", "Scanning miscellaneous eBPF features...",
          {{"have_large_insn_limit", "Large program size limit", misc.large_programs},
           {"have_bounded_loops", "Bounded loop support", misc.bounded_loops},
           {"have_v2_isa_extension", "ISA extension v2", misc.isa_v2},
           {"have_v3_isa_extension", "ISA extension v3", misc.isa_v3},
           {"have_v4_isa_extension", "ISA extension v4", misc.isa_v4}});
  json.end_object();
  if (words.json) print(json);
  return 0;
}

Result<int> list_builtins(Words& words) {
  const std::string what = words.next();
  SKEP_TRY(words.end());
  std::vector<std::string> names;
  if (what == "prog_types") {
#define SKEP_PROGRAM_TYPE(name, number, printed, since) names.push_back(printed);
#include <skep/tables/program_types.def>
#undef SKEP_PROGRAM_TYPE
  } else if (what == "map_types") {
#define SKEP_MAP_TYPE(name, number, printed, since) names.push_back(printed);
#include <skep/tables/map_types.def>
#undef SKEP_MAP_TYPE
  } else if (what == "helpers") {
    for (const auto& row : catalog::helpers()) names.push_back("bpf_" + std::string(row.name));
  } else if (what == "attach_types") {
#define SKEP_ATTACH_TYPE(name, number) names.push_back(#name);
#include <skep/tables/attach_types.def>
#undef SKEP_ATTACH_TYPE
  } else {
    return fail(Code::invalid_argument,
                fmt::format("list_builtins '{}': expected prog_types, map_types, helpers or attach_types", what));
  }
  base::JsonWriter json(words.pretty);
  json.begin_array();
  for (const auto& name : names) words.json ? json.string(name) : fmt::print("{}\n", name);
  json.end_array();
  if (words.json) print(json);
  return 0;
}

Result<int> act(Words& words) {
  if (words.take("list_builtins")) return list_builtins(words);
  if (!words.take("probe"))
    return fail(Code::invalid_argument,
                fmt::format("feature '{}': expected probe or list_builtins (see `skep feature --help`)", words.next()));
  if (words.take("--kernel")) {
    const std::string version = words.next();
    SKEP_TRY(words.end());
    return probe_table(words, version);
  }
  words.take("kernel");
  SKEP_TRY(words.end());
  return probe_kernel(words);
}

}  // namespace

int feature_verb(const Arguments& arguments) { return run_words(arguments, usage, act); }

}  // namespace skep::tools
