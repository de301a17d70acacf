// Production objects: every program of every object of an archive, with the kernel's verdict from the table.
#include <elf.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "corpus.hpp"
#include "spec/resolve.hpp"

namespace skep::corpus {
namespace {

struct Verdict {
  bool accepts = false;
  std::string message;
  u64 insns = 0, time_us = 0;
  u32 type = 0, attach_type = 0;
};

/// Rows of the verdict table for one corpus, by "object:program".
std::map<std::string, Verdict> verdicts_of(const std::string& path, const std::string& corpus_name) {
  std::map<std::string, Verdict> result;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    std::vector<std::string> cells;
    std::istringstream row(line);
    for (std::string cell; std::getline(row, cell, '\t');) cells.push_back(cell);
    if (cells.size() < 13 || cells[0] != corpus_name || (cells[8] != "accept" && cells[8] != "reject")) continue;
    Verdict v;
    v.accepts = cells[8] == "accept";
    v.type = static_cast<u32>(std::strtoul(cells[5].c_str(), nullptr, 10));
    v.attach_type = static_cast<u32>(std::strtoul(cells[6].c_str(), nullptr, 10));
    v.insns = std::strtoull(cells[10].c_str(), nullptr, 10);
    v.time_us = std::strtoull(cells[11].c_str(), nullptr, 10);
    v.message = cells.size() > 13 ? cells[13] : "";
    result[cells[1] + ":" + cells[4]] = v;
  }
  return result;
}

/// A folder that disappears with the process.
struct Unpacked {
  std::filesystem::path path;
  explicit Unpacked(const std::string& archive) {
    std::string name = (std::filesystem::temp_directory_path() / "skep-corpus-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) return;
    path = name;
    if (std::system(fmt::format("tar -xJf '{}' -C '{}'", archive, name).c_str()) != 0) path.clear();
  }
  ~Unpacked() {
    std::error_code ignored;
    if (!path.empty()) std::filesystem::remove_all(path, ignored);
  }
};

std::vector<std::byte> bytes_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// Some objects keep programs as local symbols, which loaders of their time found by section: makes those global.
void globalise(std::vector<std::byte>& elf, const std::set<std::string>& names) {
  if (elf.size() < sizeof(Elf64_Ehdr)) return;
  Elf64_Ehdr header;
  std::memcpy(&header, elf.data(), sizeof header);
  auto section = [&](u64 index) {
    Elf64_Shdr s{};
    u64 at = header.e_shoff + index * sizeof s;
    if (at + sizeof s <= elf.size()) std::memcpy(&s, elf.data() + at, sizeof s);
    return s;
  };
  for (u32 i = 0; i < header.e_shnum; i++) {
    Elf64_Shdr table = section(i);
    if (table.sh_type != SHT_SYMTAB || table.sh_offset + table.sh_size > elf.size()) continue;
    Elf64_Shdr strings = section(table.sh_link);
    for (u64 at = table.sh_offset; at + sizeof(Elf64_Sym) <= table.sh_offset + table.sh_size; at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      std::memcpy(&symbol, elf.data() + at, sizeof symbol);
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || ELF64_ST_BIND(symbol.st_info) != STB_LOCAL) continue;
      u64 name = strings.sh_offset + symbol.st_name;
      if (name >= elf.size() || !names.contains(reinterpret_cast<const char*>(elf.data() + name))) continue;
      symbol.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
      std::memcpy(elf.data() + at, &symbol, sizeof symbol);
    }
  }
}

AttachKind attach_kind_of(u32 type, u32 attach_type) {
#define SKEP_ATTACH_POINT(name, section, program_type, attach, target)                                            \
  if (static_cast<u32>(ProgramType::program_type) == type && static_cast<u32>(AttachType::attach) == attach_type) \
    return AttachKind::name;
#include <skep/tables/attach_points.def>
#undef SKEP_ATTACH_POINT
  return AttachKind::none;
}

}  // namespace

