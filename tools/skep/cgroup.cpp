// skep cgroup: programs attached to control groups.
#include <fmt/format.h>

#include "arguments.hpp"
#include "backend/names.hpp"
#include "base/printable.hpp"
#include "inspect/objects.hpp"
#include "kernel/cgroups.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep cgroup show|list CGROUP [effective]       programs of one group; effective: its ancestors' too\n"
    "       skep cgroup tree [ROOT] [effective]            every group that has programs\n"
    "       skep cgroup attach CGROUP TYPE PROG [multi|override]\n"
    "       skep cgroup detach CGROUP TYPE PROG\n\n"
    "  CGROUP: a directory of the unified hierarchy   TYPE: cgroup_inet_ingress, cgroup_device, ... (`ingress` alone "
    "too)\n"
    "  PROG:   [id] N | name NAME | tag TAG | pinned PATH\n"
    "  -j, --json   JSON with bpftool's keys     -p, --pretty   the same, indented\n\n"
    "example:\n  skep cgroup tree\n  skep cgroup attach /sys/fs/cgroup/unified/app cgroup_inet_egress name count "
    "multi\n";

std::string_view flags_text(u32 flags) {
  return flags == kernel::cgroup_multi ? "multi" : flags == kernel::cgroup_override ? "override" : "";
}

/// Names of programs by id, and of the types that tracing programs are attached for.
class Programs {
 public:
  Programs() {
    for (auto& found : world_.programs())
      if (found.info.host_pid == 0) infos_.push_back(std::move(found.info));
  }
  std::string name(u32 id) const {
    for (const auto& info : infos_)
      if (info.id == id) return info.name;
    return {};
  }

 private:
  inspect::World world_ = inspect::World::open();
  std::vector<ProgramInfo> infos_;
};

void write(base::JsonWriter& json, const kernel::CgroupProgram& program, const Programs& programs, bool effective) {
  json.begin_object();
  json.member("id", program.program_id);
  json.member("attach_type", backend::attach_type_name(program.attach_type));
  if (!effective) json.member("attach_flags", flags_text(program.attach_flags));
  json.member("name", programs.name(program.program_id));
  json.member("attach_btf_name", program.attach_btf_name);
  json.member("attach_btf_obj_id", program.attach_btf_object_id);
  json.member("attach_btf_id", program.attach_btf_id);
  json.end_object();
}

void print_row(const kernel::CgroupProgram& program, const Programs& programs, bool effective,
               std::string_view indent) {
  fmt::print("{}{:<8} {:<24} {}{}\n", indent, program.program_id, backend::attach_type_name(program.attach_type),
             effective ? "" : fmt::format("{:<12} ", flags_text(program.attach_flags)),
             programs.name(program.program_id));
}

void print_heading(bool effective, std::string_view indent) {
  fmt::print("{}{:<8} {:<24} {}{}\n", indent, "ID", "AttachType",
             effective ? "" : fmt::format("{:<12} ", "AttachFlags"), "Name");
}

Result<int> show(Words& words) {
  const std::string path = words.next();
  if (path.empty()) return fail(Code::invalid_argument, "expected a control group's directory");
  const bool effective = words.take("effective");
  SKEP_TRY(words.end());
  const auto found = SKEP_TRY(kernel::cgroup_programs(path, effective));
  const Programs programs;
  base::JsonWriter json(words.pretty);
  json.begin_array();
  if (!words.json && !found.empty()) print_heading(effective, "");
  for (const auto& program : found)
    words.json ? write(json, program, programs, effective) : print_row(program, programs, effective, "");
  json.end_array();
  if (words.json) print(json);
  return 0;
}

Result<int> tree(Words& words) {
  std::string root;
  bool effective = words.take("effective");
  if (!words.done()) root = words.next();
  effective = words.take("effective") || effective;
  SKEP_TRY(words.end());
  const auto groups = SKEP_TRY(kernel::cgroup_tree(root, effective));
  const Programs programs;
  base::JsonWriter json(words.pretty);
  json.begin_array();
  if (!words.json) {
    fmt::print("CgroupPath\n");
    print_heading(effective, "");
  }
  for (const auto& group : groups) {
    if (!words.json) {
      fmt::print("{}\n", base::printable(group.cgroup.native()));
      for (const auto& program : group.programs) print_row(program, programs, effective, "    ");
      continue;
    }
    json.begin_object();
    json.member("cgroup", group.cgroup.native());
    json.key("programs");
    json.begin_array();
    for (const auto& program : group.programs) write(json, program, programs, effective);
    json.end_array();
    json.end_object();
  }
  json.end_array();
  if (words.json) print(json);
  return 0;
}

Result<AttachType> type_of(const std::string& name) {
  std::string names;
  for (const AttachType type : kernel::cgroup_attach_types()) {
    const std::string full(backend::attach_type_name(type));
    // "ingress", "sock_create", "connect4": bpftool's older words.
    std::string_view old = full;
    for (const std::string_view prefix : {"cgroup_inet_", "cgroup_"})
      if (old.starts_with(prefix)) {
        old.remove_prefix(prefix.size());
        break;
      }
    if (name == full || name == old) return type;
    names += (names.empty() ? "" : ", ") + full;
  }
  return fail(Code::invalid_argument,
              fmt::format("'{}' is no attach type of control groups; there are: {}", name, names));
}

Result<int> change(Words& words, bool attach) {
  const std::string path = words.next(), type_name = words.next();
  if (type_name.empty()) return fail(Code::invalid_argument, "expected a control group's directory and an attach type");
  const AttachType type = SKEP_TRY(type_of(type_name));
  const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "program"));
  auto world = inspect::World::open();
  const auto found = SKEP_TRY(world.program(handle));
  if (found.info.host_pid != 0)
    return fail(Code::unsupported,
                fmt::format("program {} lives in process {}; control groups take programs of the kernel", found.info.id,
                            found.info.host_pid));
  u32 flags = 0;
  if (attach && words.take("multi"))
    flags = kernel::cgroup_multi;
  else if (attach && words.take("override"))
    flags = kernel::cgroup_override;
  SKEP_TRY(words.end());
  SKEP_TRY(attach ? kernel::cgroup_attach(path, type, found.info.id, flags)
                  : kernel::cgroup_detach(path, type, found.info.id));
  if (words.json) fmt::print("null\n");
  return 0;
}

Result<int> act(Words& words) {
  if (words.take("show") || words.take("list")) return show(words);
  if (words.take("tree")) return tree(words);
  if (words.take("attach")) return change(words, true);
  if (words.take("detach")) return change(words, false);
  return fail(
      Code::invalid_argument,
      fmt::format("cgroup '{}': expected show, list, tree, attach or detach (see `skep cgroup --help`)", words.next()));
}

}  // namespace

int cgroup_verb(const Arguments& arguments) { return run_words(arguments, usage, act); }

}  // namespace skep::tools
