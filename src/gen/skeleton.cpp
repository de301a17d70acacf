// The generated class, part by part: types, data sections, maps, programs, the three visits that skeleton.hpp asks for,
// and the object's bytes as a string literal (which compilers read a hundred times faster than a list of numbers).
#include "gen/skeleton.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "gen/cpp_types.hpp"

namespace skep::gen {
namespace {

/// A member of the class or of its structs `maps` and `programs`.
struct Part {
  std::string path;  ///< "maps.counts"
};

/// A string as the inside of a C++ literal.
std::string literal(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= ' ' && byte < 127 && c != '"' && c != '\\' && c != '?')
      out += c;
    else
      out += fmt::format("\\{:03o}", byte);
  }
  return out + '"';
}

class SkeletonWriter {
 public:
  SkeletonWriter(std::span<const std::byte> object, const ObjectSpec& spec, const SkeletonOptions& options)
      : object_(object),
        spec_(spec),
        name_(options.name),
        source_(options.source),
        part_(options.part),
        types_(spec.btf ? *spec.btf : *nothing(), name_,
               {"open",         "load",      "attach",      "detach",       "spec",     "maps",       "programs",
                "Maps",         "Programs",  "object_name", "object_bytes", "each_map", "each_data",  "each_variable",
                "each_program", "variables", "Variables",   "of",           "Skeleton", "Subskeleton"}) {}

  std::string write() {
    for (const auto& map : spec_.maps) {
      if (map.is_global_data && part_)
        add_variables(map);
      else if (map.is_global_data)
        add_data(map);
      else
        add_map(map);
    }
    for (const auto& program : spec_.programs) {
      const auto member = free_name(program_names_, program.name);
      programs_ += fmt::format("    skep::skeleton::ProgramHandle {}{{{}}};  ///< {}\n", member, literal(program.name),
                               comment(program.section));
      program_parts_.push_back({"programs." + member});
    }
    return part_ ? head() + part_body() : head() + body() + bytes();
  }

 private:
  static const std::shared_ptr<const btf::Btf>& nothing();

  static std::string free_name(std::set<std::string>& taken, std::string_view wanted) {
    const auto base = cpp_identifier(wanted);
    auto out = base;
    for (u32 i = 2; !taken.insert(out).second; i++) out = fmt::format("{}_{}", base, i);
    return out;
  }
  /// Text of the file that goes behind "//": one line, no continuation.
  static std::string comment(std::string_view text) {
    std::string out(text.substr(0, 200));
    for (char& c : out)
      if (static_cast<unsigned char>(c) < ' ' || c == '\\' || static_cast<unsigned char>(c) > 126 || c == '?') c = '_';
    return out;
  }

  void add_data(const MapSpec& map) {
    if (!spec_.btf || map.btf_value_type_id == 0) return;  // texts without names: nobody can ask for them
    const auto datasec = spec_.btf->type(map.btf_value_type_id);
    if (datasec.kind != btf::Kind::datasec) return;
    std::string_view section = datasec.name;
    if (section.starts_with('.')) section.remove_prefix(1);
    const auto member = types_.unique(section);
    std::string type = member;
    if (type[0] >= 'a' && type[0] <= 'z') type[0] = static_cast<char>(type[0] - 'a' + 'A');
    if (type == member) type += "Section";
    type = types_.unique(type);
    if (!types_.section(datasec, type)) return;
    data_ += fmt::format("  skep::skeleton::{}<{}> {}{{{}}};  ///< section {}\n", map.frozen ? "ReadOnlyData" : "Data",
                         type, member, literal(map.name), comment(datasec.name));
    data_parts_.push_back({member});
  }

  void add_variables(const MapSpec& map) {
    if (!spec_.btf || map.btf_value_type_id == 0) return;
    const auto datasec = spec_.btf->type(map.btf_value_type_id);
    if (datasec.kind != btf::Kind::datasec) return;
    for (const auto& entry : spec_.btf->section_vars(datasec)) {
      const auto variable = spec_.btf->type(entry.type_id);
      if (variable.kind != btf::Kind::var || spec_.btf->linkage(variable) == 0) continue;  // static: nobody else's
      const auto type = types_.value_type(variable.type_id(), entry.size, std::string(variable.name) + "_type");
      const auto member = free_name(variable_names_, variable.name);
      variables_ += fmt::format("    skep::skeleton::Variable<{}> {}{{{}}};  ///< section {}\n", type, member,
                                literal(variable.name), comment(datasec.name));
      variable_parts_.push_back({"variables." + member});
    }
  }

  void add_map(const MapSpec& map) {
    const auto member = free_name(map_names_, map.name);
    maps_ += fmt::format("    skep::skeleton::{} {}{{{}}};  ///< {}\n", map_class(map), member, literal(map.name),
                         name_of(map.type));
    map_parts_.push_back({"maps." + member});
  }

