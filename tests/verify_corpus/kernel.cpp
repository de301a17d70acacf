// bpf(2) for verdicts only. See kernel.hpp.
#include "kernel.hpp"

#include <fmt/format.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "catalog/kernel_log.hpp"

namespace skep::corpus {
namespace {

int bpf(bpf_cmd command, bpf_attr& attr) { return static_cast<int>(::syscall(SYS_bpf, command, &attr, sizeof attr)); }
u64 address(const void* p) { return reinterpret_cast<u64>(p); }

bpf_attr load_of(const ProgramSpec& program, const std::vector<Insn>& insns) {
  bpf_attr attr{};
  attr.prog_type = static_cast<u32>(program.type);
  attr.insns = address(insns.data());
  attr.insn_cnt = static_cast<u32>(insns.size());
  attr.license = address("GPL");
  if (program.attach.attach_type() != AttachType::none)
    attr.expected_attach_type = static_cast<u32>(program.attach.attach_type());
  return attr;
}

}  // namespace

int Kernel::map_fd(const MapSpec& spec) {
  if (spec.btf_value_type_id != 0 || spec.inner != nullptr || spec.type == MapType::unspec) return -1;
  const std::string key = fmt::format("{} {} {} {} {}", static_cast<u32>(spec.type), spec.key_size, spec.value_size,
                                      spec.max_entries, spec.flags);
  if (const auto known = maps_.find(key); known != maps_.end()) return known->second.get();
  bpf_attr attr{};
  attr.map_type = static_cast<u32>(spec.type);
  attr.key_size = spec.key_size;
  attr.value_size = spec.value_size;
  attr.max_entries = spec.max_entries;
  attr.map_flags = spec.flags;
  return (maps_[key] = base::Fd(bpf(BPF_MAP_CREATE, attr))).get();
}

bool Kernel::is_open() {
  ProgramSpec trivial;
  trivial.type = ProgramType::socket_filter;
  trivial.insns.resize(2);
  trivial.insns[0].code = 0xb7;
  trivial.insns[1].code = 0x95;
  return refusal({}, trivial) == "";
}

std::optional<std::vector<Insn>> Kernel::linked(const ObjectSpec& object, const ProgramSpec& program) {
  if (program.sleepable) return std::nullopt;
  std::vector<Insn> insns = program.insns;
  for (const Insn& insn : insns)
    if (insn.code == 0x18 && insn.src == BPF_PSEUDO_FUNC) return std::nullopt;
  for (const Reference& reference : program.references) {
    const bool is_map = reference.kind == Reference::Kind::map || reference.kind == Reference::Kind::map_value;
    const int fd = is_map ? map_fd(object.maps[reference.map]) : -1;
    if (fd < 0) return std::nullopt;
    insns[reference.insn].imm = fd;
  }
  return insns;
}

std::optional<bool> Kernel::accepts(const ObjectSpec& object, const ProgramSpec& program) {
  const auto insns = linked(object, program);
  if (!insns) return std::nullopt;
  bpf_attr attr = load_of(program, *insns);
  return base::Fd(bpf(BPF_PROG_LOAD, attr)).get() >= 0;
}

std::optional<std::string> Kernel::refusal(const ObjectSpec& object, const ProgramSpec& program) {
  const auto insns = linked(object, program);
  if (!insns) return std::nullopt;
  bpf_attr attr = load_of(program, *insns);
  if (base::Fd(bpf(BPF_PROG_LOAD, attr)).get() >= 0) return "";
  std::string log(1 << 16, '\0');
  attr.log_level = 1;
  attr.log_buf = address(log.data());
  attr.log_size = static_cast<u32>(log.size());
  if (base::Fd(bpf(BPF_PROG_LOAD, attr)).get() >= 0) return "";
  log.resize(std::strlen(log.c_str()));
  if (log.empty()) return std::nullopt;
  return std::string(catalog::reason_in_kernel_log(log));
}

}  // namespace skep::corpus