std::vector<Case> object_cases(const std::string& archive, const std::string& verdict_file,
                               const std::string& corpus_name) {
  std::vector<Case> cases;
  auto verdicts = verdicts_of(verdict_file, corpus_name);
  Unpacked unpacked(archive);
  if (unpacked.path.empty()) return cases;
  std::shared_ptr<const btf::Btf> kernel;
  if (auto loaded = btf::Btf::from_file("/sys/kernel/btf/vmlinux")) kernel = *loaded;
  // What the kernel that gave the verdicts had, and what its test suite sets itself.
  auto kconfig = [](std::string_view name) -> std::optional<std::string> {
    static const std::map<std::string_view, std::string> values = {
        {"LINUX_KERNEL_VERSION", "398848"}, {"CONFIG_HZ", "250"},
        {"CONFIG_TRISTATE", "m"},           {"CONFIG_CHAR", "\"x\""},
        {"CONFIG_USHORT", "51966"},         {"CONFIG_INT", "-17"},
        {"CONFIG_ULONG", "3735943886"},     {"CONFIG_STR", "\"abracadabra\""},
    };
    if (auto known = values.find(name); known != values.end()) return known->second;
    return name == "CONFIG_MISSING" ? std::nullopt : std::optional<std::string>("y");
  };
  for (const auto& entry : std::filesystem::recursive_directory_iterator(unpacked.path)) {
    if (entry.path().extension() != ".o") continue;
    std::string relative = entry.path().lexically_relative(unpacked.path).string();
    std::set<std::string> names;
    for (auto& [key, verdict] : verdicts)
      if (auto colon = key.rfind(':'); relative.ends_with("/" + key.substr(0, colon)))
        names.insert(key.substr(colon + 1));
    if (names.empty()) continue;
    auto bytes = bytes_of(entry.path());
    globalise(bytes, names);
    auto spec = ObjectSpec::from_bytes(bytes, entry.path().stem().string());
    for (auto& [key, verdict] : verdicts) {
      auto colon = key.rfind(':');
      std::string object = key.substr(0, colon), program = key.substr(colon + 1);
      if (!relative.ends_with("/" + object) && relative != object) continue;
      Case c;
      c.name = key;
      c.kernel_accepts = verdict.accepts;
      c.kernel_message = verdict.message;
      c.kernel_insns = verdict.insns;
      c.kernel_time_us = verdict.time_us;
      if (!spec) {
        c.name += " | " + spec.error().message;
        cases.push_back(std::move(c));
        continue;
      }
      const ProgramSpec* found = spec->program(program);
      for (const ProgramSpec& p : spec->programs)  // old loaders named programs by their section
        if (found == nullptr && p.section == program) found = &p;
      if (found == nullptr) {
        c.name += " | no such program in the object";
        cases.push_back(std::move(c));
        continue;
      }
      c.object = *spec;
      if (c.object.license.empty()) c.object.license = "GPL";
      c.program = *found;
      c.program.type = static_cast<ProgramType>(verdict.type);
      if (verdict.attach_type != 0) c.program.attach.kind = attach_kind_of(verdict.type, verdict.attach_type);
      if (kernel != nullptr && !c.program.relocations.empty() && c.object.btf != nullptr) {
        std::shared_ptr<const btf::Btf> targets[] = {kernel};
        btf::CoreBudget budget;
        if (auto ok = spec::apply_core(c.program, *c.object.btf, targets, budget); !ok)
          c.name += " | " + ok.error().message;
      }
      if (auto ok = spec::resolve_kconfig(c.object, kconfig); !ok) c.name += " | " + ok.error().message;
      for (const ProgramSpec& p : c.object.programs)
        if (p.name == found->name) c.program.references = p.references;
      cases.push_back(std::move(c));
    }
  }
  return cases;
}

}  // namespace skep::corpus
