// The C interface as a caller sees it: handles in any order, errors in full, sizes that are checked.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <skep/skep.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr char source[] =
    "struct event { unsigned pid; char comm[16]; };\n"
    "BPF_HASH(counts, u32, u64);\n"
    "BPF_ARRAY(places, u64, 4);\n"
    "BPF_RINGBUF_OUTPUT(events, 8);\n"
    "int on_exec(void *ctx) {\n"
    "  struct event e = {.pid = bpf_get_current_pid_tgid() >> 32};\n"
    "  bpf_get_current_comm(&e.comm, sizeof(e.comm));\n"
    "  counts.increment(e.pid);\n"
    "  events.ringbuf_output(&e, sizeof(e), 0);\n"
    "  bpf_trace_printk(\"seen\");\n"
    "  return 0;\n"
    "}\n";

class CInterface : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v clang > /dev/null 2>&1") != 0) GTEST_SKIP() << "clang is not installed";
    engine_ = skep_engine_open("user");
    ASSERT_NE(engine_, nullptr) << skep_error_message();
    object_ = skep_object_open_text(engine_, source, std::strlen(source), "test.c", nullptr);
    ASSERT_NE(object_, nullptr) << skep_error_message();
  }
  void TearDown() override {
    skep_object_close(object_);
    skep_engine_close(engine_);
  }

  skep_engine* engine_ = nullptr;
  skep_object* object_ = nullptr;
};

TEST_F(CInterface, RunsACommandFromSourceToRecords) {
  skep_function* function = skep_function_load(object_, "on_exec", 0, "syscall:execve");
  ASSERT_NE(function, nullptr) << skep_error_message();
  skep_link* link = skep_function_attach(function, "syscall:execve", 0, 0);
  ASSERT_NE(link, nullptr) << skep_error_message();
  skep_reader* ring = skep_table_reader(skep_object_table(object_, "events"));
  skep_reader* trace = skep_engine_trace_reader(engine_);
  ASSERT_TRUE(ring != nullptr && trace != nullptr) << skep_error_message();
  const char* const command[] = {"sh", "-c", "/bin/true; exit 5", nullptr};
  ASSERT_EQ(skep_engine_start(engine_, command, 0), 0) << skep_error_message();
  pollfd end{skep_engine_end_fd(engine_), POLLIN, 0};
  ASSERT_EQ(::poll(&end, 1, 20000), 1);
  skep_workload workload{};
  workload.size = sizeof workload;
  ASSERT_EQ(skep_engine_workload(engine_, &workload), 0) << skep_error_message();
  EXPECT_EQ(workload.state, SKEP_WORKLOAD_ENDED);
  EXPECT_EQ(WEXITSTATUS(workload.wait_status), 5);

  skep_reader* both[] = {ring, trace};
  EXPECT_EQ(skep_readers_poll(both, 2, engine_, 1000), 4) << skep_error_message();
  const skep_record* records = nullptr;
  ASSERT_EQ(skep_reader_records(ring, &records), 2u);
  EXPECT_EQ(records[1].size, 20u);
  EXPECT_STREQ(static_cast<const char*>(records[1].data) + 4, "sh");
  ASSERT_EQ(skep_reader_records(trace, &records), 2u);
  const std::string line(static_cast<const char*>(records[0].data), records[0].size);
  EXPECT_NE(line.find("bpf_trace_printk: seen"), std::string::npos) << line;
  EXPECT_EQ(skep_reader_lost(ring), 0u);
  EXPECT_EQ(skep_readers_poll(both, 2, engine_, -1), 0) << "the workload is over: nothing to wait for";
  skep_function_info info{};
  info.size = sizeof info;
  ASSERT_EQ(skep_function_describe(function, &info), 0);
  EXPECT_EQ(info.run_count, 2u);
  EXPECT_STREQ(info.name, "on_exec");
  // In an order that no owner would choose.
  skep_object_close(object_);
  object_ = nullptr;
  skep_engine_close(engine_);
  engine_ = nullptr;
  skep_reader_close(ring);
  skep_link* const links[] = {link, nullptr};
  skep_links_close(links, 2);
  EXPECT_NE(std::string(skep_function_text(function)).find("exit"), std::string::npos);
  skep_function_close(function);
  skep_reader_close(trace);
}

