// Splits what trace_pipe gives into the lines of bpf_trace_printk(). See trace_pipe.cpp.
#pragma once
#include <functional>
#include <skep/types.hpp>
#include <string>
#include <string_view>

namespace skep::kernel {

class TraceLines {
 public:
  /// Takes the next bytes of the pipe and hands out every complete line of ours, without its newline.
  void feed(std::string_view text, const std::function<void(std::string_view)>& on_line);
  /// Events the kernel says it dropped.
  u64 lost() const noexcept { return lost_; }

 private:
  static constexpr std::size_t longest_line = 1u << 16;
  void line(std::string_view text, const std::function<void(std::string_view)>& on_line);
  static bool starts_event(std::string_view text);

  std::string pending_;
  bool ours_ = false;
  u64 lost_ = 0;
};

}  // namespace skep::kernel
