// The inspector against bpftool: the same kernel objects, the same facts. Only objects of the tests are looked at.
#include <fmt/core.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <thread>

#include "btf/btf.hpp"
#include "kernel/features.hpp"
#include "support.hpp"

namespace skep::kernel_test {
namespace {

/// The text behind `"key":` in flat JSON, up to the next comma outside brackets; enough for bpftool's output.
std::string json_value(const std::string& json, const std::string& key) {
  const auto at = json.find(fmt::format("\"{}\":", key));
  if (at == std::string::npos) return {};
  std::size_t end = at + key.size() + 3;
  const std::size_t begin = end;
  for (int depth = 0; end < json.size(); ++end) {
    if (json[end] == '[') ++depth;
    if (json[end] == ']') --depth;
    if (depth == 0 && (json[end] == ',' || json[end] == '}')) break;
  }
  std::string value;
  for (const char c : json.substr(begin, end - begin))
    if (c != '"' && std::isspace(static_cast<unsigned char>(c)) == 0) value += c;
  return value;
}

class InspectorTest : public KernelEngine {
 protected:
  void SetUp() override {
    KernelEngine::SetUp();
    if (IsSkipped()) return;
    auto compiled = compile("hooks");
    ASSERT_OK(compiled);
    spec = *std::move(compiled);
    auto loaded = load(spec, {.programs = {"on_tracepoint", "on_raw_tracepoint", "on_tp_btf", "on_kretsyscall"}});
    ASSERT_OK(loaded);
    object.emplace(*std::move(loaded));
  }
  static std::optional<std::string> bpftool(const std::string& arguments) {
    return output_of("PATH=$PATH:/usr/sbin:/sbin bpftool -j " + arguments + " 2>/dev/null");
  }
  static bool has_bpftool() { return bpftool("version").has_value(); }

