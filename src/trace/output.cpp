// Lines gathered under a lock, written in large pieces.
#include "trace/output.hpp"

#include <cerrno>

namespace skep::trace {
namespace {
constexpr std::size_t write_at_bytes = 64 << 10;
}

void Output::line(std::string_view text) {
  bool much = false;
  {
    std::lock_guard lock(mutex_);
    if (failed_) return;
    gathered_.append(text).push_back('\n');
    much = gathered_.size() >= write_at_bytes;
  }
  if (much) flush();
}

void Output::flush() {
  std::lock_guard lock(mutex_);
  if (gathered_.empty() || failed_) return;
  failed_ = std::fwrite(gathered_.data(), 1, gathered_.size(), to_) != gathered_.size() || std::fflush(to_) != 0;
  if (failed_ && errno == EPIPE) std::clearerr(to_);  // a reader that left is no error
  gathered_.clear();
}

}  // namespace skep::trace
