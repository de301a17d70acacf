// skep perf, net, iter, struct_ops: hooks of the kernel that have a verb of their own.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <skep/backend.hpp>

#include "arguments.hpp"
#include "base/printable.hpp"
#include "btf/format_value.hpp"
#include "compile/compile.hpp"
#include "inspect/objects.hpp"
#include "kernel/access.hpp"
#include "kernel/control.hpp"
#include "kernel/holders.hpp"
#include "kernel/net_programs.hpp"
#include "kernel/probe.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view perf_usage =
    "usage: skep perf show|list                            processes whose perf events have programs on them\n\n"
    "  -j, --json   JSON with bpftool's keys     -p, --pretty   the same, indented\n\n"
    "example:\n  skep perf show\n";

void write(base::JsonWriter& json, const kernel::PerfUser& user) {
  json.begin_object();
  json.member("pid", user.pid);
  json.member("fd", user.fd);
  json.member("prog_id", user.program_id);
  json.member("fd_type", user.fd_type);
  if (user.fd_type == "raw_tracepoint" || user.fd_type == "tracepoint") {
    json.member(user.fd_type == "tracepoint" ? "tracepoint" : "tp_name", user.name);
  } else if (user.fd_type.starts_with("k")) {
    json.member("func", user.name);
    user.name.empty() ? json.member("addr", user.address) : json.member("offset", user.offset);
  } else {
    json.member("filename", user.name);
    json.member("offset", user.offset);
  }
  json.end_object();
}

Result<int> perf(Words& words) {
  if (!words.take("show") && !words.take("list"))
    return fail(Code::invalid_argument, fmt::format("perf '{}': expected show (see `skep perf --help`)", words.next()));
  SKEP_TRY(words.end());
  base::JsonWriter json(words.pretty);
  json.begin_array();
  for (const auto& user : SKEP_TRY(kernel::find_perf_users())) {
    if (words.json)
      write(json, user);
    else
      fmt::print("pid {}  fd {}: prog_id {}  {}  {}{}\n", user.pid, user.fd, user.program_id, user.fd_type,
                 base::printable(user.name), user.offset == 0 ? "" : fmt::format("  offset {}", user.offset));
  }
  json.end_array();
  if (words.json) print(json);
  return 0;
}

constexpr std::string_view net_usage =
    "usage: skep net show|list [dev NAME]                  programs on devices: XDP, tc, tcx, netkit; the flow "
    "dissector\n"
    "       skep net attach xdp|xdpgeneric|xdpdrv PROG dev NAME [overwrite]\n"
    "       skep net detach xdp|xdpgeneric|xdpdrv dev NAME\n"
    "       skep net attach|detach tcx_ingress|tcx_egress PROG dev NAME\n"
    "       skep net attach|detach netkit_primary|netkit_peer PROG dev NAME      NAME: the primary device of the "
    "pair\n\n"
    "  PROG: [id] N | name NAME | tag TAG | pinned PATH\n"
    "  -j, --json   JSON with bpftool's keys     -p, --pretty   the same, indented\n\n"
    "example:\n  skep net show dev eth0\n";

