// Opening a folder's objects and asking both verifiers.
#include "folder.hpp"

#include <elf.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "backend/selection.hpp"
#include "corpus.hpp"
#include "kernel/close.hpp"

namespace skep::corpus {
namespace {

constexpr u16 machine_bpf = 247;

bool is_bpf_object(const std::filesystem::path& path) {
  Elf64_Ehdr header{};
  std::ifstream in(path, std::ios::binary);
  in.read(reinterpret_cast<char*>(&header), sizeof header);
  return in.gcount() == sizeof header && std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
         header.e_machine == machine_bpf && header.e_type == ET_REL;
}

std::set<std::string> objects_in(const std::vector<std::string>& places) {
  std::set<std::string> found;
  for (const std::string& place : places) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(place, ignored)) {
      found.insert(place);
      continue;
    }
    for (auto entry = std::filesystem::recursive_directory_iterator(
             place, std::filesystem::directory_options::skip_permission_denied, ignored);
         entry != std::filesystem::recursive_directory_iterator(); entry.increment(ignored))
      if (entry->is_regular_file(ignored) && is_bpf_object(entry->path())) found.insert(entry->path().string());
  }
  return found;
}

/// Sizes that the loading program sets (bpf_map__set_max_entries()) do not matter to a verifier; a map must have one.
void give_sizes(ObjectSpec& object) {
  constexpr u32 page = 4096, arena_pages = 4;
  for (MapSpec& map : object.maps) {
    if (map.max_entries != 0) continue;
    switch (map.type) {
      case MapType::sk_storage:
      case MapType::task_storage:
      case MapType::inode_storage:
      case MapType::cgrp_storage:
      case MapType::cgroup_storage:
      case MapType::percpu_cgroup_storage:
      case MapType::struct_ops:
      case MapType::perf_event_array:  // a slot for each CPU, which the loader knows
        break;
      case MapType::ringbuf:
      case MapType::user_ringbuf:
        map.max_entries = page;
        break;
      case MapType::arena:
        map.max_entries = arena_pages;
        break;
      default:
        map.max_entries = 1;
    }
  }
}

/// "test_expect_failure" and "test_expect_success", which the kernel's own tests tag their functions with. What they
/// expect of an unprivileged process is another tag.
std::optional<bool> expectation(const btf::Btf* types, std::string_view function) {
  if (types == nullptr) return std::nullopt;
  for (u32 id = 1; id < types->type_count(); id++) {
    const auto tag = types->type(id);
    if (tag.kind != btf::Kind::decl_tag || types->type(tag.type_id()).name != function) continue;
    if (tag.name.find("unpriv") != tag.name.npos) continue;
    if (tag.name.find("test_expect_failure") != tag.name.npos) return false;
    if (tag.name.find("test_expect_success") != tag.name.npos) return true;
  }
  return std::nullopt;
}

class Folder {
 public:
  explicit Folder(std::string only) : only_(std::move(only)) {
    rules_.log = !only_.empty();
    if (auto allowed = kernel::may_load_programs(); !allowed) result.kernel_silent = allowed.error().message;
  }

  void add(const std::string& path) {
    result.objects++;
    const std::string name = std::filesystem::path(path).filename();
    auto spec = ObjectSpec::from_file(path);
    if (!spec) return leave_out(name, "does not open: " + spec.error().message);
    ObjectSpec object = backend::without_pins(*std::move(spec));
    give_sizes(object);
    backend::drop_optional_maps(object);
    if (auto known = kernel::resolve_kconfig(object); !known) return leave_out(name, known.error().message);
    std::vector<ProgramSpec> closed;
    btf::CoreBudget budget;
    for (const ProgramSpec& program : object.programs) {
      if (!only_.empty() && program.name != only_ && name + ":" + program.name != only_) continue;
      auto ready = kernel::close_program(program, object, types_, budget);
      if (ready)
        closed.push_back(*std::move(ready));
      else
        leave_out(name + ":" + program.name, "CO-RE: " + ready.error().message);
    }
    object.programs = std::move(closed);
    judge(name, object);
  }

  FolderResult result;

 private:
  void leave_out(const std::string& name, const std::string& why) { result.left_out.push_back(name + " | " + why); }

  void judge(const std::string& name, const ObjectSpec& object) {
    std::optional<kernel::Judge> kernel;
    if (!result.kernel_silent) {
      if (auto opened = kernel::Judge::open(object, types_)) kernel.emplace(*std::move(opened));
    }
    for (const ProgramSpec& program : object.programs) {
      Judged row;
      row.name = name + ":" + program.name;
      row.expected = expectation(object.btf.get(), program.name);
      if (auto outcome = verify::verify(program, object, rules_)) {
        const verify::Report& report = outcome->report;
        row.accepted = report.accepted;
        row.log = report.log;
        row.insns = report.insns_processed;
        row.time_ns = report.time_ns;
        row.state_bytes = report.state_bytes;
        if (const auto& no = report.rejection) row.refusal = fmt::format("{} @{}: {}", no->id, no->insn, no->reason);
      } else {
        row.refusal = "not decided: " + outcome.error().message;
      }
      if (kernel)
        row.kernel = kernel->judge(program);
      else
        row.kernel.reason = result.kernel_silent.value_or("this kernel takes no programs");
      result.programs.push_back(std::move(row));
    }
  }

  std::string only_;
  verify::Options rules_ = kernel_rules();
  kernel::KernelTypes types_{std::filesystem::path{}};
};

}  // namespace

FolderResult judge_folder(const std::vector<std::string>& places, const std::string& only) {
  Folder folder(only);
  for (const std::string& path : objects_in(places)) folder.add(path);
  return std::move(folder.result);
}

}  // namespace skep::corpus
