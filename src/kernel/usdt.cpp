// Statically defined tracepoints of user programs (SEC("usdt")).
//
// Each place of the tracepoint is a user probe on a nop. Where its arguments are, differs from place to place, so the
// program looks it up: the map __bpf_usdt_specs is an array of descriptions, which usdt.bpf.h defines and both libbpf
// and skep fill. The probe's cookie says which description is meant.
// Source: libbpf's usdt.bpf.h for the layout, sys/sdt.h for the notes.
#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>

#include "elf/usdt.hpp"
#include "elf/user_binary.hpp"
#include "kernel/attachers.hpp"
#include "kernel/user_probe.hpp"

namespace skep::kernel {

namespace {

constexpr std::size_t most_arguments = 12;  ///< BPF_USDT_MAX_ARG_CNT

/// struct __bpf_usdt_arg_spec.
struct ArgumentSpec {
  u64 number = 0;    ///< constant, or displacement
  u8 kind = 0;       ///< 0 constant, 1 register, 2 memory, 3 memory with an index register
  u8 index_low = 0;  ///< 12 bits: offset of the index register in pt_regs; 4 bits: log2 of the scale
  u8 index_high = 0;
  u8 reserved = 0;
  s16 reg_offset = 0;  ///< in struct pt_regs
  u8 is_signed = 0;
  u8 shift = 0;  ///< 64 minus the width in bits
};
static_assert(sizeof(ArgumentSpec) == 16);

/// struct __bpf_usdt_spec.
struct Spec {
  ArgumentSpec arguments[most_arguments];
  u64 cookie = 0;
  s16 count = 0;
  u8 padding[6] = {};
};
static_assert(sizeof(Spec) == most_arguments * 16 + 16);

/// Offset of a register in this machine's struct pt_regs.
std::optional<s16> pt_regs_offset(std::string_view name) {
#if defined(__x86_64__)
  static constexpr std::string_view order[] = {"r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8",
                                               "rax", "rcx", "rdx", "rsi", "rdi", "",    "rip", "",    "",   "rsp"};
  for (std::size_t i = 0; i < std::size(order); ++i)
    if (!name.empty() && order[i] == name) return static_cast<s16>(i * 8);
#elif defined(__aarch64__)
  if (name == "sp") return 31 * 8;
  if (name.starts_with('x'))
    if (const auto number = whole_number(name.substr(1)); number && *number <= 30) return static_cast<s16>(*number * 8);
#endif
  return std::nullopt;
}

Result<ArgumentSpec> spec_of(const elf::UsdtArgument& argument) {
  using Kind = elf::UsdtArgument::Kind;
  ArgumentSpec spec;
  spec.number = static_cast<u64>(argument.number);
  spec.is_signed = argument.is_signed ? 1 : 0;
  spec.shift = static_cast<u8>(64 - argument.bytes * 8);
  if (argument.kind == Kind::constant) return spec;
  const auto offset = pt_regs_offset(argument.reg.empty() ? argument.index : argument.reg);
  if (!offset)
    return fail(Code::unsupported, fmt::format("an argument in register {}, which probes do not see", argument.reg));
  spec.kind = argument.kind == Kind::reg ? 1 : 2;
  spec.reg_offset = *offset;
  if (argument.index.empty()) return spec;
  const auto index = pt_regs_offset(argument.index);
  if (!index || argument.reg.empty()) return fail(Code::unsupported, "an argument behind an index register alone");
  spec.kind = 3;
  const u32 log_scale = static_cast<u32>(__builtin_ctz(argument.scale));
  const u32 packed = static_cast<u32>(*index) | log_scale << 12;
  spec.index_low = static_cast<u8>(packed);
  spec.index_high = static_cast<u8>(packed >> 8);
  return spec;
}

Result<Spec> spec_of(const elf::UsdtNote& note, u64 cookie) {
  const auto arguments = SKEP_TRY(elf::usdt_arguments(note.arguments));
  Spec spec;
  for (std::size_t i = 0; i < arguments.size(); ++i) spec.arguments[i] = SKEP_TRY(spec_of(arguments[i]));
  spec.count = static_cast<s16>(arguments.size());
  spec.cookie = cookie;
  return spec;
}

/// Descriptions that an attachment uses; free again when it goes.
class Descriptions {
 public:
  Descriptions(std::shared_ptr<Session> session, u32 map_id) : session_(std::move(session)), map_id_(map_id) {}
  Descriptions(const Descriptions&) = delete;
  ~Descriptions() {
    for (const u32 spec : taken_) session_->give_back_usdt_spec(map_id_, spec);
  }
  u32 take() { return taken_.emplace_back(session_->take_usdt_spec(map_id_)); }

 private:
  std::shared_ptr<Session> session_;
  u32 map_id_;
  std::vector<u32> taken_;
};

}  // namespace

Attached attach_usdt(const AttachRequest& request) {
  const auto [rest, name] = split_last(request.hook.target);
  const auto [path, provider] = split_last(rest);
  if (path.empty() || provider.empty() || name.empty())
    return tl::unexpected(wrong_target(request, request.hook.target));
  const auto binary = SKEP_TRY_AT(request.place, elf::open_user_binary(path, request.hook.pid));
  auto notes = SKEP_TRY_AT(binary.path, elf::usdt_notes(binary.file));
  const auto all = notes.size();
  std::erase_if(notes, [&](const elf::UsdtNote& note) { return note.provider != provider || note.name != name; });
  if (notes.empty())
    return fail(Code::not_found, fmt::format("{}: {} has no tracepoint {}:{} ({} of other names)", request.place,
                                             binary.path, provider, name, all));
  KernelMap* const specs = map_named(request, "__bpf_usdt_specs");
  if (specs == nullptr || specs->info().value_size != sizeof(Spec))
    return fail(Code::invalid_argument, fmt::format("{}: the program needs <bpf/usdt.bpf.h>: it has no map "
                                                    "__bpf_usdt_specs with values of {} bytes",
                                                    request.place, sizeof(Spec)));
  if (!request.session.features.event_cookies())
    return fail(Code::unsupported, fmt::format("{}: this kernel has no cookies for events (5.15), by which the program "
                                               "knows where its arguments are",
                                               request.place));
  auto attachment = std::make_unique<Attachment>();
  const auto descriptions = std::make_shared<Descriptions>(request.session.shared_from_this(), specs->info().id);
  attachment->keep(descriptions);
  std::map<std::string, u32, std::less<>> known;  // places with the same arguments share a description
  for (const elf::UsdtNote& note : notes) {
    auto spec =
        SKEP_TRY_AT(fmt::format("{}: \"{}\"", request.place, note.arguments), spec_of(note, request.hook.cookie));
    auto [at, is_new] = known.try_emplace(note.arguments, 0);
    if (is_new) {
      at->second = descriptions->take();
      if (at->second >= specs->info().max_entries)
        return fail(Code::limit, fmt::format("{}: __bpf_usdt_specs has room for {} descriptions; define "
                                             "BPF_USDT_MAX_SPEC_CNT larger",
                                             request.place, specs->info().max_entries));
      SKEP_TRY(specs->update(std::as_bytes(std::span(&at->second, 1)), std::as_bytes(std::span(&spec, 1)), 0));
    }
    SKEP_TRY(set_user_probe(request, {binary.path, note.file_offset, note.semaphore_offset, false, at->second},
                            *attachment));
  }
  return attachment;
}

}  // namespace skep::kernel