  ObjectSpec spec;
  std::optional<Object> object;
};

TEST_F(InspectorTest, ProgramsAreBpftoolsPrograms) {
  if (!has_bpftool()) GTEST_SKIP() << "bpftool is not installed, the other side of this comparison";
  const auto programs = backend->inspector().programs();
  ASSERT_OK(programs);
  for (Program& ours : object->programs()) {
    const u32 id = ours.info().id;
    const auto seen =
        std::find_if(programs->begin(), programs->end(), [&](const ProgramInfo& p) { return p.id == id; });
    ASSERT_NE(seen, programs->end()) << ours.info().name;
    const auto json = bpftool(fmt::format("prog show id {}", id));
    ASSERT_TRUE(json);
    EXPECT_EQ(json_value(*json, "id"), std::to_string(id));
    EXPECT_EQ(json_value(*json, "type"), name_of(seen->type));
    EXPECT_EQ(json_value(*json, "name"), seen->name);
    EXPECT_EQ(json_value(*json, "tag"), seen->tag);
    EXPECT_EQ(json_value(*json, "gpl_compatible"), seen->gpl_compatible ? "true" : "false");
    EXPECT_EQ(json_value(*json, "uid"), std::to_string(seen->uid));
    EXPECT_NEAR(std::stod(json_value(*json, "loaded_at")), static_cast<double>(seen->loaded_at), 1.0);
    EXPECT_EQ(json_value(*json, "bytes_xlated"), std::to_string(seen->bytes_xlated));
    EXPECT_EQ(json_value(*json, "jited"), seen->jited ? "true" : "false");
    EXPECT_EQ(json_value(*json, "bytes_memlock"), std::to_string(seen->bytes_memlock));
    EXPECT_EQ(json_value(*json, "btf_id"), std::to_string(seen->btf_id));
    std::string ids;
    for (const u32 map : seen->map_ids) ids += fmt::format("{}{}", ids.empty() ? "" : ",", map);
    EXPECT_EQ(json_value(*json, "map_ids"), "[" + ids + "]");
    EXPECT_GT(seen->insns_processed, 0u);
  }
}

TEST_F(InspectorTest, MapsAreBpftoolsMaps) {
  if (!has_bpftool()) GTEST_SKIP() << "bpftool is not installed, the other side of this comparison";
  const auto maps = backend->inspector().maps();
  ASSERT_OK(maps);
  for (Map& ours : object->maps()) {
    const u32 id = ours.info().id;
    const auto seen = std::find_if(maps->begin(), maps->end(), [&](const MapInfo& m) { return m.id == id; });
    ASSERT_NE(seen, maps->end());
    const auto json = bpftool(fmt::format("map show id {}", id));
    ASSERT_TRUE(json);
    EXPECT_EQ(json_value(*json, "type"), name_of(seen->type));
    EXPECT_EQ(json_value(*json, "name"), seen->name);
    EXPECT_EQ(json_value(*json, "flags"), std::to_string(seen->flags));
    EXPECT_EQ(json_value(*json, "bytes_key"), std::to_string(seen->key_size));
    EXPECT_EQ(json_value(*json, "bytes_value"), std::to_string(seen->value_size));
    EXPECT_EQ(json_value(*json, "max_entries"), std::to_string(seen->max_entries));
    EXPECT_EQ(json_value(*json, "bytes_memlock"), std::to_string(seen->bytes_memlock));
    EXPECT_EQ(json_value(*json, "frozen"), seen->frozen ? "1" : "0");
    EXPECT_EQ(json_value(*json, "btf_id"), std::to_string(seen->btf_id));
  }
}

TEST_F(InspectorTest, CodeComesWithItsLinesAndFunctions) {
  const u32 id = object->program("on_tracepoint")->info().id;
  const auto code = backend->inspector().program_code(id);
  ASSERT_OK(code);
  EXPECT_EQ(code->insns.size() * sizeof(Insn), object->program("on_tracepoint")->info().bytes_xlated);
  ASSERT_FALSE(code->functions.empty());
  EXPECT_EQ(code->functions[0].name, "on_tracepoint");
  ASSERT_FALSE(code->lines.empty());
  bool found = false;
  for (const SourceLine& line : code->lines) {
    found = found || line.text.find("bpf_get_current_pid_tgid() >> 32 != wanted_pid") != std::string::npos;
    EXPECT_TRUE(line.file.ends_with("hooks.bpf.c")) << line.file;
    EXPECT_EQ(line.line == 0, line.text.empty());  // 0: clang 14 says that an instruction comes from no line
  }
  EXPECT_TRUE(found);
  EXPECT_EQ(backend->inspector().program_code(0xfffffff0).error().code, Code::not_found);
}

TEST_F(InspectorTest, MapsOpenById) {
  const auto hits = object->map("hits").value();
  const auto again = backend->inspector().map(hits.info().id);
  ASSERT_OK(again);
  const u32 key = 7;
  const u64 value = 1234;
  ASSERT_OK(again->update(std::as_bytes(std::span(&key, 1)), std::as_bytes(std::span(&value, 1))));
  EXPECT_EQ(hits.get<u64>(key).value(), value);
  EXPECT_EQ(backend->inspector().map(0xfffffff0).error().code, Code::not_found);
  const auto types = backend->inspector().btf(again->info().btf_id);
  ASSERT_OK(types);
  EXPECT_LT(again->info().btf_value_type_id, (*types)->type_count());
}

TEST_F(InspectorTest, LinksNameTheirHooks) {
  std::vector<Link> links;
  for (Program& program : object->programs()) {
    auto link = program.attach();
    ASSERT_OK(link);
    links.push_back(*std::move(link));
  }
  const auto seen = backend->inspector().links();
  ASSERT_OK(seen);
  const auto link_of = [&](const char* program) {
    const u32 id = object->program(program)->info().id;
    for (const LinkInfo& link : *seen)
      if (link.program_id == id) return link;
    return LinkInfo{};
  };
  EXPECT_EQ(link_of("on_raw_tracepoint").type, "raw_tracepoint");
  EXPECT_EQ(link_of("on_raw_tracepoint").target, "raw_tracepoint:sys_enter");
  EXPECT_EQ(link_of("on_tp_btf").target, "raw_tracepoint:sys_enter");  // the kernel keeps both in one kind of link
  // Before 5.15 a perf event holds the program without a link.
  EXPECT_EQ(link_of("on_tracepoint").type, kernel::Features().event_cookies() ? "perf_event" : "");
}

TEST_F(InspectorTest, LinksSayTheirNumbers) {
  for (Program& program : object->programs()) {
    auto link = program.attach();
    ASSERT_OK(link);
    const auto ids = link->ids();
    std::vector<u32> listed;
    const auto all = backend->inspector().links();
    ASSERT_OK(all);
    for (const LinkInfo& seen : *all)
      if (seen.program_id == program.info().id) listed.push_back(seen.id);
    EXPECT_EQ(ids, listed) << program.info().name;  // none where a perf event holds the program: before 5.15
    link->detach();
    EXPECT_TRUE(link->ids().empty());
  }
}

/// A link has a number before it can be opened: whoever lists meanwhile leaves it out.
TEST_F(InspectorTest, LinksThatAreBeingMadeEndNoList) {
  auto program = object->program("on_raw_tracepoint");
  ASSERT_OK(program);
  std::atomic<bool> is_over = false;
  std::thread maker([&] {
    while (!is_over) [[maybe_unused]]
      const auto link = program->attach();
  });
  std::string refused;
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
  while (refused.empty() && std::chrono::steady_clock::now() < end)
    if (const auto all = backend->inspector().links(); !all) refused = all.error().message;
  is_over = true;
  maker.join();
  EXPECT_EQ(refused, "");
}

TEST_F(InspectorTest, WhatIsPinnedIsAskedByItsPath) {
  const std::string stem = fmt::format("/sys/fs/bpf/skep_inspector_{}_", ::getpid());
  Inspector& inspector = backend->inspector();
  const u32 program = object->program("on_raw_tracepoint")->info().id, map = object->map("hits")->info().id;
  const auto pinned = inspector.pin(ObjectKind::program, program, stem + "program");
  if (!pinned && pinned.error().message.find("bpffs") != std::string::npos) GTEST_SKIP() << pinned.error().message;
  ASSERT_OK(pinned);
  ASSERT_OK(inspector.pin(ObjectKind::map, map, stem + "map"));
  const auto facts = inspector.pinned_program(stem + "program");
  ASSERT_OK(facts);
  EXPECT_EQ(facts->id, program);
  EXPECT_EQ(facts->name, "on_raw_tracepoint");
  EXPECT_EQ(facts->pinned, std::vector<std::string>{stem + "program"});
  const auto map_facts = inspector.pinned_map(stem + "map");
  ASSERT_OK(map_facts);
  EXPECT_EQ(map_facts->id, map);
  for (const auto& [error, words] :
       {std::pair{inspector.pinned_link(stem + "map").error(), "a map is"},
        {inspector.pinned_map(stem + "program").error(), "a program is"},
        {inspector.pinned_map(stem + "none").error(), "there is no such file"},
        {inspector.pinned_program("/proc/self/status").error(), "the file is in no bpffs"}}) {
    EXPECT_EQ(error.code, Code::not_found) << error.message;
    EXPECT_NE(error.message.find(words), std::string::npos) << error.message;
  }
  EXPECT_EQ(inspector.left_out(), "");
  ::unlink((stem + "program").c_str());
  ::unlink((stem + "map").c_str());
  EXPECT_EQ(inspector.pinned_map(stem + "map").error().code, Code::not_found);
}

TEST_F(InspectorTest, NothingStaysBehind) {
  std::vector<u32> ids;
  for (Program& program : object->programs()) ids.push_back(program.info().id);
  object.reset();
  // The kernel frees programs a moment after the last descriptor is closed; and whoever lists the machine's programs
  // meanwhile, as tests beside this one do, holds each for as long as it looks at it.
  const auto all_are_gone = [&] {
    const auto programs = backend->inspector().programs();
    return programs && std::none_of(programs->begin(), programs->end(), [&](const ProgramInfo& p) {
             return std::find(ids.begin(), ids.end(), p.id) != ids.end();
           });
  };
  EXPECT_TRUE(eventually(all_are_gone)) << "a program of a closed object is still loaded";
}

}  // namespace
}  // namespace skep::kernel_test
