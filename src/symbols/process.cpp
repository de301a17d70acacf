// Looking addresses up in one process. See process.hpp.
#include "symbols/process.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace skep::symbols {

namespace {

constexpr std::size_t most_maps_bytes = 64u << 20, most_status_bytes = 65536, most_perf_map_bytes = 256u << 20;
constexpr std::chrono::milliseconds perf_map_age{500};
constexpr long overlay_filesystem = 0x794c7630;

/// The last number of a line of /proc/PID/status: "NSpid:\t1234\t7" is 7, "Uid:\t1\t2\t3\t4" with `column` 1 is 2.
std::optional<u32> status_number(std::string_view status, std::string_view key, std::optional<int> column) {
  const auto at = status.find(key);
  if (at == status.npos) return std::nullopt;
  std::string_view line = status.substr(at + key.size());
  line = line.substr(0, line.find('\n'));
  std::optional<u32> value;
  for (int index = 0; !line.empty() && (!column || index <= *column); ++index) {
    line.remove_prefix(std::min(line.find_first_not_of("\t "), line.size()));
    u32 number = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number);
    if (error != std::errc()) break;
    value = number;
    line.remove_prefix(static_cast<std::size_t>(end - line.data()));
  }
  return value;
}

/// Memory that a runtime may have put code into: without a file, or with one that has no name.
bool may_be_made_at_run_time(const Mapping& mapping) {
  return !mapping.is_file() || mapping.path.starts_with("/memfd:") || mapping.path.starts_with("/dev/zero") ||
         mapping.path.starts_with("/dev/shm/") || mapping.path.starts_with("/SYSV") ||
         mapping.path.starts_with("/anon_hugepage");
}

std::string read_text_of(int fd, std::size_t most_bytes) {
  std::string text;
  std::array<char, 16384> piece;
  while (text.size() < most_bytes) {
    const ssize_t got = ::read(fd, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(piece.data(), static_cast<std::size_t>(got));
  }
  return text;
}

/// The vdso is the kernel's: the same image in every 64-bit process, so ours serves where theirs is as long.
std::span<const std::byte> own_vdso(u64 size) {
  const auto* const begin = reinterpret_cast<const std::byte*>(::getauxval(AT_SYSINFO_EHDR));
  if (begin == nullptr) return {};
  const auto maps =
      parse_maps(read_text_of(base::Fd(::open("/proc/self/maps", O_RDONLY | O_CLOEXEC)).get(), most_maps_bytes));
  const Mapping* const mapping = mapping_of(maps, reinterpret_cast<u64>(begin));
  if (mapping == nullptr || mapping->end - mapping->begin != size) return {};
  return {begin, size};
}

}  // namespace

void name_in(Place& place) {
  if (!place.symbols) return;
  if (auto found = place.symbols->at_offset(place.frame.module_offset)) {
    place.frame.name = std::move(found->name);
    place.frame.offset = found->offset;
  }
}

