// skep feature: what this kernel can do, found by trying; or what a version of Linux can, from the table of releases.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>

#include "arguments.hpp"
#include "catalog/helpers.hpp"
#include "catalog/versions.hpp"
#include "kernel/probe.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep feature probe [kernel|dev NAME] [full] [unprivileged] [macros [prefix PREFIX]]\n"
    "                                                      this kernel, by trying: needs CAP_BPF or root\n"
    "       skep feature probe --kernel 5.15               that version, from the table of releases: needs nothing\n"
    "       skep feature list_builtins prog_types|map_types|attach_types|link_types|helpers\n\n"
    "  dev NAME       what the device's own hardware runs\n"
    "  full           also the helpers whose mention writes to the kernel's log\n"
    "  unprivileged   what a user without capabilities may do here\n"
    "  macros         #define lines for C, each name behind PREFIX\n"
    "  -j, --json   JSON with bpftool's keys     -p, --pretty   the same, indented\n\n"
    "examples:\n  skep feature probe --kernel 5.15 --json\n  skep feature probe macros prefix MY_ > features.h\n";

struct Row {
  std::string key, text;
  bool value = false;
};

/// The helpers of one program type: what it may call.
struct TypeHelpers {
  std::string type;
  std::vector<std::string> names;  ///< "bpf_map_lookup_elem"
};

/// The answers as text, as JSON, or as lines for the C preprocessor.
class Output {
 public:
  Output(const Words& words, bool macros, std::string prefix)
      : form_(words.json ? Form::json
              : macros   ? Form::macros
                         : Form::text),
        prefix_(std::move(prefix)),
        json_(words.pretty) {
    json_.begin_object();
  }
  /// Ends the output.
  void finish() {
    json_.end_object();
    if (form_ == Form::json) print(json_);
  }

  /// A fact of the whole answer, in JSON only.
  void member(std::string_view key, std::string_view value) { json_.member(key, value); }
  void section(std::string_view key, std::string_view title, std::string_view macro_title,
               const std::vector<Row>& rows);
  /// `all`: the names that were asked for, which macros tell of each type.
  void helpers(const std::vector<TypeHelpers>& by_type, const std::vector<std::string>& all);
  void settings(const std::vector<kernel::Setting>& settings);

 private:
  enum class Form { text, json, macros };

  void helper_macros(const std::vector<TypeHelpers>& by_type, const std::vector<std::string>& all) const;

  Form form_;
  std::string prefix_;
  base::JsonWriter json_;
};

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

void Output::section(std::string_view key, std::string_view title, std::string_view macro_title,
                     const std::vector<Row>& rows) {
  if (form_ == Form::macros) {
    fmt::print("/*** {} ***/\n", macro_title);
    for (const Row& row : rows) fmt::print("#define {}{}{}\n", prefix_, row.value ? "" : "NO_", upper(row.key));
    fmt::print("\n");
    return;
  }
  if (form_ == Form::text) {
    fmt::print("{}\n", title);
    for (const Row& row : rows) fmt::print("{} is {}available\n", row.text, row.value ? "" : "NOT ");
    fmt::print("\n");
    return;
  }
  json_.key(key);
  json_.begin_object();
  for (const Row& row : rows) json_.member(row.key, row.value);
  json_.end_object();
}

void Output::helper_macros(const std::vector<TypeHelpers>& by_type, const std::vector<std::string>& all) const {
  fmt::print(
      "/*** eBPF helper functions ***/\n"
      "/* {0}HAVE_PROG_TYPE_HELPER(xdp, bpf_redirect) is 1 where programs of that type may call that helper, else 0. "
      "*/\n"
      "#define {0}HAVE_PROG_TYPE_HELPER(prog_type, helper) {0}BPF__PROG_TYPE_ ## prog_type ## __HELPER_ ## helper\n",
      prefix_);
  for (const auto& [type, names] : by_type)
    for (const auto& name : all)
      fmt::print("#define {}BPF__PROG_TYPE_{}__HELPER_{} {}\n", prefix_, type, name,
                 std::find(names.begin(), names.end(), name) != names.end() ? 1 : 0);
  fmt::print("\n");
}

