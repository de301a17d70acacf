// Loading: what the user engine takes, what it refuses and how it says so; what a loaded object looks like.
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "../kernel/shared_memory.hpp"
#include "support.hpp"

namespace skep {
namespace {

using test::program_object;

struct UserEngine : ::testing::Test {
  std::unique_ptr<Backend> engine;
  void SetUp() override {
    SKEP_NEED_CLANG();
    engine = user_backend({.serve_control_socket = false}).value();
  }
  /// Loads one program of refused.bpf.c and attaches it; the error's text.
  Error refusal(const std::string& program) {
    auto object = engine->load(program_object("refused"), {.programs = {program}});
    if (!object) return object.error();
    auto link = object->programs().front().attach();
    if (!link) return link.error();
    return Error{Code::io, "not refused"};
  }
};

void expect_mentions(const Error& error, Code code, const std::vector<std::string>& words) {
  EXPECT_EQ(error.code, code) << error.message;
  for (const std::string& word : words) EXPECT_NE(error.message.find(word), std::string::npos) << error.message;
}

TEST_F(UserEngine, RefusesWhatOnlyAKernelHas) {
  expect_mentions(refusal("kernel_function"), Code::unsupported, {"do_exit", "--backend kernel"});
  expect_mentions(refusal("packets"), Code::unsupported, {"xdp", "skep test"});
  expect_mentions(refusal("other_tracepoint"), Code::unsupported, {"sched", "--backend kernel"});
  expect_mentions(refusal("no_such_call"), Code::not_found, {"nosuchcall"});
  expect_mentions(refusal("kernel_symbol"), Code::unsupported, {"init_task", "--backend kernel"});
  expect_mentions(refusal("kernel_call"), Code::unsupported, {"bpf_sock_destroy", "--backend kernel"});
  expect_mentions(refusal("kernel_config"), Code::unsupported, {"CONFIG_HZ", "__weak", "--backend kernel"});
}

TEST_F(UserEngine, OfEachGroupOneProgramIsLoaded) {
  auto object = engine->load(program_object("variants"));
  ASSERT_TRUE(object) << object.error().message;
  std::vector<std::string> names;
  for (const Program& program : object->programs()) names.push_back(program.info().name);
  EXPECT_EQ(names, (std::vector<std::string>{"always", "ends_in_a_tree"}));
  EXPECT_NE(engine->notes().find("finish_task_switch"), std::string::npos) << engine->notes();
}

TEST_F(UserEngine, MemoryIsSharedWithItsHost) {
  const auto spec = program_object("shared_memory");
  auto object = engine->load(spec);
  ASSERT_TRUE(object) << object.error().message;
  test::share_memory(spec, *object, [](std::string_view) { return true; });
}

TEST_F(UserEngine, AttachingToNothingIsAnError) {
  const Error error = refusal("no_target");
  EXPECT_TRUE(error.code == Code::not_found || error.code == Code::invalid_argument) << error.message;
}

TEST_F(UserEngine, KernelTypesAreNamed) {
  const Error error = refusal("kernel_type");
  EXPECT_TRUE(error.code == Code::rejected || error.code == Code::unsupported) << error.message;
}

TEST_F(UserEngine, WeakConfigurationReadsAsZero) {
  auto object = engine->load(program_object("refused"), {.programs = {"weak_config"}});
  ASSERT_TRUE(object) << object.error().message;
  auto pipe = engine->open_trace_pipe().value();
  auto result = object->programs().front().test_run({});
  ASSERT_TRUE(result) << result.error().message;
  const auto lines = test::lines(pipe);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find(": 0 "), std::string::npos) << lines[0];
}

TEST_F(UserEngine, RejectionExplains) {
  const Error error = refusal("unproved");
  expect_mentions(error, Code::rejected, {"refused.bpf.c"});
}

TEST_F(UserEngine, UnknownProgramsGetASuggestion) {
  const auto object = engine->load(program_object("hello"), {.programs = {"helo"}});
  ASSERT_FALSE(object);
  expect_mentions(object.error(), Code::not_found, {"did you mean \"hello\""});
}

TEST_F(UserEngine, ObjectsAreDescribedAsTheKernelDescribesThem) {
  const auto before = static_cast<u64>(::time(nullptr));
  auto object = engine->load(program_object("hello"));
  ASSERT_TRUE(object) << object.error().message;
  EXPECT_EQ(object->name(), "hello");
  const ProgramInfo info = object->program("hello")->info();
  EXPECT_GE(info.id, 0x80000000u);
  EXPECT_EQ(info.type, ProgramType::tracepoint);
  EXPECT_EQ(info.name, "hello");
  EXPECT_EQ(info.tag.size(), 16u);
  EXPECT_TRUE(info.gpl_compatible);
  EXPECT_GE(info.loaded_at, before);
  EXPECT_EQ(info.uid, ::getuid());
  EXPECT_GT(info.bytes_xlated, 0u);
  EXPECT_GT(info.insns_processed, 0u);
  EXPECT_EQ(info.host_pid, ::getpid());
  EXPECT_FALSE(info.host_name.empty());
  EXPECT_GE(info.map_ids.size(), 3u) << "the table, .rodata and .bss";

  Inspector& inspector = engine->inspector();
  ASSERT_EQ(inspector.programs()->size(), 1u);
  const auto maps = inspector.maps().value();
  EXPECT_EQ(maps.size(), object->maps().size());
  const auto rodata = object->map(".rodata")->info();
  EXPECT_TRUE(rodata.frozen);
  const auto types = inspector.btf(info.btf_id);
  ASSERT_TRUE(types) << types.error().message;
  const auto code = inspector.program_code(info.id);
  ASSERT_TRUE(code) << code.error().message;
  EXPECT_EQ(code->insns.size() * 8, info.bytes_xlated);
  EXPECT_FALSE(code->lines.empty());
  bool shows_map = false;
  for (const Insn& insn : code->insns)
    if (insn.code == 0x18 && insn.src == 1)
      shows_map |= static_cast<u32>(insn.imm) == object->map("counter_table")->info().id;
  EXPECT_TRUE(shows_map) << "map ids stand where the machine has addresses";
}

TEST_F(UserEngine, ObjectsGoWithTheirHandles) {
  std::optional<Map> kept;
  {
    auto object = engine->load(program_object("hello")).value();
    kept = object.map("counter_table").value();
    EXPECT_EQ(engine->inspector().programs()->size(), 1u);
  }
  EXPECT_EQ(engine->inspector().programs()->size(), 1u) << "a handle on a map keeps its object";
  EXPECT_TRUE(kept->update(test::bytes(u64{1}), test::bytes(u64{2})));
  kept.reset();
  EXPECT_TRUE(engine->inspector().programs()->empty());
  EXPECT_TRUE(engine->inspector().maps()->empty());
}

TEST_F(UserEngine, ProgramsComeOneByOneToMapsThatAreThere) {
  const ObjectSpec spec = program_object("hello");
  ObjectSpec maps_only = spec;
  maps_only.programs.clear();
  std::optional<Object> maps = engine->load(maps_only).value();
  LoadOptions options;
  options.programs = {"hello"};
  for (std::size_t i = 0; i < spec.maps.size(); ++i) options.maps.push_back({spec.maps[i].name, maps->maps()[i]});
  std::optional<Object> program = engine->load(spec, options).value();
  EXPECT_EQ(engine->inspector().maps()->size(), spec.maps.size()) << "none was made";
  EXPECT_EQ(program->map("counter_table")->info().id, maps->map("counter_table")->info().id);
  const auto& used = program->programs()[0].info().map_ids;
  EXPECT_NE(std::ranges::find(used, maps->map("counter_table")->info().id), used.end());
  // The program's object keeps the maps, whoever made them.
  maps.reset();
  options.maps.clear();
  EXPECT_TRUE(program->map("counter_table")->update(test::bytes(u64{1}), test::bytes(u64{2})));
  program.reset();
  EXPECT_TRUE(engine->inspector().maps()->empty());
}

TEST_F(UserEngine, GivenMapsMustFit) {
  const ObjectSpec spec = program_object("hello");
  const auto object = engine->load(spec).value();
  LoadOptions options;
  options.maps.push_back({"counter_table", object.map(".rodata").value()});
  const auto wrong = engine->load(spec, options);
  ASSERT_FALSE(wrong);
  expect_mentions(wrong.error(), Code::invalid_argument, {"map counter_table", "array", "hash"});
  EXPECT_EQ(object.map(".rodata")->memory().error().code, Code::permission);
}

/// What programs are verified against is the object's definition, so a map that was given must be no less than that.
TEST_F(UserEngine, GivenMapsMustBearOutTheProof) {
  const auto refused = [&](const ObjectSpec& wanted, const Map& given, Code code, const char* word) {
    const auto loaded = engine->load(wanted, {.maps = {{wanted.maps[0].name, given}}});
    ASSERT_FALSE(loaded) << word;
    expect_mentions(loaded.error(), code, {word});
  };
  ObjectSpec object;
  object.name = "lent";
  object.license = "GPL";
  MapSpec places;
  places.name = "places";
  places.type = MapType::array;
  places.key_size = places.value_size = 4;
  places.max_entries = 2;
  object.maps = {places};
  const auto lender = engine->load(object).value();
  const Map two = lender.map("places").value();

  ASSERT_TRUE(engine->load(object, {.maps = {{"places", two}}}));
  ObjectSpec more = object;
  more.maps[0].max_entries = 4;  // a look-up of 3 needs no test for null
  refused(more, two, Code::invalid_argument, "at least 4");
  more.maps[0].max_entries = 1;
  EXPECT_TRUE(engine->load(more, {.maps = {{"places", two}}}));
  ObjectSpec sizeless = object;
  sizeless.maps[0].key_size = 0;
  refused(sizeless, two, Code::invalid_argument, "keys of 4");
  ObjectSpec constant = object;
  constant.maps[0].flags |= 1u << 7;  // BPF_F_RDONLY_PROG
  refused(constant, two, Code::invalid_argument, "BPF_F_RDONLY_PROG");

  // Constants that differ.
  const ObjectSpec hello = program_object("hello");
  const auto first = engine->load(hello).value();
  ObjectSpec other = hello;
  const auto rodata =
      std::ranges::find_if(other.maps, [](const MapSpec& map) { return map.frozen && map.is_global_data; });
  ASSERT_NE(rodata, other.maps.end());
  ASSERT_FALSE(rodata->initial_value.empty());
  EXPECT_TRUE(engine->load(other, {.maps = {{rodata->name, first.map(rodata->name).value()}}}));
  rodata->initial_value[0] ^= std::byte{1};
  const auto loaded = engine->load(other, {.maps = {{rodata->name, first.map(rodata->name).value()}}});
  ASSERT_FALSE(loaded);
  expect_mentions(loaded.error(), Code::invalid_argument, {"constants"});

  // Inner maps.
  ObjectSpec outer = object;
  outer.maps[0].name = "outer";
  outer.maps[0].type = MapType::array_of_maps;
  outer.maps[0].inner = std::make_shared<MapSpec>(places);
  const auto outer_lender = engine->load(outer).value();
  ObjectSpec larger = outer;
  auto inner = places;
  inner.value_size = 4096;
  larger.maps[0].inner = std::make_shared<MapSpec>(inner);
  refused(larger, outer_lender.map("outer").value(), Code::invalid_argument, "values of 4, expected 4096");
}

TEST_F(UserEngine, FrozenAndWronglySizedMapsSayNo) {
  auto object = engine->load(program_object("hello")).value();
  const Map rodata = object.map(".rodata").value();
  const std::vector<std::byte> value(rodata.info().value_size), key(4);
  const auto frozen = rodata.update(key, value);
  ASSERT_FALSE(frozen);
  EXPECT_EQ(frozen.error().code, Code::permission);
  const Map table = object.map("counter_table").value();
  const auto wrong = table.lookup(std::vector<std::byte>(3));
  ASSERT_FALSE(wrong);
  expect_mentions(wrong.error(), Code::invalid_argument, {"3 bytes", "8"});
  EXPECT_EQ(table.open_ring().error().code, Code::invalid_argument);
}

TEST_F(UserEngine, ManyObjectsComeAndGo) {
  const ObjectSpec spec = program_object("hello");
  for (int i = 0; i < 600; ++i) {  // more than a host can name at a time
    auto object = engine->load(spec);
    ASSERT_TRUE(object) << i << ": " << object.error().message;
  }
  EXPECT_TRUE(engine->inspector().programs()->empty());
}

}  // namespace
}  // namespace skep