TEST_F(CInterface, ReadsAndChangesTables) {
  skep_table* counts = skep_object_table(object_, "counts");
  ASSERT_NE(counts, nullptr);
  for (uint32_t key = 0; key < 100; ++key) {
    const uint64_t value = key * 2;
    ASSERT_EQ(skep_table_update(counts, &key, &value, 0), 0) << skep_error_message();
  }
  uint32_t key = 7;
  uint64_t value = 0;
  EXPECT_EQ(skep_table_lookup(counts, &key, &value), 0);
  EXPECT_EQ(value, 14u);
  EXPECT_EQ(skep_table_take(counts, &key, &value), 0);
  EXPECT_LT(skep_table_lookup(counts, &key, &value), 0);
  EXPECT_EQ(skep_error_code(), SKEP_NOT_FOUND);
  skep_entries entries{};
  entries.size = sizeof entries;
  ASSERT_EQ(skep_table_read_all(counts, SKEP_ENTRIES_READ, &entries), 0);
  EXPECT_EQ(entries.count, 99u);
  for (uint64_t i = 0; i < entries.count; ++i)
    EXPECT_EQ(static_cast<const uint32_t*>(entries.keys)[i] * 2, static_cast<const uint64_t*>(entries.values)[i]);
  skep_entries_close(&entries);
  ASSERT_EQ(skep_table_read_all(counts, SKEP_ENTRIES_TAKE, &entries), 0);
  EXPECT_EQ(entries.count, 99u);
  skep_entries_close(&entries);
  EXPECT_EQ(skep_table_next_key(counts, nullptr, &key), 1) << "empty now";
  skep_table* places = skep_object_table(object_, "places");
  EXPECT_EQ(skep_table_clear(places), 4);
  EXPECT_LT(skep_table_delete(places, &key), 0) << "entries of arrays stay";
}

TEST_F(CInterface, ChangesManyEntriesAtOnce) {
  skep_table* counts = skep_object_table(object_, "counts");
  ASSERT_NE(counts, nullptr);
  std::vector<uint32_t> keys(1000);
  std::vector<uint64_t> values(keys.size());
  for (uint32_t i = 0; i < keys.size(); ++i) keys[i] = i, values[i] = i * 3;
  uint64_t done = 0;
  ASSERT_EQ(skep_table_update_batch(counts, keys.data(), values.data(), keys.size(), 0, &done), 0)
      << skep_error_message();
  EXPECT_EQ(done, keys.size());
  EXPECT_LT(skep_table_update_batch(counts, keys.data() + 990, values.data(), 10, 1, &done), 0) << "they are there";
  EXPECT_EQ(done, 0u);
  ASSERT_EQ(skep_table_delete_batch(counts, keys.data(), 10, nullptr), 0) << skep_error_message();
  EXPECT_LT(skep_table_delete_batch(counts, keys.data() + 5, 10, &done), 0) << "the first five are gone";
  EXPECT_EQ(skep_error_code(), SKEP_NOT_FOUND);
  EXPECT_EQ(done, 0u);
  skep_entries entries{};
  entries.size = sizeof entries;
  ASSERT_EQ(skep_table_read_all(counts, SKEP_ENTRIES_TAKE, &entries), 0);
  EXPECT_EQ(entries.count, 990u);
  for (uint64_t i = 0; i < entries.count; ++i)
    EXPECT_EQ(static_cast<const uint32_t*>(entries.keys)[i] * 3, static_cast<const uint64_t*>(entries.values)[i]);
  skep_entries_close(&entries);
  ASSERT_EQ(skep_table_update_batch(counts, keys.data(), values.data(), keys.size(), 0, nullptr), 0);
  EXPECT_EQ(skep_table_clear(counts), 1000);
  EXPECT_EQ(skep_table_update_batch(counts, nullptr, nullptr, 0, 0, &done), 0);
  EXPECT_EQ(done, 0u);
  EXPECT_LT(skep_table_update_batch(counts, nullptr, values.data(), 3, 0, &done), 0);
  EXPECT_LT(skep_table_update_batch(counts, keys.data(), values.data(), uint64_t{1} << 60, 0, &done), 0);
  EXPECT_LT(skep_table_update_batch(nullptr, keys.data(), values.data(), 3, 0, &done), 0);
  skep_table* places = skep_object_table(object_, "places");
  EXPECT_LT(skep_table_delete_batch(places, keys.data(), 2, &done), 0) << "entries of arrays stay";
}

