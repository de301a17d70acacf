// Numbers become segments (start, verdict) that cover all of u32; segments become a balanced tree.
#include "hook/syscall_filter.hpp"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>

namespace skep::hook {
namespace {

using Insns = std::vector<sock_filter>;

constexpr u32 offset_nr = offsetof(seccomp_data, nr);
constexpr u32 offset_arch = offsetof(seccomp_data, arch);
constexpr u32 offset_arg0 = offsetof(seccomp_data, args);  // little endian: the low half

sock_filter load(u32 offset) { return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset); }
sock_filter give(u32 value) { return BPF_STMT(BPF_RET | BPF_K, value); }
sock_filter jump(u16 op, u32 value, u8 yes, u8 no) {
  return sock_filter{static_cast<u16>(BPF_JMP | op | BPF_K), yes, no, value};
}

/// What happens to a number: a filter action, or one of those that look at an argument.
enum class Verdict : u8 { allow, stop, socketcall, clone, code_mapping };

struct Segment {
  u32 start;
  Verdict verdict;
};

struct Point {
  u32 number;
  Verdict verdict;
};

/// Sorted points become segments: everything between points is allowed.
std::vector<Segment> segments_of(std::vector<Point> points) {
  std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) { return a.number < b.number; });
  std::vector<Segment> segments{{0, Verdict::allow}};
  auto put = [&](u32 start, Verdict verdict) {
    if (segments.back().start == start)
      segments.back().verdict = verdict;
    else if (segments.back().verdict != verdict)
      segments.push_back({start, verdict});
    // A segment that was overwritten may now equal the one before it.
    if (segments.size() > 1 && segments[segments.size() - 2].verdict == segments.back().verdict) segments.pop_back();
  };
  for (const Point& point : points) {
    put(point.number, point.verdict);
    put(point.number + 1, Verdict::allow);
  }
  return segments;
}

class Builder {
 public:
  Builder(const SyscallInterest& interest, u32 action, bool catch_untraced)
      : interest_(interest), action_(action), catch_untraced_(catch_untraced) {}

  Insns build() const {
    if (interest_.all_enter || interest_.all_exit) return {give(action_)};
    const Insns native = tree(segments_of(native_points()));
    const Insns compat = tree(segments_of(i386_points()));
    Insns code{load(offset_arch)};
    branch(code, AUDIT_ARCH_X86_64, native);
    branch(code, AUDIT_ARCH_I386, compat);
    code.push_back(give(SECCOMP_RET_ALLOW));  // an ABI this kernel has and we do not know
    return code;
  }

 private:
  bool wants(u32 number) const { return interest_.enter[number] || interest_.exit[number]; }

  std::vector<Point> native_points() const {
    std::vector<Point> points;
    for (u32 number = 0; number < catalog::syscall_limit; ++number)
      if (wants(number)) points.push_back({number, Verdict::stop});
    for (const catalog::NumberPair& pair : catalog::x32_numbers())
      if (wants(pair.x86_64)) points.push_back({pair.own | catalog::x32_bit, Verdict::stop});
    if (catch_untraced_ && !wants(SYS_clone)) {
      points.push_back({SYS_clone, Verdict::clone});
      points.push_back({SYS_clone | catalog::x32_bit, Verdict::clone});
    }
    if (!interest_.probes.empty() && !wants(SYS_mmap)) {
      points.push_back({SYS_mmap, Verdict::code_mapping});
      points.push_back({SYS_mmap | catalog::x32_bit, Verdict::code_mapping});
    }
    return points;
  }

  std::vector<Point> i386_points() const {
    std::vector<Point> points;
    for (const catalog::NumberPair& pair : catalog::i386_numbers()) {
      if (wants(pair.x86_64))
        points.push_back({pair.own, Verdict::stop});
      else if (catch_untraced_ && pair.x86_64 == SYS_clone)
        points.push_back({pair.own, Verdict::clone});
      else if (!interest_.probes.empty() && pair.x86_64 == SYS_mmap)
        points.push_back({pair.own, Verdict::code_mapping});
    }
    const auto sockets = catalog::socketcall_numbers();
    if (std::any_of(sockets.begin(), sockets.end(),
                    [&](const catalog::NumberPair& pair) { return wants(pair.x86_64); }))
      points.push_back({catalog::i386_socketcall, Verdict::socketcall});
    return points;
  }