Result<int> net_show(Words& words) {
  std::string device;
  if (words.take("dev")) {
    device = words.next();
    if (device.empty()) return fail(Code::invalid_argument, "dev: expected a network device");
  }
  SKEP_TRY(words.end());
  if (!device.empty()) SKEP_TRY(kernel::probe_device(device));
  auto found = SKEP_TRY(kernel::find_net_programs());
  if (const auto missing = kernel::explain_missing(kernel::Capability::net_admin); !missing.empty())
    note("programs of tcx, netkit and the flow dissector are not shown: " + missing);
  if (!device.empty())
    std::erase_if(found, [&](const auto& one) { return one.device != device && !one.device.empty(); });
  const auto is_dissector = [](const kernel::NetProgram& one) { return one.kind == "flow_dissector"; };
  if (!words.json) {
    const auto section = [&](std::string_view title, auto belongs) {
      fmt::print("{}:\n", title);
      for (const auto& one : found) {
        if (!belongs(one)) continue;
        if (is_dissector(one))
          fmt::print("id {}\n", one.program_id);
        else if (one.is_xdp)
          fmt::print("{}({}) {} id {}\n", one.device, one.ifindex, one.kind, one.program_id);
        else
          fmt::print("{}({}) {} {} {} {}{}\n", one.device, one.ifindex, one.kind, one.name,
                     one.kind.starts_with("clsact") ? "id" : "prog_id", one.program_id,
                     one.link_id != 0 ? fmt::format(" link_id {}", one.link_id) : "");
      }
      fmt::print("\n");
    };
    section("xdp", [](const auto& one) { return one.is_xdp; });
    section("tc", [&](const auto& one) { return !one.is_xdp && !is_dissector(one); });
    section("flow_dissector", is_dissector);
    return 0;
  }
  base::JsonWriter json(words.pretty);
  const auto section = [&](std::string_view title, auto belongs) {
    json.key(title);
    json.begin_array();
    for (const auto& one : found) {
      if (!belongs(one)) continue;
      json.begin_object();
      if (!is_dissector(one)) {
        json.member("devname", one.device);
        json.member("ifindex", one.ifindex);
        json.member(one.is_xdp ? "mode" : "kind", one.kind);
        if (!one.is_xdp) json.member("name", one.name);
      }
      json.member(one.kind.starts_with("tcx") || one.kind.starts_with("netkit") ? "prog_id" : "id", one.program_id);
      if (one.link_id != 0) json.member("link_id", one.link_id);
      json.end_object();
    }
    json.end_array();
  };
  json.begin_array();
  json.begin_object();
  section("xdp", [](const auto& one) { return one.is_xdp; });
  section("tc", [&](const auto& one) { return !one.is_xdp && !is_dissector(one); });
  section("flow_dissector", is_dissector);
  json.end_object();
  json.end_array();
  print(json);
  return 0;
}

Result<int> net_change(Words& words, bool attach) {
  constexpr std::pair<std::string_view, u32> modes[] = {
      {"xdp", 0}, {"xdpgeneric", 2}, {"xdpdrv", 4}, {"xdpoffload", 8}};
  const std::string mode = words.next();
  const auto row = std::find_if(std::begin(modes), std::end(modes), [&](const auto& m) { return m.first == mode; });
  constexpr std::pair<std::string_view, AttachType> lists[] = {{"tcx_ingress", AttachType::tcx_ingress},
                                                               {"tcx_egress", AttachType::tcx_egress},
                                                               {"netkit_primary", AttachType::netkit_primary},
                                                               {"netkit_peer", AttachType::netkit_peer}};
  const auto list = std::find_if(std::begin(lists), std::end(lists), [&](const auto& m) { return m.first == mode; });
  const bool in_list = list != std::end(lists);
  if (row == std::end(modes) && !in_list)
    return fail(Code::invalid_argument, fmt::format("'{}': expected xdp, xdpgeneric, xdpdrv, xdpoffload, tcx_ingress, "
                                                    "tcx_egress, netkit_primary or netkit_peer",
                                                    mode));
  u32 program = 0;
  inspect::World world;  // holds what was named by its path
  if (attach || in_list) {
    const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "program"));
    world = inspect::World::open();
    const ProgramInfo info = SKEP_TRY(world.program(handle)).info;
    const ProgramType wanted = in_list ? ProgramType::sched_cls : ProgramType::xdp;
    if (info.type != wanted)
      return fail(Code::invalid_argument, fmt::format("program {} is of type {}; {} takes programs of type {}",
                                                      handle.text(), name_of(info.type), mode, name_of(wanted)));
    program = info.id;
  }
  if (!words.take("dev")) return fail(Code::invalid_argument, "expected `dev NAME`");
  const std::string device = words.next();
  const bool replace = attach && words.take("overwrite");
  SKEP_TRY(words.end());
  if (in_list) {
    SKEP_TRY(attach ? kernel::attach_to_device(program, device, list->second)
                    : kernel::detach_from_device(program, device, list->second));
    if (words.json) fmt::print("null\n");
    return 0;
  }
  SKEP_TRY(attach ? kernel::attach_xdp(program, device, row->second, replace)
                  : kernel::detach_xdp(device, row->second));
  if (words.json) fmt::print("null\n");
  return 0;
}

