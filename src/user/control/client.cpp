// Inspector and Map over a Connection, and the list of hosts. See client.hpp.
//
// Walking a map key by key would cost two round trips an element; a RemoteMap asks for a batch and hands it out
// as next_key() and lookup() ask for it. A batch serves one walk only: each element once, in order, and not for
// long, so that a caller who looks twice sees the map as it is then.
#include "user/control/client.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <skep/backend.hpp>
#include <variant>

#include "btf/btf.hpp"
#include "user/control/connection.hpp"

namespace skep::user::control {

namespace {

using Bytes = std::vector<std::byte>;

class RemoteMap final : public Map::Impl {
 public:
  RemoteMap(std::shared_ptr<Connection> connection, MapInfo info)
      : connection_(std::move(connection)), info_(std::move(info)) {}

  const MapInfo& info() const override { return info_; }

  Result<Bytes> lookup(std::span<const std::byte> key) override {
    const std::lock_guard lock(mutex_);
    if (handed_out_ && fresh() && std::ranges::equal(handed_out_->key, key)) {
      Bytes value = std::move(handed_out_->value);
      handed_out_.reset();
      return value;
    }
    return connection_->ask<Bytes>({.op = Op::lookup, .id = info_.id, .key = Bytes(key.begin(), key.end())});
  }
  Result<void> update(std::span<const std::byte> key, std::span<const std::byte> value, u64 flags) override {
    const std::lock_guard lock(mutex_);
    forget();
    SKEP_TRY(connection_->ask<std::monostate>({.op = Op::update,
                                               .id = info_.id,
                                               .flags = flags,
                                               .key = Bytes(key.begin(), key.end()),
                                               .value = Bytes(value.begin(), value.end())}));
    return {};
  }
  Result<void> erase(std::span<const std::byte> key) override {
    const std::lock_guard lock(mutex_);
    forget();
    SKEP_TRY(connection_->ask<std::monostate>({.op = Op::erase, .id = info_.id, .key = Bytes(key.begin(), key.end())}));
    return {};
  }
  Result<std::optional<Bytes>> next_key(std::optional<std::span<const std::byte>> key) override {
    const std::lock_guard lock(mutex_);
    const bool continues = key && last_key_ && fresh() && std::ranges::equal(*last_key_, *key);
    if (!continues || (position_ == batch_.elements.size() && batch_.more)) {
      forget();
      std::optional<Bytes> from;
      if (key) from.emplace(key->begin(), key->end());
      batch_ = SKEP_TRY(connection_->ask<Batch>({.op = Op::dump, .id = info_.id, .key = std::move(from)}));
      fetched_ = Clock::now();
    }
    if (position_ == batch_.elements.size()) {
      forget();
      return std::nullopt;
    }
    handed_out_ = std::move(batch_.elements[position_++]);
    last_key_ = handed_out_->key;
    return last_key_;
  }
  Result<Bytes> take(std::span<const std::byte> key) override {
    const std::lock_guard lock(mutex_);
    forget();
    return connection_->ask<Bytes>({.op = Op::take, .id = info_.id, .key = Bytes(key.begin(), key.end())});
  }
  Result<void> freeze() override {
    SKEP_TRY(connection_->ask<std::monostate>({.op = Op::freeze, .id = info_.id}));
    info_.frozen = true;
    return {};
  }
  Result<void> next_batch(MapBatch& batch) override {
    const bool begins = batch.position.empty();
    const auto answer = SKEP_TRY(connection_->ask<Batch>(
        {.op = Op::dump, .id = info_.id, .key = begins ? std::nullopt : std::optional<Bytes>(batch.position)}));
    batch.keys.clear();
    batch.values.clear();
    batch.errors.clear();
    batch.count = static_cast<u32>(answer.elements.size());
    for (const Batch::Element& element : answer.elements) {
      if (element.key.size() != info_.key_size || element.value.size() != answer.elements[0].value.size())
        return fail(Code::malformed, "map " + info_.name + ": an entry of another size than its map's");
      batch.keys.insert(batch.keys.end(), element.key.begin(), element.key.end());
      batch.values.insert(batch.values.end(), element.value.begin(), element.value.end());
    }
    batch.last = !answer.more || answer.elements.empty();
    if (!answer.elements.empty()) batch.position = answer.elements.back().key;
    return {};
  }
  Result<RingReader> open_ring() override {
    return fail(Code::unsupported,
                "map " + info_.name + ": its records go to the process it lives in, " + std::to_string(info_.host_pid));
  }

 private:
  using Clock = std::chrono::steady_clock;
  bool fresh() const { return Clock::now() - fetched_ < std::chrono::milliseconds(200); }
  void forget() {
    batch_ = {};
    position_ = 0;
    last_key_.reset();
    handed_out_.reset();
  }

  std::shared_ptr<Connection> connection_;
  MapInfo info_;
  std::mutex mutex_;  ///< of the walk
  Batch batch_;
  std::size_t position_ = 0;
  Clock::time_point fetched_{};
  std::optional<Bytes> last_key_;
  std::optional<Batch::Element> handed_out_;
};

class RemoteInspector final : public Inspector {
 public:
  explicit RemoteInspector(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}

