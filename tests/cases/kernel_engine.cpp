// Linux as an engine: load the case with bpf(2), run it with BPF_PROG_TEST_RUN.
//
// The test run returns 32 bits, so a case is loaded twice as a subprogram of a small wrapper: once for the low
// half of r0 and once for the high one. (LD_ABS and LD_IND are not allowed in such a subprogram: those cases run
// as they are and are compared by their low half.) Nothing is attached; descriptors close with each case.
// Source: include/uapi/linux/bpf.h.
#include <errno.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/fd.hpp"
#include "catalog/kernel_log.hpp"
#include "engines.hpp"
#include "isa/isa.hpp"
#include "isa/text.hpp"

namespace skep::cases {
namespace {

int bpf(enum bpf_cmd command, union bpf_attr& attr) {
  return static_cast<int>(::syscall(SYS_bpf, command, &attr, sizeof attr));
}
u64 pointer(const void* p) { return reinterpret_cast<u64>(p); }

/// What of r0 the wrapper returns.
enum class Half { low, high };

struct Loaded {
  base::Fd fd;
  std::string log;
  int error = 0;
};

/// A program that calls `insns` as its subprogram and returns one half of what it returns.
std::vector<Insn> wrapped(const std::vector<Insn>& insns, Half half) {
  auto out = isa::assemble(half == Half::high ? "call pc+2\nr0 >>= 32\nexit\n" : "call pc+2\nr0 = r0\nexit\n").value();
  out.insert(out.end(), insns.begin(), insns.end());
  return out;
}

bool loads_packets(const std::vector<Insn>& insns) {
  return std::any_of(insns.begin(), insns.end(), [](const Insn& insn) {
    const auto op = isa::decode(insn);
    return op && (isa::row(*op).form == isa::Form::ld_abs || isa::row(*op).form == isa::Form::ld_ind);
  });
}

Loaded load(const std::vector<Insn>& insns, ProgramType type) {
  Loaded loaded;
  std::string log(1 << 18, '\0');
  for (const u32 level : {0u, 1u}) {  // a second time with the log only when the first was refused
    union bpf_attr attr{};
    attr.prog_type = static_cast<u32>(type);
    attr.insns = pointer(insns.data());
    attr.insn_cnt = static_cast<u32>(insns.size());
    attr.license = pointer("GPL");
    if (level != 0) {
      attr.log_level = level;
      attr.log_buf = pointer(log.data());
      attr.log_size = static_cast<u32>(log.size());
    }
    loaded.fd = base::Fd(bpf(BPF_PROG_LOAD, attr));
    if (loaded.fd) return loaded;
    loaded.error = errno;
  }
  loaded.log = catalog::reason_in_kernel_log(log.c_str());
  return loaded;
}

Result<base::Fd> create_map(const MapSpec& map) {
  union bpf_attr attr{};
  attr.map_type = static_cast<u32>(map.type);
  attr.key_size = map.key_size;
  attr.value_size = map.value_size;
  attr.max_entries = map.max_entries;
  base::Fd fd(bpf(BPF_MAP_CREATE, attr));
  if (!fd) return tl::unexpected<Error>(base::os_error("creating a map"));
  if (!map.is_global_data) return fd;
  const u32 key = 0;
  attr = {};
  attr.map_fd = static_cast<u32>(fd.get());
  attr.key = pointer(&key);
  attr.value = pointer(map.initial_value.data());
  if (bpf(BPF_MAP_UPDATE_ELEM, attr) != 0) return tl::unexpected<Error>(base::os_error("filling a map"));
  return fd;
}

Result<u32> test_run(const base::Fd& program, const std::vector<std::byte>& packet) {
  union bpf_attr attr{};
  attr.test.prog_fd = static_cast<u32>(program.get());
  attr.test.data_in = pointer(packet.data());
  attr.test.data_size_in = static_cast<u32>(packet.size());
  attr.test.repeat = 1;
  if (bpf(BPF_PROG_TEST_RUN, attr) != 0) return tl::unexpected<Error>(base::os_error("BPF_PROG_TEST_RUN"));
  return attr.test.retval;
}

class Kernel final : public Engine {
 public:
  std::string_view name() const override { return "kernel"; }

  Result<void> supported() const override {
    // XDP, because an unprivileged user may load socket filters where the system allows it, under stricter rules.
    const auto probe = [](std::string_view text) { return load(isa::assemble(text).value(), ProgramType::xdp); };
    // Any other error is not a lack of capability: the cases then fail and show it.
    if (const auto plain = probe("r0 = 0\nexit"); !plain.fd && (plain.error == EPERM || plain.error == ENOSYS))
      return fail(Code::permission, fmt::format("loading a program: {} (CAP_BPF and CAP_NET_ADMIN are needed)",
                                                std::strerror(plain.error)));
    if (!probe("r0 = 7\nr0 s/= 2\nr0 = (s8)r0\nr0 = bswap16 r0\ngotol +0\nexit").fd)
      return fail(Code::unsupported, "this kernel lacks the newer instructions of RFC 9669 (Linux 6.6)");
    return {};
  }

  Result<Outcome> run(const Case& c) const override {
    if (const auto old = older_than(c.kernel)) return fail(Code::unsupported, *old);
    u64 result = 0;
    for (const Half half : {Half::low, Half::high}) {
      // Fresh maps for every run: a case may write to them.
      std::vector<base::Fd> maps;
      for (const MapSpec& map : c.maps) maps.push_back(SKEP_TRY(create_map(map)));
      const auto insns = SKEP_TRY(assembled(c, maps));
      const bool alone = loads_packets(insns);
      const auto loaded = load(alone ? insns : wrapped(insns, half), c.type);
      if (!loaded.fd && !c.expects_rejection)
        return fail(Code::rejected, fmt::format("refused: {} ({})", loaded.log, std::strerror(loaded.error)));
      if (!loaded.fd) return Outcome{true, loaded.log, 0};
      if (alone) return Outcome{false, "", SKEP_TRY(test_run(loaded.fd, c.packet)), true};
      const u64 part = SKEP_TRY(test_run(loaded.fd, c.packet));
      result |= half == Half::high ? part << 32 : part;
    }
    return Outcome{false, "", result};
  }

 private:
  static Result<std::vector<Insn>> assembled(const Case& c, const std::vector<base::Fd>& maps) {
    auto assembly = SKEP_TRY(isa::parse(c.assembly, helper_names()));
    for (const auto& map : assembly.maps)
      for (std::size_t i = 0; i < c.maps.size(); i++)
        if (c.maps[i].name == map.name) assembly.insns[map.insn].imm = maps[i].get();
    return std::move(assembly.insns);
  }

  static std::optional<std::string> older_than(std::pair<int, int> wanted) {
    utsname machine{};
    std::pair<int, int> version{0, 0};
    if (::uname(&machine) != 0 || std::sscanf(machine.release, "%d.%d", &version.first, &version.second) != 2)
      return "the kernel's version is unknown";
    if (version >= wanted) return std::nullopt;
    return fmt::format("Linux {}.{} is needed, this is {}", wanted.first, wanted.second, machine.release);
  }
};

}  // namespace

std::unique_ptr<Engine> kernel() { return std::make_unique<Kernel>(); }

}  // namespace skep::cases