Result<int> net(Words& words) {
  if (words.take("show") || words.take("list")) return net_show(words);
  if (words.take("attach")) return net_change(words, true);
  if (words.take("detach")) return net_change(words, false);
  return fail(Code::invalid_argument,
              fmt::format("net '{}': expected show, list, attach or detach (see `skep net --help`)", words.next()));
}

constexpr std::string_view iter_usage =
    "usage: skep iter pin FILE PATH [map MAP]              loads the first program of an object or C source; reading\n"
    "                                                      PATH runs it\n"
    "       skep iter pin PROG PATH [map MAP]              the same with a program that is loaded\n\n"
    "  PROG: [id] N | name NAME | tag TAG | pinned PATH      of type tracing, from a section iter/...\n"
    "  MAP:  [id] N | name NAME | pinned PATH                for iterators over the elements of a map\n\n"
    "example:\n  skep iter pin tasks.bpf.o /sys/fs/bpf/task_list && cat /sys/fs/bpf/task_list\n";

/// What the pinned iterator runs: a program that is loaded, or one that is loaded for it and lives as long as the pin.
struct IterProgram {
  u32 id = 0;
  inspect::World world;  ///< holds one that was named by its path
  std::unique_ptr<Backend> engine;
  std::optional<Object> object;
};

Result<IterProgram> load_iterator(const std::string& file) {
  auto spec = SKEP_TRY(compile::load_program(file));
  if (spec.programs.empty()) return fail(Code::invalid_argument, file + ": no program in this file");
  spec.programs.resize(1);
  spec.programs.front().autoload = true;
  IterProgram program;
  program.engine = SKEP_TRY(kernel_backend({}));
  auto loaded = program.engine->load(spec, {});
  if (!loaded && loaded.error().code == Code::rejected)
    fmt::print(stderr, "{}", explain_for_kernel(spec, program.engine->verifier_log()));
  program.object = SKEP_TRY(std::move(loaded));
  program.id = program.object->programs().front().info().id;
  return program;
}

Result<IterProgram> find_iterator(Words& words) {
  constexpr std::string_view ways[] = {"id", "name", "tag", "pinned"};
  const bool is_loaded =
      words.done() || std::find(std::begin(ways), std::end(ways), words.words[words.position]) != std::end(ways);
  if (!is_loaded) return load_iterator(words.next());
  const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "program"));
  auto world = inspect::World::open();
  const auto program = SKEP_TRY(world.program(handle));
  if (program.info.host_pid != 0)
    return fail(Code::unsupported, fmt::format("program {} lives in process {}; iterators are the kernel's",
                                               program.info.id, program.info.host_pid));
  return IterProgram{program.info.id, std::move(world), nullptr, std::nullopt};
}

Result<int> iter(Words& words) {
  if (!words.take("pin"))
    return fail(Code::invalid_argument, fmt::format("iter '{}': expected pin (see `skep iter --help`)", words.next()));
  const auto program = SKEP_TRY(find_iterator(words));
  const std::string path = words.next();
  if (path.empty()) return fail(Code::invalid_argument, "expected the path in bpffs after the program");
  u32 map = 0;
  inspect::World world;
  if (words.take("map")) {
    const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "map"));
    world = inspect::World::open();
    map = SKEP_TRY(world.map(handle)).info.id;
  }
  SKEP_TRY(words.end());
  SKEP_TRY(kernel::pin_iterator(program.id, map, path));
  if (words.json) fmt::print("null\n");
  return 0;
}

}  // namespace

int perf_verb(const Arguments& arguments) { return run_words(arguments, perf_usage, perf); }
int net_verb(const Arguments& arguments) { return run_words(arguments, net_usage, net); }
int iter_verb(const Arguments& arguments) { return run_words(arguments, iter_usage, iter); }

}  // namespace skep::tools