TEST_F(CInterface, TellsTypes) {
  skep_table_info info{};
  info.size = sizeof info;
  ASSERT_EQ(skep_table_describe(skep_object_table(object_, "events"), &info), 0);
  skep_type type{};
  type.size = sizeof type;
  ASSERT_EQ(skep_object_type(object_, info.value_type, &type), 0) << skep_error_message();
  EXPECT_STREQ(type.name, "event");
  EXPECT_EQ(type.kind, SKEP_TYPE_STRUCT);
  EXPECT_EQ(type.bytes, 20u);
  skep_member member{};
  member.size = sizeof member;
  ASSERT_EQ(skep_object_member(object_, type.id, 1, &member), 0);
  EXPECT_STREQ(member.name, "comm");
  EXPECT_EQ(member.bit_offset, 32u);
  EXPECT_LT(skep_object_member(object_, type.id, 2, &member), 0);
  EXPECT_LT(skep_object_type(object_, 1u << 30, &type), 0);
  EXPECT_EQ(skep_error_code(), SKEP_NOT_FOUND);
}

TEST_F(CInterface, ErrorsAreWholeAndOfTheirThread) {
  const std::string wrong = "int f(void *ctx) { return " + std::string(6000, 'x') + "; }";
  EXPECT_EQ(skep_object_open_text(engine_, wrong.c_str(), wrong.size(), "wrong.c", nullptr), nullptr);
  EXPECT_EQ(skep_error_code(), SKEP_INVALID_ARGUMENT);
  EXPECT_GT(std::strlen(skep_error_message()), 6000u);
  std::thread([] { EXPECT_STREQ(skep_error_message(), ""); }).join();
  EXPECT_EQ(skep_function_load(object_, "no_such", 0, nullptr), nullptr);
  EXPECT_NE(std::string(skep_error_message()).find("on_exec"), std::string::npos) << skep_error_message();
  EXPECT_EQ(skep_object_table(object_, "no_such"), nullptr);
  EXPECT_NE(std::string(skep_error_message()).find("counts"), std::string::npos);
}

