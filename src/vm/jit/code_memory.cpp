// See code_memory.hpp. A chunk keeps its free ranges sorted and joined; code is taken from the first that fits.
#include "vm/jit/code_memory.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <vector>

#include "base/fd.hpp"

#if defined(__aarch64__)
#include <linux/membarrier.h>
#include <sys/syscall.h>
#endif

namespace skep::vm {
namespace {

constexpr std::size_t granule = 32;
constexpr std::size_t first_chunk_bytes = 64u << 10, later_chunk_bytes = 1u << 20;
/// What unused bytes are filled with: an instruction that stops.
#if defined(__aarch64__)
constexpr int filler = 0;  // udf
#else
constexpr int filler = 0xcc;  // int3
#endif
constexpr unsigned memfd_exec = 0x10;  // MFD_EXEC, since Linux 6.3

constexpr std::size_t rounded(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }
std::size_t page_bytes() noexcept { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

/// Memory that is unmapped when it goes.
class Mapping {
 public:
  Mapping() = default;
  Mapping(void* at, std::size_t size) : at_(at == MAP_FAILED ? nullptr : static_cast<u8*>(at)), size_(size) {}
  Mapping(Mapping&& other) noexcept : at_(std::exchange(other.at_, nullptr)), size_(other.size_) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(at_, other.at_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Mapping() {
    if (at_ != nullptr) ::munmap(at_, size_);
  }
  explicit operator bool() const noexcept { return at_ != nullptr; }
  u8* at() const noexcept { return at_; }
  std::size_t size() const noexcept { return size_; }
  bool holds(const u8* p) const noexcept { return p >= at_ && p < at_ + size_; }

 private:
  u8* at_ = nullptr;
  std::size_t size_ = 0;
};

struct Range {
  std::size_t begin, size;
};

struct Chunk {
  Mapping writable;  ///< empty: own pages, which hold one piece
  Mapping executable;
  std::vector<Range> free;
  bool ours = true;  ///< false: shared with a process we were forked from or that was forked from us

  bool empty() const { return free.size() == 1 && free[0].size == executable.size(); }

  /// Offset of `size` bytes, or none.
  std::size_t take(std::size_t size) {
    for (auto range = free.begin(); range != free.end(); ++range) {
      if (range->size < size) continue;
      const std::size_t at = range->begin;
      range->begin += size;
      range->size -= size;
      if (range->size == 0) free.erase(range);
      return at;
    }
    return ~std::size_t{0};
  }

  void give_back(std::size_t begin, std::size_t size) {
    auto next = std::lower_bound(free.begin(), free.end(), begin,
                                 [](const Range& range, std::size_t at) { return range.begin < at; });
    if (next != free.end() && begin + size == next->begin) {
      next->begin = begin;
      next->size += size;
    } else {
      next = free.insert(next, {begin, size});
    }
    if (next == free.begin()) return;
    if (auto before = next - 1; before->begin + before->size == next->begin) {
      before->size += next->size;
      free.erase(next);
    }
  }
};

/// How often this process or one it comes from has forked since it was first asked: a fact about the process, not of
/// a pool, because fork handlers belong to the process.
u64 forks() noexcept {
  static std::atomic<u64> count = 0;
  [[maybe_unused]] static const int registered = ::pthread_atfork(
      nullptr, [] { count.fetch_add(1, std::memory_order_relaxed); },
      [] { count.fetch_add(1, std::memory_order_relaxed); });
  return count.load(std::memory_order_relaxed);
}

/// Where data and instructions have caches of their own (arm64), the second must forget what it had at `begin`, and the
/// other CPUs what they fetched already. Kernels without the second (before 4.16) have no answer to give: then what is
/// left is that code is entered long after it was written.
void forget_old_instructions([[maybe_unused]] const u8* begin, [[maybe_unused]] std::size_t size) noexcept {
  auto* const first = reinterpret_cast<char*>(const_cast<u8*>(begin));
  __builtin___clear_cache(first, first + size);
#if defined(__aarch64__)
  static const bool registered =  // of the process, like the fork handlers
      ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) == 0;
  if (registered) ::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
#endif
}

tl::unexpected<Error> refused(const char* what, int error) {
  const bool memory = error == ENOMEM || error == ENFILE || error == EMFILE;
  return fail(
      memory ? Code::limit : Code::permission,
      fmt::format("{}: {}; machine code cannot be placed here: {}", what, std::strerror(error),
                  memory ? "free memory or descriptors" : "use the interpreter tier, or allow executable memory"));
}

}  // namespace

struct CodeMemory::State {
  Way way;
  mutable std::mutex lock;
  std::vector<Chunk> chunks;
  u64 forks_seen = forks();
  std::size_t used = 0;

  /// After a fork the chunks are shared with another process: nothing writes to them from now on.
  void look_for_fork() noexcept {
    if (forks() == forks_seen) return;
    for (Chunk& chunk : chunks) chunk.ours = false;
    forks_seen = forks();
  }

