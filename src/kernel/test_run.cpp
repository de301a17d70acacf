// BPF_PROG_TEST_RUN and what each program type lets it give. See test_run.hpp.
#include "kernel/test_run.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>

#include "kernel/syscall.hpp"

namespace skep::kernel {

Result<TestRunResult> test_run(int program_fd, ProgramType type, std::string_view name, const TestRun& run) {
  TestRunResult result;
  constexpr std::size_t room_for_growth = 16384;  // programs may move the packet's ends: an skb to 16064 bytes
  result.data.resize(run.data.empty() ? 0 : run.data.size() + room_for_growth);
  result.context.resize(run.context.size());
  uapi::TestRun attr;
  attr.prog_fd = static_cast<u32>(program_fd);
  attr.data_in = address_of(run.data.data());
  attr.data_size_in = static_cast<u32>(run.data.size());
  attr.data_out = address_of(result.data.data());
  attr.data_size_out = static_cast<u32>(result.data.size());
  // A syscall program changes its context in place, and is run once.
  const bool is_syscall = type == ProgramType::syscall;
  if (is_syscall) result.context.assign(run.context.begin(), run.context.end());
  attr.ctx_in = address_of(is_syscall ? result.context.data() : run.context.data());
  attr.ctx_size_in = static_cast<u32>(run.context.size());
  const bool context_comes_back = type != ProgramType::raw_tracepoint && type != ProgramType::tracing && !is_syscall;
  if (context_comes_back) {
    attr.ctx_out = address_of(result.context.data());
    attr.ctx_size_out = static_cast<u32>(result.context.size());
  }
  if (context_comes_back) attr.repeat = run.repeat;
  const int status = bpf(uapi::Cmd::prog_test_run, attr);
  constexpr int enotsupp = 524;
  if (status == -EOPNOTSUPP || status == -enotsupp)
    return fail(Code::unsupported,
                fmt::format("program {}: this kernel has no test run for {} programs; the user engine may have", name,
                            name_of(type)),
                -status);
  constexpr std::size_t ethernet_bytes = 14;
  if (status == -EINVAL && type == ProgramType::sk_lookup)
    return fail(Code::invalid_argument,
                fmt::format("program {}: the kernel expects a struct bpf_sk_lookup with the addresses of both ends and "
                            "no packet",
                            name),
                EINVAL);
  if (status == -EINVAL && run.context.empty() && run.data.size() < ethernet_bytes)
    return fail(Code::invalid_argument,
                fmt::format("program {}: the packet has {} bytes, the kernel expects at least {} (its headers)", name,
                            run.data.size(), ethernet_bytes),
                EINVAL);
  if (status < 0) return tl::unexpected(bpf_error(uapi::Cmd::prog_test_run, fmt::format("program {}", name), -status));
  result.result = attr.retval;
  result.duration_ns = attr.duration;
  result.data.resize(std::min<std::size_t>(attr.data_size_out, result.data.size()));
  if (context_comes_back) result.context.resize(std::min<std::size_t>(attr.ctx_size_out, result.context.size()));
  return result;
}

}  // namespace skep::kernel
