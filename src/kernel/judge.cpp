// BPF_PROG_LOAD with BPF_LOG_STATS: the reason and two lines of figures, whatever the program.
#include "kernel/judge.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "catalog/kernel_log.hpp"
#include "kernel/features.hpp"
#include "kernel/load_target.hpp"
#include "kernel/map_create.hpp"
#include "kernel/program_load.hpp"
#include "spec/resolve.hpp"

namespace skep::kernel {
namespace {

std::optional<u64> number_after(std::string_view log, std::string_view words) {
  const auto at = log.rfind(words);
  if (at == std::string_view::npos) return std::nullopt;
  u64 number = 0;
  const char* begin = log.data() + at + words.size();
  if (std::from_chars(begin, log.data() + log.size(), number).ec != std::errc()) return std::nullopt;
  return number;
}

bool is_map(const Reference& reference) {
  return reference.kind == Reference::Kind::map || reference.kind == Reference::Kind::map_value ||
         reference.kind == Reference::Kind::kconfig;
}

/// What the reason says is missing from this kernel, its build or its modules: no judgement of the program's safety.
bool is_about_this_kernel(std::string_view reason) {
  const auto names = [&](s32 helper) { return reason.find(fmt::format("#{}", helper)) != reason.npos; };
  if (reason.starts_with("invalid func") && (names(missing_kfunc) || names(spec::poison_helper))) return true;
  // Helpers that a build leaves out (CONFIG_BPF_KPROBE_OVERRIDE) or a locked kernel forbids.
  if (reason.starts_with("program of this type cannot use helper bpf_override_return") ||
      reason.starts_with("program of this type cannot use helper bpf_probe_write_user"))
    return true;
  return reason.starts_with("Tracing programs must provide btf_id") ||
         reason.starts_with("ldimm64 failed to find the address for kernel symbol") ||
         reason == "kernel subsystem misconfigured verifier";
}

}  // namespace

std::optional<KernelVerdict> work_in_log(std::string_view log) {
  const auto insns = number_after(log, "processed ");
  if (!insns) return std::nullopt;
  KernelVerdict work;
  work.insns = *insns;
  work.time_us = static_cast<double>(number_after(log, "verification time ").value_or(0));
  work.states = number_after(log, "total_states ").value_or(0);
  work.peak_states = number_after(log, "peak_states ").value_or(0);
  return work;
}

Result<void> may_load_programs() {
  ProgramSpec smallest;
  smallest.name = "smallest";
  smallest.type = ProgramType::socket_filter;
  smallest.insns.resize(2);
  smallest.insns[0].code = 0xb7;  // r0 = 0
  smallest.insns[1].code = 0x95;  // exit
  LoadRequest request;
  request.program = &smallest;
  request.license = "GPL";
  SKEP_TRY(load_program(request).program);
  return {};
}

Result<Judge> Judge::open(const ObjectSpec& object, KernelTypes& types) {
  SKEP_TRY(may_load_programs());
  raise_memlock_limit(Features());
  Judge made(object, types);
  made.made_.resize(object.maps.size());
  made.maps_.resize(object.maps.size());
  made.annotations_.resize(object.programs.size());
  if (!object.btf) return made;
  // The programs' lines and functions go into the types, which are loaded once.
  auto image = SKEP_TRY(TypesImage::copy_of(object.btf));
  for (std::size_t i = 0; i < object.programs.size(); ++i) made.annotations_[i] = annotate(object.programs[i], image);
  auto btf = load_types(image.bytes(), nullptr);
  if (btf)
    made.btf_ = *std::move(btf);
  else
    made.no_types_ = btf.error().message;
  return made;
}

Result<void> Judge::make_maps(const ProgramSpec& program) {
  for (const Reference& reference : program.references) {
    if (!is_map(reference)) continue;
    if (reference.map >= made_.size()) return fail(Code::malformed, "a reference to a map that the object has not");
    Made& made = made_[reference.map];
    if (!made.tried) {
      made.tried = true;
      auto map = create_map_of(*object_, object_->maps[reference.map], btf_.get(), *types_);
      if (map)
        maps_[reference.map] = made.map = *std::move(map);
      else
        made.why_not = map.error().message;
    }
    if (!made.map) return fail(Code::unsupported, made.why_not);
  }
  return {};
}

Result<KernelVerdict> Judge::load(const ProgramSpec& original) {
  if (original.type == ProgramType::unspec)
    return fail(Code::unsupported, fmt::format("section \"{}\" names no program type", original.section));
  ProgramSpec program = original;
  const LoadTarget target = SKEP_TRY(load_target(*object_, original, original.attach, *types_));
  SKEP_TRY(make_maps(program));
  const auto modules = SKEP_TRY(link_references(program, maps_, *types_, object_->btf.get()));
  LoadRequest request;
  request.program = &program;
  request.license = object_->license;
  request.kernel_version = Features::version_code();
  request.attach_btf_id = target.type_id;
  request.attach_owner = target.owner.get();
  request.attach_as = target.member;
  request.modules = modules;
  request.keep_log = true;
  request.log_level = log_stats;
  const auto place = std::ranges::find(object_->programs, original.name, &ProgramSpec::name);
  if (btf_.get() >= 0 && place != object_->programs.end()) {
    request.btf_fd = btf_.get();
    request.annotations = &annotations_[static_cast<std::size_t>(place - object_->programs.begin())];
  }
  const LoadOutcome outcome = load_program(request);
  KernelVerdict verdict = work_in_log(outcome.log).value_or(KernelVerdict{});
  if (outcome.program) {
    verdict.kind = KernelVerdict::Kind::accepted;
    return verdict;
  }
  const Error& error = outcome.program.error();
  verdict.reason = catalog::reason_in_kernel_log(outcome.log);
  if (verdict.reason.empty()) {
    verdict.kind = error.os_error == EPERM ? KernelVerdict::Kind::denied : KernelVerdict::Kind::lacking;
    verdict.reason = error.message;
  } else if (!no_types_.empty()) {
    verdict.reason += fmt::format(" (the kernel did not take the object's types: {})", no_types_);
  } else if (!is_about_this_kernel(verdict.reason)) {
    verdict.kind = KernelVerdict::Kind::refused;
  }
  return verdict;
}

KernelVerdict Judge::judge(const ProgramSpec& program) {
  auto verdict = load(program);
  if (verdict) return *std::move(verdict);
  KernelVerdict lacking;
  lacking.reason = verdict.error().message;
  return lacking;
}

}  // namespace skep::kernel