void Output::helpers(const std::vector<TypeHelpers>& by_type, const std::vector<std::string>& all) {
  if (form_ == Form::macros) return helper_macros(by_type, all);
  if (form_ == Form::text) fmt::print("Scanning eBPF helper functions...\n");
  json_.key("helpers");
  json_.begin_object();
  for (const auto& [type, names] : by_type) {
    if (form_ == Form::text) {
      fmt::print("eBPF helpers supported for program type {}:\n", type);
      for (const auto& name : names) fmt::print("\t- {}\n", name);
      continue;
    }
    json_.key(type + "_available_helpers");
    json_.begin_array();
    for (const auto& name : names) json_.string(name);
    json_.end_array();
  }
  json_.end_object();
  if (form_ == Form::text) fmt::print("\n");
}

void Output::settings(const std::vector<kernel::Setting>& settings) {
  if (form_ == Form::macros) {
    fmt::print("/*** Misc kernel config items ***/\n");
    for (const auto& setting : settings)  // the one that programs compute with
      if (setting.name == "CONFIG_HZ" && setting.value)
        fmt::print("#define {}{} {}\n", prefix_, setting.name, *setting.value);
    fmt::print("\n");
    return;
  }
  if (form_ == Form::text) fmt::print("Scanning system configuration...\n");
  json_.key("system_config");
  json_.begin_object();
  for (const auto& setting : settings) {
    if (form_ == Form::text) {
      fmt::print("{} is {}\n", setting.name, setting.value ? *setting.value : "not set");
      continue;
    }
    json_.key(setting.name);
    if (!setting.value)
      json_.null();
    else if (setting.is_number)
      json_.raw(*setting.value);
    else
      json_.string(*setting.value);
  }
  json_.end_object();
  if (form_ == Form::text) fmt::print("\n");
}

/// `available(type)`: true, false, or nothing where it is not asked.
std::vector<Row> program_rows(auto available) {
  std::vector<Row> rows;
#define SKEP_PROGRAM_TYPE(name, number, printed, since)                \
  if (const std::optional<bool> answer = available(ProgramType::name)) \
    rows.push_back({"have_" printed "_prog_type", "eBPF program_type " printed, *answer});
#include <skep/tables/program_types.def>
#undef SKEP_PROGRAM_TYPE
  return rows;
}
std::vector<Row> map_rows(auto available) {
  std::vector<Row> rows;
#define SKEP_MAP_TYPE(name, number, printed, since)                \
  if (const std::optional<bool> answer = available(MapType::name)) \
    rows.push_back({"have_" printed "_map_type", "eBPF map_type " printed, *answer});
#include <skep/tables/map_types.def>
#undef SKEP_MAP_TYPE
  return rows;
}

std::vector<std::string> helper_names(auto wanted) {
  std::vector<std::string> names;
  for (const auto& row : catalog::helpers())
    if (wanted(row)) names.push_back("bpf_" + std::string(row.name));
  return names;
}

Result<int> probe_table(const Words& words, const std::string& version_text) {
  const catalog::Version version = catalog::version_of(version_text);
  if (version == 0)
    return fail(Code::invalid_argument, fmt::format("--kernel '{}': expected a version, such as 5.15", version_text));
  const auto has = [&](auto what) { return catalog::since(what) <= version; };
  Output out(words, false, {});
  const std::string name = catalog::text_of(version);
  out.member("kernel", name);
  out.section("program_types", fmt::format("eBPF program types of Linux {}...", name), {}, program_rows(has));
  out.section("map_types", "eBPF map types...", {}, map_rows(has));
  // The table knows when a helper came, not which program types may call it.
  const auto names =
      helper_names([&](const auto& row) { return catalog::helper_since(static_cast<u32>(row.id)) <= version; });
  out.helpers({{"any", names}}, names);
  std::vector<Row> features;
#define SKEP_FEATURE_SINCE(name, since, text) features.push_back({"have_" #name, text, has(catalog::Feature::name)});
#include "catalog/versions.def"
  out.section("misc", "Other features...", {}, features);
  out.finish();
  return 0;
}