Result<Process> Process::open(u32 pid) {
  const std::string path = fmt::format("/proc/{}", pid);
  base::Fd directory(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return tl::unexpected(base::os_error(path));
  Process process(pid, std::move(directory));
  SKEP_TRY_AT(path, process.read_text("maps", most_maps_bytes));
  if (auto root = Root::of_process(process.directory_.get())) process.root_ = *std::move(root);
  process.refresh(std::chrono::milliseconds(0));
  return process;
}

Process Process::remembered(u32 pid, std::vector<Mapping> mappings, u64 version) {
  Process process(pid, base::Fd());
  if (auto root = Root::own()) process.root_ = *std::move(root);
  process.mappings_ = std::move(mappings);
  process.version_ = version;
  return process;
}

bool Process::exists() const noexcept {
  struct stat status{};
  return ::fstatat(directory_.get(), "stat", &status, 0) == 0;
}

Result<std::string> Process::read_text(const char* file, std::size_t most_bytes) const {
  const base::Fd fd(::openat(directory_.get(), file, O_RDONLY | O_CLOEXEC));
  if (!fd) return tl::unexpected(base::os_error(file));
  return read_text_of(fd.get(), most_bytes);
}

void Process::refresh(std::chrono::milliseconds age) {
  const auto now = std::chrono::steady_clock::now();
  if (looked_ && now - *looked_ < age) return;
  looked_ = now;
  const auto text = read_text("maps", most_maps_bytes);
  lives_ = text && !text->empty();
  if (!lives_) return;  // gone, or a zombie: what it had is what there is
  const std::size_t hash = std::hash<std::string_view>()(*text);
  if (hash == maps_hash_) return;
  maps_hash_ = hash;
  mappings_ = parse_maps(*text);
  modules_.clear();
  vdso_.reset();
}

std::vector<Place> Process::resolve(std::span<const u64> addresses, FileCache& files, const Root* own) {
  constexpr std::chrono::milliseconds fresh{100};
  refresh(fresh);
  for (const u64 address : addresses)
    if (mapping_of(mappings_, address) == nullptr) {
      refresh(std::chrono::milliseconds(5));  // mapped since
      break;
    }
  std::vector<Place> places;
  places.reserve(addresses.size());
  for (const u64 address : addresses) places.push_back(resolve(address, files, own));
  return places;
}

Place Process::resolve(u64 address, FileCache& files, const Root* own) {
  Place place;
  Frame& frame = place.frame;
  frame.address = address;
  const Mapping* const mapping = mapping_of(mappings_, address);
  if (mapping == nullptr) return place;
  frame.module = mapping->path;
  frame.module_offset = address - mapping->begin + (mapping->is_file() ? mapping->file_offset : 0);
  if (mapping->path == "[vdso]") {
    name_in_vdso(*mapping, frame);
  } else if (may_be_made_at_run_time(*mapping)) {
    if (mapping->executable) name_in_perf_map(frame);
  } else {
    place.symbols = symbols_of(*mapping, files, own);
    name_in(place);
  }
  return place;
}

/// The file that is mapped. By name first, below the process's root; when another file has that name now, or none, by
/// the mapping itself, which takes CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE and a living process.
Result<base::Fd> Process::open_mapped(const Mapping& mapping) const {
  if (root_ && !mapping.deleted) {
    auto file = root_->open_regular(mapping.path, false);
    struct stat status{};
    struct statfs filesystem{};
    // overlayfs shows other numbers in maps than to stat
    if (file && ::fstat(file->get(), &status) == 0 &&
        (status.st_ino == mapping.inode ||
         (::fstatfs(file->get(), &filesystem) == 0 && filesystem.f_type == overlay_filesystem)))
      return file;
  }
  const std::string name = fmt::format("map_files/{:x}-{:x}", mapping.begin, mapping.end);
  const base::Fd named(::openat(directory_.get(), name.c_str(), O_PATH | O_CLOEXEC));
  if (!named) return tl::unexpected(base::os_error(name));
  return reopen_regular(named, name);
}

std::shared_ptr<const FileSymbols> Process::symbols_of(const Mapping& mapping, FileCache& files, const Root* own) {
  Module& module = modules_[mapping.begin];
  std::shared_ptr<const FileSymbols> symbols;
  if (module.identity) symbols = files.find(*module.identity);
  if (symbols || (module.tried && !module.identity)) return symbols;
  module.tried = true;
  module.identity.reset();
  auto file = open_mapped(mapping);
  if (!file) return nullptr;
  const auto identity = FileIdentity::of(file->get());
  if (!identity) return nullptr;
  module.identity = *identity;
  symbols = files.find(*identity);
  if (symbols) return symbols;
  return files.add(*identity, *std::move(file), {root_ ? &*root_ : nullptr, own, directory_of(mapping.path)});
}

void Process::read_files(FileCache& files, const Root* own) {
  refresh(std::chrono::milliseconds(100));
  for (const Mapping& mapping : mappings_)
    if (mapping.executable && !may_be_made_at_run_time(mapping)) symbols_of(mapping, files, own);
}

void Process::name_in_vdso(const Mapping& mapping, Frame& frame) {
  if (!vdso_) {
    auto read = FileSymbols::read(own_vdso(mapping.end - mapping.begin));
    vdso_ = read ? *std::move(read) : FileSymbols();
  }
  if (auto found = vdso_->at_offset(frame.module_offset)) {
    frame.name = std::move(found->name);
    frame.offset = found->offset;
  }
}

/// The file is the process's: named by its own number in its own view of /tmp, owned by it or by root, no link.
void Process::read_perf_map() {
  const auto now = std::chrono::steady_clock::now();
  if (looked_at_perf_map_ && now - *looked_at_perf_map_ < perf_map_age) return;
  looked_at_perf_map_ = now;
  const auto status = read_text("status", most_status_bytes);
  if (!root_ || !status) return;
  const u32 own_number = status_number(*status, "\nNSpid:", std::nullopt).value_or(pid_);
  const auto uid = status_number(*status, "\nUid:", 1);
  perf_map_name_ = fmt::format("perf-{}.map", own_number);
  const auto file = root_->open_regular("/tmp/" + perf_map_name_, false);
  struct stat info{};
  if (!file || ::fstat(file->get(), &info) != 0 || (info.st_uid != 0 && info.st_uid != uid)) return;
  const auto identity = FileIdentity::of(file->get());
  if (!identity || (perf_map_identity_ && *identity == *perf_map_identity_)) return;
  perf_map_identity_ = *identity;
  perf_map_ = PerfMap(read_text_of(file->get(), most_perf_map_bytes));
}

void Process::name_in_perf_map(Frame& frame) {
  read_perf_map();
  const auto found = perf_map_.find(frame.address);
  if (!found) return;
  frame.name = found->name;
  frame.offset = found->offset;
  frame.module = perf_map_name_;
}

}  // namespace skep::symbols