  Result<std::vector<ProgramInfo>> programs() override { return list<ProgramInfo>(Op::programs); }
  Result<std::vector<MapInfo>> maps() override { return list<MapInfo>(Op::maps); }
  Result<std::vector<LinkInfo>> links() override { return list<LinkInfo>(Op::links); }
  Result<ProgramCode> program_code(u32 id) override {
    return connection_->ask<ProgramCode>({.op = Op::program_code, .id = id});
  }
  Result<Map> map(u32 id) override {
    auto info = SKEP_TRY(connection_->ask<MapInfo>({.op = Op::map, .id = id}));
    name_host(info);
    return Map(std::make_shared<RemoteMap>(connection_, std::move(info)));
  }
  Result<std::shared_ptr<const btf::Btf>> btf(u32 id) override {
    constexpr u64 most_bytes = 64u << 20;
    Bytes bytes;
    while (true) {
      const auto piece = SKEP_TRY(connection_->ask<BtfPiece>({.op = Op::btf, .id = id, .flags = bytes.size()}));
      if (piece.total_bytes > most_bytes) return fail(Code::limit, "its types have more than 64 MiB");
      bytes.insert(bytes.end(), piece.bytes.begin(), piece.bytes.end());
      if (bytes.size() >= piece.total_bytes) break;
      if (piece.bytes.empty()) return fail(Code::malformed, "its types end early");
    }
    return btf::Btf::parse(std::move(bytes));
  }
  Result<std::vector<BtfInfo>> btfs() override { return list<BtfInfo>(Op::btfs); }
  Result<TestRunResult> test_run(u32 id, const TestRun& run) override {
    return connection_->ask<TestRunResult>(
        {.op = Op::test_run, .id = id, .flags = run.repeat, .key = run.context, .value = run.data});
  }

 private:
  /// The host is who the kernel says it is, whatever its answer says.
  template <class Info>
  void name_host(Info& info) const {
    info.host_pid = connection_->pid();
    info.host_name = connection_->comm();
  }
  template <class Info>
  Result<std::vector<Info>> list(Op op) {
    auto infos = SKEP_TRY(connection_->ask<std::vector<Info>>({.op = op}));
    for (Info& info : infos) name_host(info);
    return infos;
  }
  std::shared_ptr<Connection> connection_;
};

/// Removes a socket nobody listens on, unless it is not the one that was tried, not a socket or not ours.
void remove_stale(const Directory& directory, const std::string& name, const struct stat& tried) {
  struct stat now{};
  if (::fstatat(directory.fd.get(), name.c_str(), &now, AT_SYMLINK_NOFOLLOW) != 0) return;
  if (now.st_ino != tried.st_ino || !S_ISSOCK(now.st_mode) || now.st_uid != ::geteuid()) return;
  ::unlinkat(directory.fd.get(), name.c_str(), 0);
}

std::vector<std::string> names_in(const Directory& directory) {
  std::vector<std::string> names;
  const int copy = ::openat(directory.fd.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return names;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy), ::closedir);
  if (stream == nullptr) return names;
  while (const dirent* entry = ::readdir(stream.get())) names.emplace_back(entry->d_name);
  return names;
}

}  // namespace

std::unique_ptr<Inspector> remote_inspector(std::shared_ptr<const Directory> directory, std::string name, int pid,
                                            const Timeouts& timeouts) {
  return std::make_unique<RemoteInspector>(
      std::make_shared<Connection>(std::move(directory), std::move(name), pid, timeouts));
}

std::vector<std::unique_ptr<Inspector>> hosts_in(std::span<const std::filesystem::path> directories,
                                                 const Timeouts& timeouts) {
  std::vector<std::pair<int, std::unique_ptr<Inspector>>> hosts;
  for (const auto& path : directories) {
    auto opened = open_directory(path, false);
    if (!opened) continue;  // not there, or not ours: no host of this user's lives in it
    const auto directory = std::make_shared<const Directory>(std::move(*opened));
    for (const std::string& name : names_in(*directory)) {
      const auto pid = pid_of_socket(name);
      struct stat tried{};
      if (!pid || ::fstatat(directory->fd.get(), name.c_str(), &tried, AT_SYMLINK_NOFOLLOW) != 0) continue;
      const auto probe = connect_to(directory->socket_path(name));
      if (!probe && probe.error().os_error == ECONNREFUSED)
        remove_stale(*directory, name, tried);
      else if (probe || probe.error().code == Code::timed_out)
        hosts.emplace_back(*pid, remote_inspector(directory, name, *pid, timeouts));
    }
  }
  std::sort(hosts.begin(), hosts.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::unique_ptr<Inspector>> inspectors;
  for (auto& [pid, inspector] : hosts) inspectors.push_back(std::move(inspector));
  return inspectors;
}

}  // namespace skep::user::control

namespace skep {

std::vector<std::unique_ptr<Inspector>> user_hosts() {
  const auto directories = user::control::candidate_directories();
  return user::control::hosts_in(directories);
}

}  // namespace skep
