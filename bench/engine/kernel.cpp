// The kernel as an engine: BPF_PROG_LOAD with its statistics, BPF_PROG_TEST_RUN with its own repetition.
//
// The log level that prints only statistics says how long the verifier took; the rest of the load call is
// the JIT, allocation and publishing. What one BPF_PROG_TEST_RUN costs around the repetition is measured and taken
// off; the repetition itself (about 5 ns a run) is measured with an empty program by whoever reports.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <skep/backend.hpp>

#include "base/fd.hpp"
#include "engine/engines.hpp"
#include "kernel/annotations.hpp"
#include "kernel/info.hpp"
#include "kernel/map_create.hpp"
#include "kernel/program_load.hpp"
#include "kernel/syscall.hpp"
#include "kernel/types_image.hpp"

namespace skep::bench {
namespace {

using Clock = std::chrono::steady_clock;

class KernelSubject final : public Subject {
 public:
  explicit KernelSubject(const Sources& sources) : packet_(sources.input->packet), out_(packet_.size() + 256) {}

  Result<void> prepare(const Sources& sources) {
    kernel::KernelTypes kernel({});
    maps_ = SKEP_TRY(kernel::create_maps(*sources.object, {}, -1, kernel, nullptr));
    if (sources.object->btf) {
      auto types = SKEP_TRY(kernel::TypesImage::copy_of(sources.object->btf));
      annotations_ = kernel::annotate(sources.object->programs.at(0), types);
      types_ = SKEP_TRY(kernel::load_types(types.bytes(), nullptr));
    }
    ProgramSpec program = sources.object->programs.at(0);
    SKEP_TRY(kernel::link_references(program, maps_, kernel, sources.object->btf.get()));
    compile_us = 1e9;
    double spent_us = 0;
    for (int load = 0; load < 20 && (load == 0 || spent_us < 200'000); ++load) spent_us += SKEP_TRY(load_once(program));
    code_bytes = SKEP_TRY(kernel::program_info(fd_.get())).bytes_jited;
    start_ns_ = 1e18;
    for (int i = 0; i < 60; ++i) start_ns_ = std::min(start_ns_, SKEP_TRY(Subject::batch_ns(1)));
    // Programs change their input: every engine begins with the same.
    const u32 zero = 0;
    for (std::size_t i = 0; i < maps_.size(); ++i)
      if (is_input(sources.object->maps[i]))
        SKEP_TRY(
            maps_[i]->update(std::as_bytes(std::span(&zero, 1)), std::as_bytes(std::span(sources.input->words)), 0));
    return {};
  }

  Result<u32> run(u32 times) override {
    kernel::uapi::TestRun attr;
    attr.prog_fd = static_cast<u32>(fd_.get());
    attr.data_in = kernel::address_of(packet_.data());
    attr.data_size_in = static_cast<u32>(packet_.size());
    attr.data_out = kernel::address_of(out_.data());
    attr.data_size_out = static_cast<u32>(out_.size());
    attr.repeat = times;
    SKEP_TRY(kernel::bpf_ok(kernel::uapi::Cmd::prog_test_run, attr, "benchmark"));
    return attr.retval;
  }
  Result<double> batch_ns(u32 times) override {
    return std::max(0.0, SKEP_TRY(Subject::batch_ns(times + 1)) - start_ns_);
  }

 private:
  /// Loads it and keeps the fastest load's figures. The microseconds of the call.
  Result<double> load_once(const ProgramSpec& program) {
    constexpr u32 statistics_only = 4;  // BPF_LOG_STATS
    std::string log(64 << 10, '\0');
    kernel::uapi::ProgLoad attr;
    attr.prog_type = static_cast<u32>(program.type);
    attr.insns = kernel::address_of(program.insns.data());
    attr.insn_cnt = static_cast<u32>(program.insns.size());
    attr.license = kernel::address_of("GPL");
    if (types_.get() >= 0) {  // callbacks need their functions' types
      attr.prog_btf_fd = static_cast<u32>(types_.get());
      attr.func_info_rec_size = sizeof(kernel::uapi::FuncInfo);
      attr.func_info = kernel::address_of(annotations_.functions.data());
      attr.func_info_cnt = static_cast<u32>(annotations_.functions.size());
    }
    attr.log_level = statistics_only;
    attr.log_buf = kernel::address_of(log.data());
    attr.log_size = static_cast<u32>(log.size());
    const auto begin = Clock::now();
    const int fd = kernel::bpf(kernel::uapi::Cmd::prog_load, attr);
    const double call_us = std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
    if (fd < 0)
      return fail(Code::rejected, fmt::format("the kernel refuses it ({}): {}", strerrorname_np(-fd), last_line(log)));
    fd_ = base::Fd(fd);
    constexpr std::string_view before = "verification time ";
    const auto at = log.find(before);
    const double verified_us = at == std::string::npos ? 0 : std::strtod(log.c_str() + at + before.size(), nullptr);
    if (call_us - verified_us < compile_us) {
      compile_us = call_us - verified_us;
      verify_us = verified_us;
    }
    return call_us;
  }

  static std::string last_line(std::string log) {
    log.resize(std::min(log.find('\0'), log.size()));
    return log.substr(0, log.find('\n'));
  }

  std::vector<std::shared_ptr<kernel::KernelMap>> maps_;
  kernel::Annotations annotations_;
  base::Fd types_, fd_;
  std::vector<std::byte> packet_, out_;
  double start_ns_ = 0;
};

}  // namespace

Result<Engine> kernel_engine() {
  SKEP_TRY(kernel_backend());  // whether this process may use bpf(2) at all
  return Engine{"kernel", [](const Sources& sources) -> Result<std::unique_ptr<Subject>> {
                  auto subject = std::make_unique<KernelSubject>(sources);
                  SKEP_TRY(subject->prepare(sources));
                  return subject;
                }};
}

}  // namespace skep::bench
