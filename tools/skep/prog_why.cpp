// skep prog why: who loaded a program, and everything that keeps it: processes, links, pins, program arrays, control
// groups, perf events. When it lists nothing, the program is about to go.
#include <fmt/format.h>
#include <pwd.h>

#include <algorithm>
#include <chrono>

#include "backend/names.hpp"
#include "base/mapped_file.hpp"
#include "base/printable.hpp"
#include "inspect/program_slots.hpp"
#include "inspect/show.hpp"
#include "kernel/cgroups.hpp"
#include "kernel/holders.hpp"
#include "kernel/net_programs.hpp"
#include "prog_words.hpp"

namespace skep::tools {

namespace {

using base::printable;

struct Slot {
  u32 map_id = 0;
  std::string map_name;
  u32 index = 0;
};

/// All that is known of why a program is there.
struct Reasons {
  std::vector<kernel::Holder> processes;  ///< descriptors of the program, its links
  std::vector<LinkInfo> links;
  std::vector<Slot> slots;
  std::vector<std::pair<std::string, kernel::CgroupProgram>> cgroups;
  std::vector<kernel::PerfUser> perf;
  std::vector<kernel::NetProgram> net;
};

/// Slots of program arrays that hold the program.
std::vector<Slot> slots_of(NamedProgram& program) {
  std::vector<Slot> slots;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(3);  // for all arrays of a host
  for (const auto& found : program.world.maps()) {
    if (found.where != program.where || found.info.type != MapType::prog_array) continue;
    const auto map = found.where->map(found.info.id);
    if (!map) continue;
    const auto holding = inspect::slots_with(*map, found.info, program.info.id, until);
    for (const u32 index : holding.indices) slots.push_back({found.info.id, found.info.name, index});
    if (holding.looked_at < found.info.max_entries)
      note(fmt::format("of the {} slots of program array {} (id {}) the first {} were looked at",
                       found.info.max_entries, printable(found.info.name), found.info.id, holding.looked_at));
  }
  return slots;
}

std::string command_line(int pid) {
  auto text = base::read_text(fmt::format("/proc/{}/cmdline", pid), 1u << 16).value_or("");
  while (!text.empty() && text.back() == '\0') text.pop_back();
  std::replace_if(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return text;
}

Reasons reasons_of(NamedProgram& program) {
  Reasons reasons;
  const u32 id = program.info.id;
  for (auto& found : program.world.links())
    if (found.where == program.where && found.info.program_id == id) reasons.links.push_back(std::move(found.info));
  reasons.slots = slots_of(program);
  if (!program.in_kernel()) {
    kernel::Holder& host = reasons.processes.emplace_back();
    host.pid = program.info.host_pid;
    host.comm = program.info.host_name;
    host.command_line = command_line(host.pid);
    host.id = id;
    host.fd = -1;  // it is in the process itself
    return reasons;
  }
  const auto is_ours = [&](const kernel::Holder& holder) {
    if (holder.kind == kernel::Holder::Kind::program) return holder.id == id;
    return holder.kind == kernel::Holder::Kind::link &&
           std::any_of(reasons.links.begin(), reasons.links.end(), [&](const auto& l) { return l.id == holder.id; });
  };
  for (auto& holder : kernel::find_holders())
    if (is_ours(holder)) reasons.processes.push_back(std::move(holder));
  if (const auto tree = kernel::cgroup_tree({}, false))
    for (const auto& group : *tree)
      for (const auto& one : group.programs)
        if (one.program_id == id) reasons.cgroups.emplace_back(group.cgroup.native(), one);
  if (auto users = kernel::find_perf_users())
    for (auto& user : *users)
      if (user.program_id == id) reasons.perf.push_back(std::move(user));
  if (auto net = kernel::find_net_programs())
    for (auto& one : *net)
      if (one.program_id == id) reasons.net.push_back(std::move(one));
  return reasons;
}

std::string_view word_of(kernel::Holder::Kind kind) {
  return kind == kernel::Holder::Kind::program ? "program" : "link";
}

std::string user_name(u32 uid) {
  const passwd* entry = ::getpwuid(uid);
  return entry == nullptr ? std::to_string(uid) : entry->pw_name;
}

/// A line each, with all that it holds: those of one process follow each other.
void print_processes(const std::vector<kernel::Holder>& holders) {
  for (std::size_t i = 0; i < holders.size();) {
    const kernel::Holder& process = holders[i];
    std::vector<std::string> held;
    for (; i < holders.size() && holders[i].pid == process.pid; ++i)
      if (holders[i].fd >= 0)
        held.push_back(fmt::format("{} {} as descriptor {}", word_of(holders[i].kind), holders[i].id, holders[i].fd));
    fmt::print("process {} ({}){}{}{}{}\n", process.pid, printable(process.comm), held.empty() ? "" : " holds ",
               fmt::join(held, ", "), process.command_line.empty() ? "" : ": ", printable(process.command_line));
  }
}

void print_text(const ProgramInfo& info, const Reasons& reasons) {
  fmt::print("{}", inspect::text_of(info));
  fmt::print("loaded by user {}\n", user_name(info.uid));
  print_processes(reasons.processes);
  for (const auto& link : reasons.links) {
    fmt::print("link {} ({}){}\n", link.id, link.type, link.target.empty() ? "" : " at " + printable(link.target));
    for (const auto& path : link.pinned) fmt::print("link {} is pinned at {}\n", link.id, printable(path));
  }
  for (const auto& path : info.pinned) fmt::print("pinned at {}\n", printable(path));
  for (const auto& slot : reasons.slots)
    fmt::print("in program array {} (id {}) at {}\n", printable(slot.map_name), slot.map_id, slot.index);
  for (const auto& [path, one] : reasons.cgroups)
    fmt::print("control group {} at {}\n", printable(path), backend::attach_type_name(one.attach_type));
  for (const auto& user : reasons.perf)
    fmt::print("process {} ({}) has it on {} {} (descriptor {})\n", user.pid, printable(user.comm), user.fd_type,
               printable(user.name), user.fd);
  for (const auto& one : reasons.net) fmt::print("device {} ({}) at {}\n", one.device, one.ifindex, one.kind);
  const bool none = reasons.processes.empty() && reasons.links.empty() && info.pinned.empty() &&
                    reasons.slots.empty() && reasons.cgroups.empty() && reasons.net.empty();
  if (none)
    fmt::print("nothing that this user can see keeps it: it is held by another user's process, or about to go\n");
}

void print_json(const ProgramInfo& info, const Reasons& reasons, bool pretty) {
  base::JsonWriter json(pretty);
  const auto list = [&](std::string_view key, const auto& items, auto write) {
    json.key(key);
    json.begin_array();
    for (const auto& item : items) {
      json.begin_object();
      write(item);
      json.end_object();
    }
    json.end_array();
  };
  json.begin_object();
  json.key("program");
  inspect::write(json, info);
  json.member("user", user_name(info.uid));
  list("processes", reasons.processes, [&](const kernel::Holder& p) {
    json.member("pid", p.pid);
    json.member("comm", p.comm);
    json.member("command_line", p.command_line);
    json.member("holds", word_of(p.kind));
    json.member("id", p.id);
    if (info.host_pid == 0) json.member("fd", p.fd);
  });
  json.key("links");
  json.begin_array();
  for (const auto& link : reasons.links) inspect::write(json, link);
  json.end_array();
  list("program_arrays", reasons.slots, [&](const Slot& slot) {
    json.member("map_id", slot.map_id);
    json.member("name", slot.map_name);
    json.member("index", slot.index);
  });
  list("cgroups", reasons.cgroups, [&](const auto& group) {
    json.member("cgroup", group.first);
    json.member("attach_type", backend::attach_type_name(group.second.attach_type));
  });
  list("perf_events", reasons.perf, [&](const kernel::PerfUser& user) {
    json.member("pid", user.pid);
    json.member("comm", user.comm);
    json.member("fd", user.fd);
    json.member("fd_type", user.fd_type);
    json.member("name", user.name);
  });
  list("net", reasons.net, [&](const kernel::NetProgram& one) {
    json.member("devname", one.device);
    json.member("ifindex", one.ifindex);
    json.member("kind", one.kind);
  });
  json.end_object();
  print(json);
}

}  // namespace

Result<int> prog_why(Words& words) {
  auto program = SKEP_TRY(find_program(words));
  SKEP_TRY(words.end());
  const Reasons reasons = reasons_of(program);
  if (words.json)
    print_json(program.info, reasons, words.pretty);
  else
    print_text(program.info, reasons);
  return 0;
}

}  // namespace skep::tools