  Insns leaf(Verdict verdict) const {
    switch (verdict) {
      case Verdict::allow:
        return {give(SECCOMP_RET_ALLOW)};
      case Verdict::stop:
        return {give(action_)};
      case Verdict::clone:
        return {load(offset_arg0), jump(BPF_JSET, CLONE_UNTRACED, 0, 1), give(action_), give(SECCOMP_RET_ALLOW)};
      case Verdict::code_mapping:
        if (!interest_.has_semaphores())
          return {load(offset_arg0 + 2 * sizeof(u64)), jump(BPF_JSET, PROT_EXEC, 0, 1), give(action_),
                  give(SECCOMP_RET_ALLOW)};
        return {load(offset_arg0 + 2 * sizeof(u64)),
                jump(BPF_JSET, PROT_EXEC, 3, 0),
                jump(BPF_JSET, PROT_WRITE, 0, 3),
                load(offset_arg0 + 3 * sizeof(u64)),
                jump(BPF_JSET, MAP_ANONYMOUS, 1, 0),
                give(action_),
                give(SECCOMP_RET_ALLOW)};
      case Verdict::socketcall: {
        Insns code{load(offset_arg0)};
        for (const catalog::NumberPair& pair : catalog::socketcall_numbers()) {
          if (!wants(pair.x86_64)) continue;
          code.push_back(jump(BPF_JEQ, pair.own, 0, 1));
          code.push_back(give(action_));
        }
        code.push_back(give(SECCOMP_RET_ALLOW));
        return code;
      }
    }
    return {};
  }

  /// Loads the number and decides it: one comparison per level.
  Insns tree(const std::vector<Segment>& segments) const {
    Insns code{load(offset_nr)};
    const Insns body = subtree(segments);
    code.insert(code.end(), body.begin(), body.end());
    return code;
  }

  Insns subtree(std::span<const Segment> segments) const {
    if (segments.size() == 1) return leaf(segments[0].verdict);
    const std::size_t middle = segments.size() / 2;
    const Insns low = subtree(segments.first(middle));
    const Insns high = subtree(segments.subspan(middle));
    Insns code;
    if (low.size() <= 255) {
      code.push_back(jump(BPF_JGE, segments[middle].start, static_cast<u8>(low.size()), 0));
    } else {  // a conditional jump reaches 255 instructions, an unconditional one any number
      code.push_back(jump(BPF_JGE, segments[middle].start, 0, 1));
      code.push_back(BPF_STMT(BPF_JMP | BPF_JA, static_cast<u32>(low.size())));
    }
    code.insert(code.end(), low.begin(), low.end());
    code.insert(code.end(), high.begin(), high.end());
    return code;
  }

  /// `if (arch == value) body`, with the architecture in the accumulator.
  static void branch(Insns& code, u32 value, const Insns& body) {
    code.push_back(jump(BPF_JEQ, value, 1, 0));
    code.push_back(BPF_STMT(BPF_JMP | BPF_JA, static_cast<u32>(body.size())));
    code.insert(code.end(), body.begin(), body.end());
  }

  const SyscallInterest& interest_;
  u32 action_;
  bool catch_untraced_;
};

}  // namespace

Result<std::vector<sock_filter>> syscall_filter(const SyscallInterest& interest, u32 action, bool catch_untraced) {
  Insns code = Builder(interest, action, catch_untraced).build();
  if (code.size() > BPF_MAXINSNS)
    return fail(Code::limit, "seccomp filter: " + std::to_string(code.size()) + " instructions, the kernel takes " +
                                 std::to_string(BPF_MAXINSNS));
  return code;
}

}  // namespace skep::hook
