// Linking a program's references and loading it.
//
// The first attempt asks for no log, since writing it costs as much as verifying. Only a refused program is tried
// again with one, in a buffer that grows until the log fits.
#include "kernel/program_load.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "btf/btf.hpp"
#include "catalog/helpers.hpp"
#include "catalog/versions.hpp"
#include "isa/isa.hpp"
#include "kernel/access.hpp"
#include "kernel/features.hpp"
#include "kernel/syscall.hpp"
#include "kernel/verifier_log.hpp"
#include "spec/resolve.hpp"

namespace skep::kernel {

namespace {

constexpr u8 imm64_src_btf_id = isa::imm64_src_btf_id;
constexpr std::size_t first_log_bytes = 1u << 20, most_log_bytes = 256u << 20;

void set_wide(ProgramSpec& program, u32 at, u8 source, u64 value) {
  program.insns[at].src = source;
  program.insns[at].imm = static_cast<s32>(value);
  program.insns[at + 1].imm = static_cast<s32>(value >> 32);
}

/// The modules a program means: its instructions hold their places here, from 1 on, or their descriptors.
class Modules {
 public:
  Result<std::size_t> place_of(const std::string& name) {
    const auto known = std::ranges::find(names_, name);
    if (known != names_.end()) return static_cast<std::size_t>(known - names_.begin()) + 1;
    opened.push_back(SKEP_TRY(open_module_types(name)));
    names_.push_back(name);
    return names_.size();
  }
  std::vector<base::Fd> opened;

