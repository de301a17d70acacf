// Memory for machine code that is never writable and executable at the same address.
//
// A pool of chunks, each one memory file mapped twice: once for writing, once, elsewhere, for executing. Placing code
// is then a copy and needs no system call, and small programs share pages without any page of running code changing
// its protection. Where the system refuses executable file mappings (vm.memfd_noexec, some sandboxes) each piece
// gets pages of its own that are written first and made executable afterwards; where that is refused too, add() says
// so and the caller interprets. A forked child has the chunks in common with its parent, so after fork(3) neither of
// them writes to those any more: code in them stays as it is, new code goes to new chunks.
// Source: memfd_create(2), mprotect(2), pthread_atfork(3).
#pragma once
#include <memory>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <span>

namespace skep::vm {

class CodeMemory;

/// A piece of executable memory; goes back to its pool when it goes.
class MachineCode {
 public:
  MachineCode() = default;
  MachineCode(MachineCode&& other) noexcept;
  MachineCode& operator=(MachineCode&& other) noexcept;
  ~MachineCode();

  explicit operator bool() const noexcept { return bytes_ != nullptr; }
  const u8* data() const noexcept { return bytes_; }
  std::size_t size() const noexcept { return size_; }
  std::span<const u8> bytes() const noexcept { return {bytes_, size_}; }

 private:
  friend class CodeMemory;
  MachineCode(std::shared_ptr<CodeMemory> pool, const u8* bytes, std::size_t size)
      : pool_(std::move(pool)), bytes_(bytes), size_(size) {}
  std::shared_ptr<CodeMemory> pool_;
  const u8* bytes_ = nullptr;
  std::size_t size_ = 0;
};

/// Thread-safe. Lives as long as the last piece of code in it.
class CodeMemory : public std::enable_shared_from_this<CodeMemory> {
 public:
  /// How code becomes executable. Everything but `automatic` is for tests.
  enum class Way : u8 { automatic, two_mappings, own_pages };

  /// Maps nothing before it is used.
  static std::shared_ptr<CodeMemory> create(Way way = Way::automatic);
  ~CodeMemory();
  CodeMemory(const CodeMemory&) = delete;
  CodeMemory& operator=(const CodeMemory&) = delete;

  /// Copies position-independent code to where it can run, 32-byte aligned.
  /// Errors: permission when the system forbids executable memory; limit when memory is used up.
  Result<MachineCode> add(std::span<const u8> code);

  struct Usage {
    std::size_t used_bytes = 0;    ///< of code, rounded up to its granules
    std::size_t mapped_bytes = 0;  ///< of memory
  };
  Usage usage() const;

 private:
  friend class MachineCode;
  struct State;
  explicit CodeMemory(Way way);
  void release(const u8* bytes, std::size_t size) noexcept;
  std::unique_ptr<State> state_;
};

/// For tests that place and release much code. arm64 is tested under qemu-user, and before QEMU 8.1 that took no notice
/// of code written where its memory is mapped a second time (`ic ivau` did nothing): memory that is used again would
/// run what was in it before.
#if defined(__aarch64__)
inline constexpr auto way_of_tests = CodeMemory::Way::own_pages;
#else
inline constexpr auto way_of_tests = CodeMemory::Way::automatic;
#endif

}  // namespace skep::vm
