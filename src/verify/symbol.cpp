// Addresses of the kernel's variables and functions (`extern ... __ksym`).
//
// A variable is an object of its structure, one of each CPU where it lies in the kernel's per-CPU section, or bytes
// that may be read. A function's address is only compared with 0, which tells whether this kernel has it
// (bpf_ksym_exists()). What the kernel does not have is 0 where the declaration is weak, so what is behind the
// comparison is never run.
// Source: Linux 6.18, check_pseudo_btf_id; libbpf's resolution of EXT_KSYM.
#include <algorithm>

#include "btf/btf.hpp"
#include "verify/checker.hpp"

namespace skep::verify {

using catalog::MessageId;

namespace {
constexpr std::string_view percpu_section = ".data..percpu";

bool is_of_each_cpu(const btf::Btf& types, u32 variable) {
  const auto section = types.find(percpu_section, btf::Kind::datasec);
  return section && std::ranges::any_of(types.section_vars(types.type(*section)),
                                        [variable](const btf::SecVar& v) { return v.type_id == variable; });
}
}  // namespace

bool Checker::load_kernel_symbol(const Reference& reference) {
  const btf::Btf* types = options_.kernel_types.get();
  if (types == nullptr || !is_kernel()) return refuse(MessageId::unsupported_kernel_symbol, reference.name);
  const std::string_view symbol = btf::essential_name(reference.name);
  Register& dst = reg(insn().dst);
  if (const auto id = types->find(symbol, btf::Kind::var)) {
    const u32 type_id = types->resolve(types->type(*id).type_id());
    const btf::Type type = types->type(type_id);
    const bool of_each_cpu = is_of_each_cpu(*types, *id);
    if (of_each_cpu || btf::is_composite(type.kind)) {
      dst = Register::pointer(Kind::object);
      dst.object = type_index(types, type_id, type.name);
      dst.trust = of_each_cpu ? Trust::percpu : Trust::plain;
      return true;
    }
    const auto size = types->size_of(type_id);
    if (!size || *size > ~u32{0}) return refuse(MessageId::unsupported_kernel_symbol, reference.name);
    dst = Register::pointer(Kind::memory);
    dst.extent = static_cast<u32>(*size);
    dst.read_only = true;
    return true;
  }
  if (types->find(symbol, btf::Kind::func)) {
    dst = Register::pointer(Kind::memory);
    dst.read_only = true;
    return true;
  }
  if (!reference.weak) return refuse(MessageId::no_kernel_symbol, reference.name);
  dst = Register::constant(0);
  return true;
}

}  // namespace skep::verify