TEST_F(CInterface, TakesNothingForGranted) {
  EXPECT_EQ(skep_engine_open("no_such"), nullptr);
  EXPECT_EQ(skep_engine_open(nullptr), nullptr);
  EXPECT_EQ(skep_object_open_file(nullptr, "x.c", nullptr), nullptr);
  EXPECT_EQ(skep_object_open_file(engine_, nullptr, nullptr), nullptr);
  EXPECT_EQ(skep_function_load(nullptr, "f", 0, nullptr), nullptr);
  EXPECT_EQ(skep_function_load(object_, "on_exec", 0, "nonsense:x"), nullptr);
  EXPECT_EQ(skep_function_attach(nullptr, "syscall:execve", 0, 0), nullptr);
  EXPECT_EQ(skep_table_reader(skep_object_table(object_, "counts")), nullptr) << "a hash is no ring";
  EXPECT_EQ(skep_object_table_at(object_, 100), nullptr);
  skep_workload unsized{};
  EXPECT_LT(skep_engine_workload(engine_, &unsized), 0);
  const char* const command[] = {"/bin/true", nullptr};
  EXPECT_LT(skep_engine_start(engine_, command, 0), 0) << "nothing is attached";
  EXPECT_LT(skep_engine_has(engine_, "no_such"), 0);
  EXPECT_STREQ(skep_engine_name(nullptr), "");
  EXPECT_STREQ(skep_engine_notes(nullptr), "");
  EXPECT_STREQ(skep_engine_verifier_log(nullptr), "");
  EXPECT_EQ(skep_engine_end_fd(nullptr), -1);
  skep_engine_stop(nullptr);
  EXPECT_STREQ(skep_object_warnings(nullptr), "");
  EXPECT_STREQ(skep_link_carried_by(nullptr), "");
  EXPECT_EQ(skep_function_text(nullptr), nullptr);
  skep_reader* const no_reader = nullptr;
  EXPECT_LT(skep_readers_poll(&no_reader, 1, nullptr, 0), 0);
  EXPECT_LT(skep_descriptor_open(nullptr), 0);
  EXPECT_LT(skep_descriptor_open("/nowhere/at/all"), 0);
  EXPECT_EQ(skep_error_number(), ENOENT);
  EXPECT_LT(skep_descriptor_by_id("nonsense", 1), 0);
  EXPECT_LT(skep_descriptor_by_id(nullptr, 1), 0);
  EXPECT_LT(skep_descriptor_pin(0, nullptr), 0);
  EXPECT_EQ(skep_object_of_map(engine_, 0), nullptr) << "the user engine has none";
  EXPECT_EQ(skep_error_code(), SKEP_UNSUPPORTED);
  EXPECT_EQ(skep_object_of_map(nullptr, 0), nullptr);
  skep_object_close(nullptr);
  skep_function_close(nullptr);
  skep_link_close(nullptr);
  skep_links_close(nullptr, 1);
  skep_reader_close(nullptr);
  skep_engine_close(nullptr);
}

TEST(CInterfaceAlone, OlderCallersGetWhatTheyKnow) {
  skep_engine* engine = skep_engine_open("user");
  ASSERT_NE(engine, nullptr);
  skep_workload workload{};
  std::memset(&workload, 0x55, sizeof workload);
  workload.size = offsetof(skep_workload, pid);  // as if `pid` came later
  ASSERT_EQ(skep_engine_workload(engine, &workload), 0);
  EXPECT_EQ(workload.state, SKEP_WORKLOAD_NONE);
  EXPECT_EQ(workload.pid, 0x55555555) << "not theirs: not touched";
  skep_engine_close(engine);
}

TEST(CInterfaceAlone, MapsByDescriptor) {
  constexpr uint32_t hash = 1, key_bytes = 4, value_bytes = 8, entries = 4;
  const int map = skep_descriptor_create_map("by hand", hash, key_bytes, value_bytes, entries, 0);
  if (map < 0 && skep_error_code() == SKEP_PERMISSION) GTEST_SKIP() << skep_error_message();
  ASSERT_GE(map, 0) << skep_error_message();
  uint32_t key = 7, next = 0;
  uint64_t value = 11;
  EXPECT_EQ(skep_descriptor_next_key(map, nullptr, &next), 1) << "it is empty";
  EXPECT_LT(skep_descriptor_lookup(map, &key, &value), 0);
  EXPECT_EQ(skep_error_number(), ENOENT);
  EXPECT_EQ(skep_descriptor_update(map, &key, &value, 0), 0) << skep_error_message();
  EXPECT_LT(skep_descriptor_update(map, &key, &value, 1), 0) << "only if absent";
  EXPECT_EQ(skep_error_number(), EEXIST);
  value = 0;
  EXPECT_EQ(skep_descriptor_lookup(map, &key, &value), 0);
  EXPECT_EQ(value, 11u);
  EXPECT_EQ(skep_descriptor_next_key(map, nullptr, &next), 0);
  EXPECT_EQ(next, key);
  EXPECT_EQ(skep_descriptor_next_key(map, &key, &next), 1);

  skep_engine* engine = skep_engine_open("kernel");
  ASSERT_NE(engine, nullptr) << skep_error_message();
  skep_object* object = skep_object_of_map(engine, map);
  ASSERT_NE(object, nullptr) << skep_error_message();
  skep_table_info info{};
  info.size = sizeof info;
  ASSERT_EQ(skep_object_table_count(object), 1u);
  skep_table* table = skep_object_table(object, "by_hand");
  ASSERT_EQ(skep_table_describe(table, &info), 0) << skep_error_message();
  EXPECT_EQ(info.max_entries, entries);
  const int again = skep_descriptor_by_id("map", info.id);
  EXPECT_GE(again, 0) << skep_error_message();
  EXPECT_EQ(skep_descriptor_delete(again, &key), 0) << skep_error_message();
  EXPECT_LT(skep_table_lookup(table, &key, &value), 0) << "one map, three ways to it";
  ::close(map);
  value = 12;
  EXPECT_EQ(skep_table_update(table, &key, &value, 0), 0) << "the object has a descriptor of its own";
  skep_object_close(object);
  EXPECT_LT(skep_descriptor_lookup(map, &key, &value), 0) << "closed";
  EXPECT_EQ(skep_error_number(), EBADF);
  uint32_t result = 0;
  EXPECT_LT(skep_descriptor_test_run(again, 1, nullptr, 0, nullptr, nullptr, &result, nullptr), 0) << "no program";
  ::close(again);
  EXPECT_EQ(skep_object_of_map(engine, again), nullptr);
  skep_engine_close(engine);
}