  static Result<Chunk> two_mappings(std::size_t size) {
    int fd = ::memfd_create("skep-code", MFD_CLOEXEC | memfd_exec);
    if (fd < 0 && errno == EINVAL) fd = ::memfd_create("skep-code", MFD_CLOEXEC);
    const base::Fd file(fd);
    if (!file) return refused("memfd_create", errno);
    if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) return refused("sizing a memory file", errno);
    Chunk chunk;
    chunk.writable = Mapping(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0), size);
    if (!chunk.writable) return refused("mapping memory", errno);
    chunk.executable = Mapping(::mmap(nullptr, size, PROT_READ | PROT_EXEC, MAP_SHARED, file.get(), 0), size);
    if (!chunk.executable) return refused("mapping executable memory", errno);
    chunk.free.push_back({0, size});
    return chunk;
  }

  Result<const u8*> add_shared(std::span<const u8> code) {
    const std::size_t size = rounded(code.size(), granule);
    Chunk* chunk = nullptr;
    std::size_t at = ~std::size_t{0};
    for (Chunk& c : chunks) {
      if (!c.ours || !c.writable || (at = c.take(size)) == ~std::size_t{0}) continue;
      chunk = &c;
      break;
    }
    if (chunk == nullptr) {
      const std::size_t usual = chunks.empty() ? first_chunk_bytes : later_chunk_bytes;
      chunks.push_back(SKEP_TRY(two_mappings(std::max(usual, rounded(size, page_bytes())))));
      chunk = &chunks.back();
      at = chunk->take(size);
    }
    std::memcpy(chunk->writable.at() + at, code.data(), code.size());
    std::memset(chunk->writable.at() + at + code.size(), filler, size - code.size());
    return chunk->executable.at() + at;
  }

  Result<const u8*> add_own_pages(std::span<const u8> code) {
    const std::size_t size = rounded(code.size(), page_bytes());
    Mapping pages(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), size);
    if (!pages) return refused("mapping memory", errno);
    std::memcpy(pages.at(), code.data(), code.size());
    std::memset(pages.at() + code.size(), filler, size - code.size());
    if (::mprotect(pages.at(), size, PROT_READ | PROT_EXEC) != 0) return refused("making memory executable", errno);
    Chunk chunk;
    chunk.executable = std::move(pages);
    chunks.push_back(std::move(chunk));
    return chunks.back().executable.at();
  }
};

CodeMemory::CodeMemory(Way way) : state_(new State{.way = way}) {}
CodeMemory::~CodeMemory() = default;

std::shared_ptr<CodeMemory> CodeMemory::create(Way way) { return std::shared_ptr<CodeMemory>(new CodeMemory(way)); }

Result<MachineCode> CodeMemory::add(std::span<const u8> code) {
  const std::lock_guard held(state_->lock);
  const u8* place = nullptr;
  if (state_->way != Way::own_pages) {
    state_->look_for_fork();
    auto shared = state_->add_shared(code);
    if (shared) place = *shared;
    if (!shared && (state_->way == Way::two_mappings || shared.error().code == Code::limit))
      return tl::unexpected<Error>(std::move(shared.error()));
  }
  if (place == nullptr) {
    place = SKEP_TRY(state_->add_own_pages(code));
    state_->way = Way::own_pages;  // what the system refused once it will refuse again
  }
  forget_old_instructions(place, code.size());
  state_->used += rounded(code.size(), granule);
  return MachineCode(shared_from_this(), place, code.size());
}

void CodeMemory::release(const u8* bytes, std::size_t size) noexcept {
  const std::lock_guard held(state_->lock);
  auto& chunks = state_->chunks;
  const auto chunk =
      std::find_if(chunks.begin(), chunks.end(), [&](const Chunk& c) { return c.executable.holds(bytes); });
  if (chunk == chunks.end()) return;
  state_->used -= rounded(size, granule);
  if (!chunk->writable) {
    chunks.erase(chunk);
    return;
  }
  const auto at = static_cast<std::size_t>(bytes - chunk->executable.at());
  state_->look_for_fork();
  if (chunk->ours) std::memset(chunk->writable.at() + at, filler, rounded(size, granule));
  chunk->give_back(at, rounded(size, granule));
  if (chunk->empty() && chunks.size() > 1) chunks.erase(chunk);
}

CodeMemory::Usage CodeMemory::usage() const {
  const std::lock_guard held(state_->lock);
  Usage usage{state_->used, 0};
  for (const Chunk& chunk : state_->chunks) usage.mapped_bytes += chunk.executable.size();
  return usage;
}

MachineCode::MachineCode(MachineCode&& other) noexcept
    : pool_(std::move(other.pool_)),
      bytes_(std::exchange(other.bytes_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MachineCode& MachineCode::operator=(MachineCode&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(bytes_, other.bytes_);
  std::swap(size_, other.size_);
  return *this;
}

MachineCode::~MachineCode() {
  if (bytes_ != nullptr) pool_->release(bytes_, size_);
}

}  // namespace skep::vm
