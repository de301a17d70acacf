// The Inspector of this process. See registry.hpp.
#include "user/registry.hpp"

#include <unistd.h>

#include <algorithm>

#include "base/mapped_file.hpp"
#include "btf/btf.hpp"
#include "vm/jit/tiering.hpp"

namespace skep::user {

namespace {

Error no_such_id(std::string_view kind, u32 id) {
  return Error{Code::not_found, "no " + std::string(kind) + " with id " + std::to_string(id) + " in this process"};
}

template <class Info, class T>
std::vector<Info> describe_all(const Table<T>& table) {
  std::vector<Info> infos;
  for (const auto& object : table.all()) infos.push_back(object->describe());
  return infos;
}

}  // namespace

Registry::Registry() : Registry(::getpid()) {}

Registry::Registry(int pid)
    : program_table(std::make_shared<Table<const RegisteredProgram>>(pid, "programs")),
      map_table(std::make_shared<Table<const RegisteredMap>>(pid, "maps")),
      link_table(std::make_shared<Table<const RegisteredLink>>(pid, "links")),
      btf_table(std::make_shared<Table<const btf::Btf>>(pid, "BTF objects")),
      jit(vm::Jit::create()),
      pid_(pid) {}

std::string Registry::host_name() const {
  auto text = base::read_text("/proc/" + std::to_string(pid_) + "/comm", 64);
  if (!text) return "?";
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *text;
}

Result<std::vector<ProgramInfo>> Registry::programs() { return describe_all<ProgramInfo>(*program_table); }
Result<std::vector<MapInfo>> Registry::maps() { return describe_all<MapInfo>(*map_table); }
Result<std::vector<LinkInfo>> Registry::links() { return describe_all<LinkInfo>(*link_table); }

Result<ProgramCode> Registry::program_code(u32 program_id) {
  const auto program = program_table->find(program_id);
  if (!program) return tl::unexpected<Error>(no_such_id("program", program_id));
  return program->code();
}

Result<Map> Registry::map(u32 map_id) {
  auto map = map_table->find(map_id);
  if (!map) return tl::unexpected<Error>(no_such_id("map", map_id));
  return Map(map->open(map));
}

Result<TestRunResult> Registry::test_run(u32 program_id, const TestRun& run) {
  const auto program = program_table->find(program_id);
  if (!program) return tl::unexpected<Error>(no_such_id("program", program_id));
  return program->test_run(run);
}

Result<std::vector<BtfInfo>> Registry::btfs() {
  std::vector<BtfInfo> infos;
  for (const auto& [id, types] : btf_table->numbered()) {
    BtfInfo& info = infos.emplace_back();
    info.id = id;
    info.size_bytes = types->bytes().size();
    info.host_pid = pid_;
    info.host_name = host_name();
  }
  return infos;
}

Result<std::shared_ptr<const btf::Btf>> Registry::btf(u32 btf_id) {
  auto types = btf_table->find(btf_id);
  if (!types) return tl::unexpected<Error>(no_such_id("BTF object", btf_id));
  return types;
}

}  // namespace skep::user