TEST(CInterfaceAlone, ReadsBinaries) {
  skep_binary* binary = skep_binary_open("/proc/self/exe");
  ASSERT_NE(binary, nullptr) << skep_error_message();
  const skep_binary_function* functions = nullptr;
  EXPECT_GT(skep_binary_functions(binary, &functions), 10) << skep_error_message();
  skep_binary_close(binary);
  EXPECT_EQ(skep_binary_open("/etc/passwd"), nullptr);
  EXPECT_EQ(skep_binary_open("/no/such/file"), nullptr);
  // As a program with that much debug information: of which the tables are read.
  const int own = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC), large = ::memfd_create("large", MFD_CLOEXEC);
  std::vector<char> piece(1u << 16);
  for (ssize_t got = 0; (got = ::read(own, piece.data(), piece.size())) > 0;)
    ASSERT_EQ(::write(large, piece.data(), static_cast<std::size_t>(got)), got);
  ASSERT_EQ(::ftruncate(large, off_t{3} << 30), 0);
  binary = skep_binary_open(("/proc/self/fd/" + std::to_string(large)).c_str());
  ASSERT_NE(binary, nullptr) << skep_error_message();
  EXPECT_GT(skep_binary_functions(binary, &functions), 10) << skep_error_message();
  skep_binary_close(binary);
  ::close(own), ::close(large);
  skep_symbolizer* const symbolizer = skep_symbolizer_open();
  const auto here = reinterpret_cast<uint64_t>(&skep_symbolizer_open);
  ASSERT_GE(skep_symbolizer_stack(symbolizer, ::getpid(), &here, 1), 1) << skep_error_message();
  skep_frame frame{};
  frame.size = sizeof frame;
  EXPECT_EQ(skep_symbolizer_frame(symbolizer, 0, &frame), 0);
  EXPECT_EQ(frame.address, here);
  EXPECT_STREQ(frame.name, "skep_symbolizer_open");
  EXPECT_LT(skep_symbolizer_frame(symbolizer, 99, &frame), 0);
  EXPECT_LT(skep_symbolizer_stack(symbolizer, ::getpid(), nullptr, 1), 0);
  EXPECT_EQ(skep_symbolizer_stack(symbolizer, ::getpid(), nullptr, 0), 0);
  EXPECT_LT(skep_symbolizer_stack(nullptr, ::getpid(), &here, 1), 0);
  EXPECT_LT(skep_symbolizer_follow(nullptr, 1), 0);
  skep_symbolizer_close(symbolizer);
  EXPECT_EQ(skep_abi_version(), static_cast<uint32_t>(SKEP_ABI_VERSION));
  EXPECT_STREQ(skep_syscall_name(0), "read");
  EXPECT_EQ(skep_syscall_name(100000), nullptr);
}

}  // namespace
