// The control socket: what goes in comes out, and no client can hurt the host.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "user/control/client.hpp"
#include "user/control/connection.hpp"
#include "user/control/fake_objects.hpp"
#include "user/control/protocol.hpp"
#include "user/control/server.hpp"

namespace skep::user::control {
namespace {

using namespace std::chrono_literals;
using testing::Bytes;
using testing::bytes_of;
using testing::number_of;
using Clock = std::chrono::steady_clock;

/// A private directory for sockets, removed at the end.
class Place {
 public:
  Place() {
    char name[] = "/tmp/skep-control-test-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~Place() { std::filesystem::remove_all(path_); }
  Directory open() const { return open_directory(path_, false).value(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct ControlSocket : ::testing::Test {
  Place place;
  testing::FakeObjects objects;
  std::unique_ptr<Server> server;

  void start(const Limits& limits = {}) { server = Server::start(*objects.registry, place.open(), limits).value(); }
  std::unique_ptr<Inspector> client() {
    // Patient: the machine may be busy with other tests.
    auto hosts = hosts_in(std::vector{place.path()}, Timeouts{.silence = 5s, .answer = 10s});
    return hosts.empty() ? nullptr : std::move(hosts.front());
  }
  base::Fd raw() {
    const Directory directory = place.open();
    while (true) {
      auto fd = connect_to(directory.socket_path(socket_name(::getpid())));
      if (fd || fd.error().code != Code::timed_out) return std::move(fd).value();
      std::this_thread::sleep_for(1ms);  // its queue is full
    }
  }
  /// The measure of "the host goes on": an honest client is served soon.
  void expect_served() {
    const auto start = Clock::now();
    const auto host = client();
    ASSERT_NE(host, nullptr);
    const auto programs = host->programs();
    ASSERT_TRUE(programs) << programs.error().message;
    EXPECT_EQ(programs->size(), 1u);
    EXPECT_LT(Clock::now() - start, 5s);
  }
};

TEST_F(ControlSocket, TellsEverythingAboutObjects) {
  start();
  const auto host = client();
  ASSERT_NE(host, nullptr);
  const auto programs = host->programs().value();
  ASSERT_EQ(programs.size(), 1u);
  const ProgramInfo& p = programs[0];
  EXPECT_EQ(p.id, objects.program->info.id);
  EXPECT_EQ(p.type, ProgramType::kprobe);
  EXPECT_EQ(p.name, "hello");
  EXPECT_EQ(p.tag, "0123456789abcdef");
  EXPECT_TRUE(p.gpl_compatible);
  EXPECT_EQ(p.loaded_at, 1700000000u);
  EXPECT_EQ(p.uid, 1000u);
  EXPECT_EQ(p.map_ids, (std::vector<u32>{7, 8, 9}));
  EXPECT_EQ(p.run_count, 42u);
  EXPECT_EQ(p.pinned, (std::vector<std::string>{"/a", "/b"}));
  EXPECT_EQ(p.host_pid, ::getpid());
  EXPECT_FALSE(p.host_name.empty());
  const auto maps = host->maps().value();
  ASSERT_EQ(maps.size(), 1u);
  EXPECT_EQ(maps[0].name, "numbers");
  EXPECT_EQ(maps[0].max_entries, 100000u);
  const auto links = host->links().value();
  ASSERT_EQ(links.size(), 1u);
  EXPECT_EQ(links[0].target, "syscall:execve");
  const auto code = host->program_code(p.id).value();
  ASSERT_EQ(code.insns.size(), 2u);
  EXPECT_EQ(code.insns[1].imm, 1);
  EXPECT_EQ(code.lines.at(0).text, "return 0;");
  EXPECT_TRUE(code.functions.at(0).is_global);
  EXPECT_EQ(code.jited, std::vector{std::byte{0xc3}});
  const auto missing = host->program_code(1);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::not_found);
  EXPECT_NE(missing.error().message.find(std::to_string(::getpid())), std::string::npos) << missing.error().message;
}

TEST_F(ControlSocket, MapsAreReadAndWritten) {
  start();
  const auto host = client();
  const Map map = host->map(objects.map->info.id).value();
  EXPECT_EQ(map.lookup(bytes_of(1)).error().code, Code::not_found);
  ASSERT_TRUE(map.update(bytes_of(1), bytes_of(10)));
  EXPECT_EQ(map.get<u32>(u32{1}).value(), 10u);
  EXPECT_EQ(map.update(testing::Bytes(3), bytes_of(10)).error().code, Code::invalid_argument);
  ASSERT_TRUE(map.erase(bytes_of(1)));
  EXPECT_EQ(map.erase(bytes_of(1)).error().code, Code::not_found);
  EXPECT_EQ(map.open_ring().error().code, Code::unsupported);
  EXPECT_FALSE(map.next_key(std::nullopt)->has_value());
}

TEST_F(ControlSocket, MapsAreEmptiedFrozenAndReadInBatches) {
  start();
  const auto host = client();
  const Map map = host->map(objects.map->info.id).value();
  for (u32 i = 0; i < 5; ++i) objects.map->elements[i] = bytes_of(i * 10);
  EXPECT_EQ(map.take(bytes_of(3)).value(), bytes_of(30));
  EXPECT_EQ(map.take(bytes_of(3)).error().code, Code::not_found);
  MapBatch batch;
  ASSERT_TRUE(map.next_batch(batch));
  EXPECT_TRUE(batch.last);
  ASSERT_EQ(batch.count, 4u);
  EXPECT_EQ(number_of(std::span(batch.keys).last(4)), 4u);
  EXPECT_EQ(number_of(std::span(batch.values).last(4)), 40u);
  ASSERT_TRUE(map.freeze());
  EXPECT_TRUE(objects.map->frozen);
  EXPECT_TRUE(map.info().frozen);
}

TEST_F(ControlSocket, LargeMapsAreReadWholeInBatches) {
  start();
  constexpr u32 count = 20000;
  for (u32 i = 0; i < count; ++i) objects.map->elements[i] = bytes_of(i);
  const Map map = client()->map(objects.map->info.id).value();
  u32 seen = 0, batches = 0;
  for (MapBatch batch; !batch.last; ++batches) {
    ASSERT_TRUE(map.next_batch(batch));
    for (u32 i = 0; i < batch.count; ++i) ASSERT_EQ(number_of(std::span(batch.keys).subspan(4 * i)), seen++);
  }
  EXPECT_EQ(seen, count);
  EXPECT_GT(batches, 1u);
}

TEST_F(ControlSocket, ProgramsAreRunByHand) {
  start();
  const auto host = client();
  const u32 id = objects.program->info.id;
  const auto ran = host->test_run(id, {.data = Bytes(20), .context = Bytes(3), .repeat = 7});
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_EQ(ran->result, 23u);
  EXPECT_EQ(ran->data.size(), 20u);
  EXPECT_EQ(ran->duration_ns, 7u);
  EXPECT_EQ(host->test_run(id, {.repeat = max_test_repeat + 1}).error().code, Code::limit);
  EXPECT_EQ(host->test_run(1, {}).error().code, Code::not_found);
  EXPECT_EQ(host->pin(ObjectKind::program, id, "/sys/fs/bpf/x").error().code, Code::unsupported);
  EXPECT_EQ(host->detach_link(1).error().code, Code::unsupported);
  EXPECT_EQ(host->create_map({}, 0).error().code, Code::unsupported);
  EXPECT_TRUE(host->btfs().value().empty());
}

TEST_F(ControlSocket, LargeMapsComeInBatches) {
  start();
  constexpr u32 count = 20000;
  for (u32 i = 0; i < count; ++i) objects.map->elements[i] = bytes_of(i);
  const auto host = client();
  const Map map = host->map(objects.map->info.id).value();
  u32 seen = 0;
  for (auto key = map.next_key(std::nullopt).value(); key; key = map.next_key(*key).value()) {
    ASSERT_EQ(*key, bytes_of(seen));
    ASSERT_EQ(map.lookup(*key).value(), bytes_of(seen));
    ++seen;
  }
  EXPECT_EQ(seen, count);
  EXPECT_EQ(objects.map->lookups, static_cast<int>(count)) << "each element travels once";
  // A second look is not answered from the past.
  ASSERT_TRUE(map.next_key(std::nullopt));
  ASSERT_TRUE(map.lookup(bytes_of(0)));
  objects.map->elements[0] = bytes_of(777);
  EXPECT_EQ(map.lookup(bytes_of(0)).value(), bytes_of(777));
}

TEST_F(ControlSocket, LargeValuesAndCodeTravelWhole) {
  start();
  const auto host = client();
  const Map map = host->map(objects.map->info.id).value();
  const testing::Bytes large(1u << 20, std::byte{0x5a});
  ASSERT_TRUE(map.update(bytes_of(1), large));
  EXPECT_EQ(map.lookup(bytes_of(1)).value(), large);
  const auto too_large = map.update(bytes_of(1), testing::Bytes(2u << 20));
  ASSERT_FALSE(too_large);
  EXPECT_EQ(too_large.error().code, Code::limit);
  objects.program->code_insns = 1000000;
  EXPECT_EQ(host->program_code(objects.program->info.id)->insns.size(), 1000000u);
  objects.program->code_insns = 4000000;
  const auto code = host->program_code(objects.program->info.id);
  ASSERT_FALSE(code);
  EXPECT_EQ(code.error().code, Code::limit);
  expect_served();
}

TEST_F(ControlSocket, GoesWithTheHostAndStaysPrivate) {
  start();
  const auto path = server->socket();
  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  server.reset();
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(client(), nullptr);
}

TEST_F(ControlSocket, ClientsRideOverAClosedIdleConnection) {
  start(Limits{.idle_time = 50ms});
  const auto host = client();
  EXPECT_TRUE(host->programs());
  std::this_thread::sleep_for(400ms);
  EXPECT_TRUE(host->programs());
  const Map map = host->map(objects.map->info.id).value();
  server.reset();
  const auto gone = host->programs();
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Code::closed);
  EXPECT_FALSE(map.lookup(bytes_of(1)));
}

TEST_F(ControlSocket, StaleSocketsAreRemovedOthersAreNot) {
  // A host that was killed: bound, never unlinked.
  const pid_t child = ::fork();
  if (child == 0) {
    const base::Fd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{AF_UNIX, {}};
    std::snprintf(address.sun_path, sizeof address.sun_path, "%s/%d.sock", place.path().c_str(), ::getpid());
    ::_exit(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 && ::listen(fd.get(), 1) == 0
                ? 0
                : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  const auto stale = place.path() / socket_name(child);
  const auto unrelated = place.path() / "notes.txt", regular = place.path() / "999999.sock";
  std::ofstream(unrelated) << "mine";
  std::ofstream(regular) << "not a socket";
  ASSERT_TRUE(std::filesystem::exists(stale));
  start();
  EXPECT_EQ(hosts_in(std::vector{place.path()}).size(), 1u);
  EXPECT_FALSE(std::filesystem::exists(stale));
  EXPECT_TRUE(std::filesystem::exists(unrelated));
  EXPECT_TRUE(std::filesystem::exists(regular));
}

TEST_F(ControlSocket, HungHostsTimeOutByName) {
  // Listens and never answers: a host that is stopped.
  const base::Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{AF_UNIX, {}};
  std::snprintf(address.sun_path, sizeof address.sun_path, "%s/4711.sock", place.path().c_str());
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 8), 0);
  start();
  const auto begin = Clock::now();
  auto hosts = hosts_in(std::vector{place.path()}, Timeouts{.silence = 1s, .answer = 2s});
  ASSERT_EQ(hosts.size(), 2u);
  int answered = 0;
  for (const auto& host : hosts) {
    const auto programs = host->programs();
    answered += programs ? 1 : 0;
    if (programs) continue;
    EXPECT_EQ(programs.error().code, Code::timed_out);
    EXPECT_NE(programs.error().message.find("host 4711"), std::string::npos) << programs.error().message;
  }
  EXPECT_EQ(answered, 1);
  EXPECT_LT(Clock::now() - begin, 5s);
}

TEST_F(ControlSocket, UnsafeDirectoriesAreRefused) {
  const auto open_to_all = place.path() / "open";
  std::filesystem::create_directory(open_to_all);
  ::chmod(open_to_all.c_str(), 0755);
  EXPECT_EQ(open_directory(open_to_all, true).error().code, Code::permission);
  ::chmod(open_to_all.c_str(), 0700);
  EXPECT_TRUE(open_directory(open_to_all, true));
  const auto link = place.path() / "link";
  std::filesystem::create_symlink(open_to_all, link);
  EXPECT_FALSE(open_directory(link, true));
  if (::geteuid() == 0) {  // only root can make somebody else's directory
    ASSERT_EQ(::chown(open_to_all.c_str(), 12345, 12345), 0);
    const auto foreign = open_directory(open_to_all, true);
    ASSERT_FALSE(foreign);
    EXPECT_NE(foreign.error().message.find("12345"), std::string::npos) << foreign.error().message;
  }
}

TEST_F(ControlSocket, LongPathsWork) {
  auto deep = place.path();
  for (int i = 0; i < 6; ++i) {
    deep /= std::string(40, 'd');
    ASSERT_TRUE(open_directory(deep, true));
  }
  auto deep_server = Server::start(*objects.registry, open_directory(deep, false).value()).value();
  const auto hosts = hosts_in(std::vector{deep});
  ASSERT_EQ(hosts.size(), 1u);
  EXPECT_TRUE(hosts[0]->programs());
}

/// Runs `body` in a child as user `nobody`; its answer is the exit status.
int as_nobody(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(99);
    ::_exit(body());
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(ControlSocket, AnotherUserIsTurnedAway) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become another user";
  start();
  const auto path = server->socket();
  const auto try_request = [&] {
    auto fd = connect_to(path);
    if (!fd) return 1;  // the directory keeps them out
    const auto frame = encode(Request{.op = Op::programs});
    if (::send(fd->get(), frame.data(), frame.size(), MSG_NOSIGNAL) < 0) return 2;
    pollfd wait{fd->get(), POLLIN, 0};
    ::poll(&wait, 1, 2000);
    char byte = 0;
    return ::recv(fd->get(), &byte, 1, MSG_DONTWAIT) <= 0 ? 2 : 0;  // the host closed it
  };
  EXPECT_EQ(as_nobody(try_request), 1);
  // Even past the directory and the socket's own mode, the credentials decide.
  ::chmod(place.path().c_str(), 0777);
  ::chmod(path.c_str(), 0777);
  EXPECT_EQ(as_nobody(try_request), 2);
  ::chmod(place.path().c_str(), 0700);
  expect_served();
}

TEST_F(ControlSocket, RandomBytesDoNotHurt) {
  start();
  std::mt19937 random(4242);
  for (int round = 0; round < 300; ++round) {
    const auto fd = raw();
    std::vector<u8> noise(random() % 4096);
    for (u8& byte : noise) byte = static_cast<u8>(random());
    if (round % 2 == 0 && noise.size() >= 8) {
      const Header header{.body_bytes = static_cast<u32>(noise.size() - 8), .kind = static_cast<u8>(random() % 14)};
      std::memcpy(noise.data(), &header, sizeof header);
    }
    ::send(fd.get(), noise.data(), noise.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  expect_served();
}

TEST_F(ControlSocket, HugeLengthsAreClosedAtOnce) {
  start();
  for (const u32 length : {max_request_bytes + 1, 0x7fffffffu, 0xffffffffu}) {
    const auto fd = raw();
    const Header header{.body_bytes = length, .kind = 1};
    ASSERT_EQ(::send(fd.get(), &header, sizeof header, MSG_NOSIGNAL), 8);
    pollfd wait{fd.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&wait, 1, 5000), 1);
    char byte;
    EXPECT_EQ(::recv(fd.get(), &byte, 1, MSG_DONTWAIT), 0);
  }
  expect_served();
}

TEST_F(ControlSocket, OtherVersionsAreToldOurs) {
  start();
  const auto fd = raw();
  const Header header{.body_bytes = 0, .version = 9, .kind = 1};
  ASSERT_EQ(::send(fd.get(), &header, sizeof header, MSG_NOSIGNAL), 8);
  std::vector<char> answer(4096);
  pollfd wait{fd.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&wait, 1, 5000), 1);
  const auto got = ::recv(fd.get(), answer.data(), answer.size(), 0);
  ASSERT_GT(got, 8);
  const std::string ours = "version " + std::to_string(protocol_version);
  EXPECT_NE(std::string_view(answer.data(), static_cast<std::size_t>(got)).find(ours), std::string_view::npos);
}

TEST_F(ControlSocket, ThousandConnectionsAndHalfFramesLeaveRoom) {
  start();
  std::vector<base::Fd> crowd;
  const Header half{.body_bytes = 1000, .kind = 1};
  for (int i = 0; i < 1000; ++i) {
    crowd.push_back(raw());
    if (i % 2 == 0) ::send(crowd.back().get(), &half, i % 3 == 0 ? 5 : 8, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (i % 200 == 199) expect_served();
  }
  expect_served();
}

TEST_F(ControlSocket, HalfFramesEndAfterTheirTime) {
  start(Limits{.request_time = 100ms});
  const auto fd = raw();
  const Header half{.body_bytes = 1000, .kind = 1};
  ::send(fd.get(), &half, sizeof half, MSG_NOSIGNAL);
  const auto begin = Clock::now();
  // One byte now and then does not buy more time.
  char byte = 0;
  while (Clock::now() - begin < 20s) {
    if (::send(fd.get(), &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) break;
    std::this_thread::sleep_for(20ms);
  }
  EXPECT_LT(Clock::now() - begin, 10s);
  expect_served();
}

long resident_kib() {
  std::ifstream file("/proc/self/statm");
  long total = 0, resident = 0;
  file >> total >> resident;
  return resident * (::sysconf(_SC_PAGESIZE) / 1024);
}

TEST_F(ControlSocket, ReadersThatNeverReadCostLittleAndGo) {
  start(Limits{.unread_answer_bytes = 8u << 20, .answer_time = 300ms});
  objects.program->code_insns = 500000;  // 4 MB an answer
  const long before = resident_kib();
  std::vector<base::Fd> sleepers;
  const auto frame = encode(Request{.op = Op::program_code, .id = objects.program->info.id});
  for (int i = 0; i < 12; ++i) {
    sleepers.push_back(raw());
    for (int n = 0; n < 50; ++n) ::send(sleepers.back().get(), frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  std::this_thread::sleep_for(150ms);
  EXPECT_LT(resident_kib() - before, 64 * 1024);
  std::this_thread::sleep_for(1500ms);
  expect_served();
}

}  // namespace
}  // namespace skep::user::control