/// What a line after `probe` asks for.
struct ProbeLine {
  std::string device, prefix;
  bool full = false, unprivileged = false, macros = false;
};

Result<ProbeLine> parse_probe(Words& words) {
  ProbeLine line;
  while (!words.done()) {
    if (words.take("kernel")) continue;
    if (words.take("dev")) {
      line.device = words.next();
      if (line.device.empty()) return fail(Code::invalid_argument, "dev: expected the name of a network device");
    } else if (words.take("full")) {
      line.full = true;
    } else if (words.take("unprivileged")) {
      line.unprivileged = true;
    } else if (words.take("macros")) {
      line.macros = true;
      if (words.take("prefix")) line.prefix = words.next();
    } else {
      SKEP_TRY(words.end());
    }
  }
  if (line.macros && words.json)
    return fail(Code::invalid_argument, "macros are lines for the C preprocessor: --json cannot be asked with them");
  return line;
}

/// Devices are asked for the few types that hardware takes.
bool is_for_devices(ProgramType type) { return type == ProgramType::sched_cls || type == ProgramType::xdp; }
bool is_for_devices(MapType type) { return type == MapType::hash || type == MapType::array; }

Result<int> probe_kernel(const Words& words, const ProbeLine& line) {
  if (line.unprivileged) SKEP_TRY(kernel::drop_bpf_capabilities());
  SKEP_TRY(kernel::probe_access());
  const u32 device = line.device.empty() ? 0 : SKEP_TRY(kernel::probe_device(line.device));
  Output out(words, line.macros, line.prefix);
  if (device == 0) out.settings(kernel::probe_settings());
  out.section("syscall_config", "Scanning system call availability...", "System call availability",
              {{"have_bpf_syscall", "bpf() syscall", true}});
  const auto available = [&](auto type) -> std::optional<bool> {
    if (device != 0 && !is_for_devices(type)) return std::nullopt;
    return kernel::probe(type, device);
  };
  out.section("program_types", "Scanning eBPF program types...", "eBPF program types", program_rows(available));
  out.section("map_types", "Scanning eBPF map types...", "eBPF map types", map_rows(available));
  std::vector<TypeHelpers> helpers;
#define SKEP_PROGRAM_TYPE(name, number, printed, since) \
  if (device == 0 || is_for_devices(ProgramType::name)) \
    helpers.push_back({printed, kernel::probe_helpers(ProgramType::name, line.full, device)});
#include <skep/tables/program_types.def>
#undef SKEP_PROGRAM_TYPE
  out.helpers(helpers, helper_names([&](const auto& row) { return line.full || !kernel::is_noisy(row.name); }));
  const auto misc = kernel::probe_instructions(device);
  out.section("misc", "Scanning miscellaneous eBPF features...", "eBPF misc features",
              {{"have_large_insn_limit", "Large program size limit", misc.large_programs},
               {"have_bounded_loops", "Bounded loop support", misc.bounded_loops},
               {"have_v2_isa_extension", "ISA extension v2", misc.isa_v2},
               {"have_v3_isa_extension", "ISA extension v3", misc.isa_v3},
               {"have_v4_isa_extension", "ISA extension v4", misc.isa_v4}});
  out.finish();
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
    names = helper_names([](const auto&) { return true; });
  } else if (what == "link_types") {
#define SKEP_LINK_TYPE(name, number) names.push_back(#name);
#include <skep/tables/link_types.def>
#undef SKEP_LINK_TYPE
  } else if (what == "attach_types") {
#define SKEP_ATTACH_TYPE(name, number) names.push_back(#name);
#include <skep/tables/attach_types.def>
#undef SKEP_ATTACH_TYPE
  } else {
    return fail(
        Code::invalid_argument,
        fmt::format("list_builtins '{}': expected prog_types, map_types, attach_types, link_types or helpers", what));
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
  return probe_kernel(words, SKEP_TRY(parse_probe(words)));
}

}  // namespace

int feature_verb(const Arguments& arguments) { return run_words(arguments, usage, act); }

}  // namespace skep::tools