  std::string map_class(const MapSpec& map) {
    const auto value = [&] { return types_.value_type(map.btf_value_type_id, map.value_size, map.name + "_value"); };
    const auto key = [&] { return types_.value_type(map.btf_key_type_id, map.key_size, map.name + "_key"); };
    switch (map.type) {
      case MapType::hash:
      case MapType::array:
      case MapType::lru_hash:
      case MapType::lpm_trie:
        if (map.key_size == 0 || map.value_size == 0) return "AnyMap";
        return fmt::format("TypedMap<{}, {}>", key(), value());
      case MapType::percpu_hash:
      case MapType::percpu_array:
      case MapType::lru_percpu_hash:
        if (map.key_size == 0 || map.value_size == 0) return "AnyMap";
        return fmt::format("PerCpuMap<{}, {}>", key(), value());
      case MapType::ringbuf:
      case MapType::perf_event_array: {
        const auto id = map.btf_value_type_id;
        const u64 size = spec_.btf && id != 0 ? spec_.btf->size_of(id).value_or(0) : 0;
        if (size == 0 || !btf::is_composite(spec_.btf->type(spec_.btf->resolve(id)).kind)) return "AnyMap";
        return fmt::format("RingMap<{}>", types_.value_type(id, size, map.name + "_record"));
      }
      default:
        return "AnyMap";
    }
  }

  std::string head() const {
    return fmt::format(
        "// Generated from {} by `skep gen {}`; do not edit.\n#pragma once\n#include <array>\n#include "
        "<cstddef>\n#include <skep/skeleton.hpp>\n\n",
        comment(source_), part_ ? "subskeleton" : "skeleton");
  }
  static std::string visit(std::string_view name, const std::vector<Part>& parts) {
    auto out = fmt::format("  template <class Visit>\n  void {}([[maybe_unused]] Visit&& visit) {{\n", name);
    for (const auto& part : parts) out += fmt::format("    visit({});\n", part.path);
    return out + "  }\n";
  }
  std::string body() const {
    auto out = fmt::format("class {0} : public skep::skeleton::Skeleton<{0}> {{\n public:\n", name_);
    out += types_.text();
    out += data_;
    out += fmt::format("  struct Maps {{\n{}  }} maps;\n  struct Programs {{\n{}  }} programs;\n\n", maps_, programs_);
    out += "  // For Skeleton: where the parts are.\n";
    out += fmt::format("  static constexpr std::string_view object_name = {};\n", literal(name_));
    out += "  static std::span<const std::byte> object_bytes();\n";
    return out + visit("each_map", map_parts_) + visit("each_data", data_parts_) +
           visit("each_program", program_parts_) + "};\n\n";
  }
  std::string part_body() const {
    auto out = fmt::format("class {0} : public skep::skeleton::Subskeleton<{0}> {{\n public:\n", name_);
    out += types_.text();
    out += fmt::format(
        "  struct Maps {{\n{}  }} maps;\n  struct Variables {{\n{}  }} variables;\n  struct Programs {{\n{}  }} "
        "programs;\n\n",
        maps_, variables_, programs_);
    out += "  // For Subskeleton: where the parts are.\n";
    return out + visit("each_map", map_parts_) + visit("each_variable", variable_parts_) +
           visit("each_program", program_parts_) + "};\n";
  }
  std::string bytes() const {
    constexpr std::size_t line_bytes = 32;
    auto out = fmt::format(
        "inline std::span<const std::byte> {}::object_bytes() {{\n  alignas(8) static constexpr char bytes[] =\n",
        name_);
    for (std::size_t at = 0; at < object_.size(); at += line_bytes) {
      const auto part = object_.subspan(at, std::min(line_bytes, object_.size() - at));
      out += "      " + literal({reinterpret_cast<const char*>(part.data()), part.size()}) + "\n";
    }
    return out + "      ;\n  return std::as_bytes(std::span(bytes, sizeof bytes - 1));\n}\n";
  }

  std::span<const std::byte> object_;
  const ObjectSpec& spec_;
  std::string name_, source_;
  bool part_;
  CppTypes types_;
  std::string data_, maps_, variables_, programs_;
  std::set<std::string> map_names_{"Maps"}, variable_names_{"Variables"}, program_names_{"Programs"};
  std::vector<Part> map_parts_, data_parts_, variable_parts_, program_parts_;
};

/// For objects without types.
const std::shared_ptr<const btf::Btf>& SkeletonWriter::nothing() {
  static const auto empty = [] {
    // An empty .BTF section: a header of 24 bytes and the empty string.
    const u32 words[] = {0x0001eb9f, 24, 0, 0, 0, 1};
    const auto head = std::as_bytes(std::span(words));
    std::vector<std::byte> bytes(head.begin(), head.end());
    bytes.push_back(std::byte{0});
    return *btf::Btf::parse(std::move(bytes));
  }();
  return empty;
}

}  // namespace

std::string class_name(std::string_view file) {
  if (const auto slash = file.find_last_of('/'); slash != std::string_view::npos) file.remove_prefix(slash + 1);
  return cpp_identifier(file.substr(0, file.find('.', 1)));
}

Result<std::string> skeleton(std::span<const std::byte> object, const ObjectSpec& spec,
                             const SkeletonOptions& options) {
  if (options.name.empty() || cpp_identifier(options.name) != options.name)
    return fail(Code::invalid_argument, fmt::format("name '{}': expected a C++ identifier", options.name));
  for (const auto& program : spec.programs)
    if (program.attach.kind == AttachKind::none)
      return fail(Code::unsupported,
                  fmt::format("program {}: section '{}' names no hook; a skeleton needs SEC(\"...\") as libbpf has it",
                              program.name, program.section));
  return SkeletonWriter(object, spec, options).write();
}

}  // namespace skep::gen
