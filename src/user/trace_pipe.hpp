// The trace pipe of the user engine: lines from trace_printk to whoever reads them.
//
// A ring of bytes between programs, which must never wait, and a reader, which may. Writing a line is a short
// copy; a line that does not fit is dropped and counted. As with the kernel's trace_pipe, lines are consumed:
// two readers share them. An eventfd is signalled when the ring stops being empty, so that a busy program pays
// for it once and not with every line.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <skep/backend.hpp>
#include <string_view>

#include "base/fd.hpp"
#include "helper/call.hpp"

namespace skep::user {

class TracePipe final : public helper::TraceSink, public std::enable_shared_from_this<TracePipe> {
 public:
  static constexpr std::size_t default_bytes = 256u << 10;

  /// `bytes`: capacity, a power of two. Errors: io (no eventfd).
  static Result<std::shared_ptr<TracePipe>> create(std::size_t bytes = default_bytes);

  bool line(std::string_view text) noexcept override;
  /// A reader of the lines that wait and of those to come.
  RingReader open();

 private:
  class Reader;
  TracePipe(base::Fd wake, std::size_t bytes);
  void copy_in(u64 at, const void* from, std::size_t size) noexcept;
  void copy_out(u64 at, void* to, std::size_t size) const noexcept;
  std::size_t take_all(const std::function<void(const Record&)>& on_record);
  void signal() const noexcept;

  base::Fd wake_;
  std::size_t mask_;
  std::unique_ptr<std::byte[]> ring_;
  std::atomic_flag writing_ = ATOMIC_FLAG_INIT;  ///< writers take turns; a turn is one copy
  std::atomic<u64> head_{0};                     ///< everything before it has been read
  std::atomic<u64> tail_{0};                     ///< everything before it has been written
  std::atomic<u64> lost_{0};
  std::mutex reading_;  ///< readers take turns
  std::string scratch_;
};

}  // namespace skep::user
