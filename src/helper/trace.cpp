// Helpers that print: trace_printk, trace_vprintk, snprintf.
//
// A line of the trace pipe:
//            <comm>-<pid>     [cpu] flags  seconds.micros: bpf_trace_printk: text
//               sh-4711    [001] ...21    12.345678: bpf_trace_printk: Hello
// The flags say what the kernel's tracer says of a system-call tracepoint (interrupts on, preemption and migration
// disabled). A newline in the message stays in it; who reads the pipe sees two lines.
// Source: kernel/trace/bpf_trace.c, kernel/trace/trace_output.c; columns compared with a running kernel.
#include <time.h>

#include <cerrno>

#include "helper/bind.hpp"
#include "helper/trace_format.hpp"

namespace skep::helper {

namespace {

constexpr u64 message_bytes = 1024;  // MAX_BPRINTF_BUF
constexpr std::string_view flags_of_a_system_call = "...21";

/// Text in a buffer that is large enough by construction.
class Line {
 public:
  void put(std::string_view text) noexcept {
    std::memcpy(text_ + length_, text.data(), text.size());
    length_ += text.size();
  }
  /// `width` > 0: padded on the left with `fill`; < 0: padded on the right with blanks.
  void put(u64 number, int width, char fill) noexcept {
    char digits[20];
    int count = 0;
    do digits[count++] = static_cast<char>('0' + number % 10);
    while ((number /= 10) != 0);
    for (int i = count; i < width; ++i) text_[length_++] = fill;
    for (int i = count; i > 0; --i) text_[length_++] = digits[i - 1];
    for (int i = count; i < -width; ++i) text_[length_++] = ' ';
  }
  char* rest() noexcept { return text_ + length_; }
  void add(u64 length) noexcept { length_ += length; }
  std::string_view text() const noexcept { return {text_, length_}; }

 private:
  char text_[128 + message_bytes];
  u64 length_ = 0;
};

void put_columns(Call& call, Line& line) noexcept {
  char comm[16] = "<...>";
  u32 tid = 0;
  if (call.task != nullptr) {
    tid = static_cast<u32>(call.task->pid_tgid());
    call.task->comm(comm);
    comm[15] = 0;
    // A name is the task's to choose, and a terminal is what reads the line.
    for (char& c : comm)
      if (c != 0 && (static_cast<u8>(c) < 0x20 || c == 0x7f)) c = '?';
  }
  const std::string_view name(comm);
  for (std::size_t i = name.size(); i < 16; ++i) line.put(" ");
  line.put(name);
  line.put("-");
  line.put(tid, -7, ' ');
  line.put(" [");
  line.put(map::current_cpu(), 3, '0');
  line.put("] ");
  line.put(flags_of_a_system_call);
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  line.put(" ");
  line.put(static_cast<u64>(now.tv_sec), 5, ' ');
  line.put(".");
  line.put(static_cast<u64>(now.tv_nsec) / 1000, 6, '0');
  line.put(": bpf_trace_printk: ");
}

/// The length of the message, or a negative errno and no line.
s64 print_line(Call& call, ReadMem format, std::span<const u64> arguments) noexcept {
  Format message;
  const std::string_view text(reinterpret_cast<const char*>(format.data), format.size);
  if (const s64 error = message.prepare(call, text, arguments); error < 0) return error;
  Line line;
  if (call.trace != nullptr) put_columns(call, line);
  const s64 length = message.print(line.rest(), message_bytes);
  if (call.trace == nullptr) return length;
  line.add(static_cast<u64>(length) < message_bytes ? static_cast<u64>(length) : message_bytes - 1);
  call.trace->line(line.text());  // a line that does not fit is counted by the sink
  return length;
}

/// Arguments as an array in the program's memory; nothing where the size is wrong.
bool arguments_of(const void* data, u32 bytes, u64 (&to)[Format::max_arguments], u32& count) noexcept {
  if (bytes % 8 != 0 || bytes > sizeof to || (bytes > 0 && data == nullptr)) return false;
  if (bytes > 0) std::memcpy(to, data, bytes);
  count = bytes / 8;
  return true;
}

}  // namespace

static s64 trace_printk(Call& call, ReadMem format, u64 first, u64 second, u64 third) noexcept {
  const u64 arguments[] = {first, second, third};
  return print_line(call, format, arguments);
}
SKEP_BIND(trace_printk)

static s64 trace_vprintk(Call& call, ReadMem format, const void* data, u32 bytes) noexcept {
  u64 arguments[Format::max_arguments];
  u32 count = 0;
  if (!arguments_of(data, bytes, arguments, count)) return -EINVAL;
  return print_line(call, format, {arguments, count});
}
SKEP_BIND(trace_vprintk)

/// The format is constant and terminated (the verifier's proof). Returns the length of the whole text with terminator.
static s64 snprintf(Call& call, WriteMem to, const char* format, const void* data, u32 bytes) noexcept {
  u64 arguments[Format::max_arguments];
  u32 count = 0;
  if (!arguments_of(data, bytes, arguments, count)) return -EINVAL;
  Format text;
  if (const s64 error = text.prepare(call, {format, std::strlen(format) + 1}, {arguments, count}); error < 0)
    return error;
  return text.print(reinterpret_cast<char*>(to.data), to.size) + 1;
}
SKEP_BIND(snprintf)

}  // namespace skep::helper