 private:
  std::vector<std::string> names_;
};

/// What is behind "___" tells declarations apart that mean one function of different kernels: those that are not as
/// this kernel has it are as if they were not there.
bool is_as_declared(KernelTypes& kernel, const KernelType& function, const btf::Btf* declared, u32 declaration) {
  return declared == nullptr || kernel.is_declared_so(function, *declared, declaration);
}

Error other_declaration(const ProgramSpec& program, const Reference& reference) {
  return {
      Code::unsupported,
      fmt::format("program {}: kernel function {}(): the program declares it with other parameters, or another "
                  "result, than this kernel's has (`skep btf dump vmlinux format c` shows it); where kernels differ, "
                  "declare each as {}___v1() ... with __weak, and ask bpf_ksym_exists()",
                  program.name, reference.name, btf::essential_name(reference.name))};
}

Result<void> link_symbol(ProgramSpec& program, const Reference& reference, KernelTypes& kernel, Modules& modules,
                         const std::map<std::string, u64, std::less<>>& addresses, const btf::Btf* declared) {
  if (reference.type_id != 0) {
    const auto type = kernel.symbol(btf::essential_name(reference.name));
    const bool fits = !type || is_as_declared(kernel, *type, declared, reference.type_id);
    if (!fits && !reference.weak) return tl::unexpected(other_declaration(program, reference));
    if (type && fits) {
      u64 owner = 0;
      if (!type->module.empty())
        owner = static_cast<u32>(modules.opened[SKEP_TRY(modules.place_of(type->module)) - 1].get());
      set_wide(program, reference.insn, imm64_src_btf_id, owner << 32 | type->id);
      return {};
    }
  } else if (const auto at = addresses.find(reference.name); at != addresses.end()) {
    set_wide(program, reference.insn, isa::imm64_src_number, at->second);
    return {};
  }
  if (!reference.weak)
    return fail(
        Code::not_found,
        fmt::format("program {}: this kernel has no symbol \"{}\"{}; declare it __weak if the program can do without",
                    program.name, reference.name,
                    reference.type_id != 0 ? " in its types"
                                           : " in /proc/kallsyms (or hides its address, sysctl kernel.kptr_restrict)"));
  set_wide(program, reference.insn, isa::imm64_src_number, 0);
  return {};
}

Result<void> link_kfunc(ProgramSpec& program, const Reference& reference, KernelTypes& kernel, Modules& modules,
                        const btf::Btf* declared) {
  Insn& insn = program.insns[reference.insn];
  const auto function = kernel.any_function(btf::essential_name(reference.name));
  const bool fits = !function || is_as_declared(kernel, *function, declared, reference.type_id);
  if (!fits && !reference.weak) return tl::unexpected(other_declaration(program, reference));
  if (function && fits) {
    insn.src = isa::call_src_kfunc;
    insn.off = 0;
    if (!function->module.empty()) insn.off = static_cast<s16>(SKEP_TRY(modules.place_of(function->module)));
    insn.imm = static_cast<s32>(function->id);
    return {};
  }
  if (!reference.weak)
    return tl::unexpected(
        Error(function.error()).within(fmt::format("program {}: kernel function {}()", program.name, reference.name)));
  insn.src = isa::call_src_helper;
  insn.imm = missing_kfunc;
  return {};
}

Result<int> fd_of(const ProgramSpec& program, const Reference& reference,
                  std::span<const std::shared_ptr<KernelMap>> maps) {
  if (reference.map >= maps.size())
    return fail(Code::malformed, fmt::format("program {}: instruction {} refers to map {} of {}", program.name,
                                             reference.insn, reference.map, maps.size()));
  return maps[reference.map]->fd();
}

uapi::ProgLoad attributes(const LoadRequest& request) {
  const ProgramSpec& program = *request.program;
  uapi::ProgLoad attr;
  attr.prog_type = static_cast<u32>(program.type);
  const AttachType expected = program.attach.attach_type();
  if (expected != AttachType::none) attr.expected_attach_type = static_cast<u32>(expected);
  if (request.attach_as) attr.expected_attach_type = *request.attach_as;
  attr.insns = address_of(program.insns.data());
  attr.insn_cnt = static_cast<u32>(program.insns.size());
  attr.kern_version = request.kernel_version;
  attr.prog_flags = program.sleepable ? uapi::prog_flag_sleepable : 0;
  if (name_of(program.attach.kind).starts_with("xdp.frags")) attr.prog_flags |= uapi::prog_flag_xdp_frags;
  show_token(request.token, attr.prog_flags, attr.prog_token_fd);
  set_object_name(attr.prog_name, program.name);
  attr.attach_btf_id = request.attach_btf_id;
  if (request.attach_owner >= 0) attr.attach_prog_fd = static_cast<u32>(request.attach_owner);
  if (request.btf_fd >= 0 && request.annotations != nullptr) {
    const Annotations& notes = *request.annotations;
    attr.prog_btf_fd = static_cast<u32>(request.btf_fd);
    attr.func_info_rec_size = sizeof(uapi::FuncInfo);
    attr.func_info = address_of(notes.functions.data());
    attr.func_info_cnt = static_cast<u32>(notes.functions.size());
    attr.line_info_rec_size = sizeof(uapi::LineInfo);
    attr.line_info = address_of(notes.lines.data());
    attr.line_info_cnt = static_cast<u32>(notes.lines.size());
  }
  return attr;
}

/// Loads with a log. Returns the descriptor or -errno.
int load_with_log(uapi::ProgLoad attr, u32 level, std::string& log) {
  for (std::size_t bytes = first_log_bytes;; bytes *= 4) {
    log.assign(bytes, '\0');
    attr.log_buf = address_of(log.data());
    attr.log_size = static_cast<u32>(bytes);
    attr.log_level = level;
    const int fd = bpf(uapi::Cmd::prog_load, attr);
    if (fd == -ENOSPC && bytes < most_log_bytes) continue;
    log.resize(std::min(log.find('\0'), log.size()));
    return fd;
  }
}

bool needs_trampoline(ProgramType type) {
  return type == ProgramType::tracing || type == ProgramType::lsm || type == ProgramType::ext;
}

/// The number of a helper that the log says this kernel does not have at all, or 0.
u32 unknown_helper(std::string_view log) {
  constexpr std::string_view words = " func unknown#";
  const auto at = log.rfind(words);
  u32 id = 0;
  if (at != log.npos) std::from_chars(log.data() + at + words.size(), log.data() + log.size(), id);
  return id;
}

/// A program array takes programs of one kind; the kernel refuses another one without a word.
std::string_view doubt_about_arrays(const ProgramSpec& program) {
  const bool makes_tail_calls = std::ranges::any_of(program.insns, [](const auto& insn) {
    return insn.code == isa::code_call && insn.src == isa::call_src_helper && insn.imm == isa::helper_tail_call;
  });
  return makes_tail_calls
             ? ", or its program array holds programs of another kind (what another hook carries is of that "
               "hook's kind: load what it calls as such a program)"
             : "";
}

Error refusal(const LoadRequest& request, const std::string& log, int error_number) {
  const ProgramSpec& program = *request.program;
  const std::string place = fmt::format("program {}", program.name);
  if (const auto* const helper = catalog::helper(unknown_helper(log));
      helper != nullptr && helper->id != catalog::HelperId::unspec)
    return Error{Code::unsupported,
                 fmt::format("{}: this kernel has no helper bpf_{}, which came with Linux {}: {}", place, helper->name,
                             catalog::text_of(catalog::helper_since(static_cast<u32>(helper->id))),
                             explain_rejection(log, program)),
                 error_number};
  if (unknown_helper(log) == static_cast<u32>(spec::poison_helper))
    return Error{
        Code::rejected,
        fmt::format("{}: a CO-RE relocation found no such type, field or value in this kernel: guard what may be "
                    "absent with bpf_core_field_exists() or bpf_core_type_exists(); {}",
                    place, explain_rejection(log, program)),
        error_number};
  // What the kernel does not know it refuses before it looks at an instruction; the log then holds numbers only.
  const bool was_looked_at = error_number != EINVAL || !read_refusal(log).reason.empty();
  if (!log.empty() && was_looked_at)
    return Error{Code::rejected, fmt::format("{}: {}", place, explain_rejection(log, program)), error_number};
  if (error_number == EPERM && request.token != nullptr)
    return refused(uapi::Cmd::prog_load, place, error_number, request.token, {}, &program);
  if (needs_trampoline(program.type) && error_number == EPERM && capabilities().may_trace())
    return Error{Code::unsupported,
                 fmt::format("{}: this kernel refuses {} programs although the process has the capabilities (its "
                             "configuration or a security policy forbids "
                             "BPF trampolines). tp_btf, raw_tracepoint and tracepoint work without them; for a system "
                             "call use ksyscall/NAME",
                             place, name_of(program.attach.kind)),
                 error_number};
  if (error_number == EINVAL)
    return Error{Code::unsupported,
                 fmt::format("{}: this kernel does not load {} programs attached to \"{}\" (Invalid argument, and no "
                             "reason in the log): the program type, the attach "
                             "type or one of its flags is not known to it{}",
                             place, name_of(program.type), program.attach.text(), doubt_about_arrays(program)),
                 error_number};
  return bpf_error(uapi::Cmd::prog_load, place, error_number, needed_by(program.type));
}

}  // namespace

Result<std::vector<base::Fd>> link_references(ProgramSpec& program, std::span<const std::shared_ptr<KernelMap>> maps,
                                              KernelTypes& kernel, const btf::Btf* declared) {
  std::set<std::string, std::less<>> wanted;
  for (const Reference& reference : program.references)
    if (reference.kind == Reference::Kind::ksym && reference.type_id == 0) wanted.insert(reference.name);
  const auto addresses = wanted.empty() ? std::map<std::string, u64, std::less<>>() : kernel.addresses(wanted);
  Modules modules;
  for (const Reference& reference : program.references) {
    const bool wide = reference.kind != Reference::Kind::kfunc;
    if (reference.insn + (wide ? 1u : 0u) >= program.insns.size())
      return fail(Code::malformed, fmt::format("program {}: a reference at instruction {} of {}", program.name,
                                               reference.insn, program.insns.size()));
    switch (reference.kind) {
      case Reference::Kind::map:
        set_wide(program, reference.insn, isa::imm64_src_map_fd,
                 static_cast<u32>(SKEP_TRY(fd_of(program, reference, maps))));
        break;
      case Reference::Kind::map_value:
      case Reference::Kind::kconfig:  // a place in the object's .kconfig map
        set_wide(program, reference.insn, isa::imm64_src_map_value,
                 u64{reference.addend} << 32 | static_cast<u32>(SKEP_TRY(fd_of(program, reference, maps))));
        break;
      case Reference::Kind::ksym:
        SKEP_TRY(link_symbol(program, reference, kernel, modules, addresses, declared));
        break;
      case Reference::Kind::kfunc:
        SKEP_TRY(link_kfunc(program, reference, kernel, modules, declared));
        break;
      case Reference::Kind::function:
        program.insns[reference.insn].src = isa::imm64_src_function;
        program.insns[reference.insn].imm = static_cast<s32>(reference.addend) - static_cast<s32>(reference.insn) - 1;
        program.insns[reference.insn + 1].imm = 0;
        break;
    }
  }
  return std::move(modules.opened);
}

LoadOutcome load_program(const LoadRequest& request) {
  std::string license(request.license);
  auto attr = attributes(request);
  attr.license = address_of(license.c_str());
  std::vector<int> modules(1, -1);  // places of modules are counted from 1
  for (const base::Fd& module : request.modules) modules.push_back(module.get());
  if (modules.size() > 1) attr.fd_array = address_of(modules.data());
  std::string log;
  int fd = request.keep_log ? load_with_log(attr, request.log_level, log) : bpf(uapi::Cmd::prog_load, attr);
  if (fd < 0 && !request.keep_log) {
    // The second attempt decides: the first may have failed for a passing reason.
    fd = load_with_log(attr, request.log_level, log);
  }
  if (fd < 0) return {tl::unexpected(refusal(request, log, -fd)), std::move(log)};
  return {base::Fd(fd), std::move(log)};
}

}  // namespace skep::kernel
