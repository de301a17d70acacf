// Loading with BPF_LOG_STATS: two lines of log, whatever the program.
#include "verify/kernel.hpp"

#include <charconv>

#include "kernel/annotations.hpp"
#include "kernel/features.hpp"
#include "kernel/map_create.hpp"
#include "kernel/program_load.hpp"

namespace skep::bench {
namespace {

std::optional<u64> number_after(std::string_view log, std::string_view words) {
  const auto at = log.find(words);
  if (at == std::string_view::npos) return std::nullopt;
  u64 number = 0;
  const char* begin = log.data() + at + words.size();
  if (std::from_chars(begin, log.data() + log.size(), number).ec != std::errc()) return std::nullopt;
  return number;
}

}  // namespace

std::optional<KernelWork> work_in(std::string_view log) {
  const auto time = number_after(log, "verification time "), insns = number_after(log, "processed ");
  if (!time || !insns) return std::nullopt;
  KernelWork work;
  work.insns = *insns;
  work.time_us = static_cast<double>(*time);
  work.states = number_after(log, "total_states ").value_or(0);
  work.peak_states = number_after(log, "peak_states ").value_or(0);
  return work;
}

Result<KernelObject> KernelObject::open(const ObjectSpec& object) {
  KernelObject made(object);
  if (object.btf) {
    auto image = SKEP_TRY(kernel::TypesImage::copy_of(object.btf));
    if (auto btf = kernel::load_types(image.bytes(), nullptr)) made.btf_ = *std::move(btf);
  }
  made.maps_ = SKEP_TRY(kernel::create_maps(object, {}, made.btf_.get(), *made.types_, nullptr));
  return made;
}

std::optional<KernelWork> KernelObject::verify(const ProgramSpec& original) {
  ProgramSpec program = original;
  if (!kernel::link_references(program, maps_, *types_)) return std::nullopt;
  kernel::LoadRequest request;
  request.program = &program;
  request.license = object_->license;
  request.kernel_version = kernel::Features::version_code();
  request.keep_log = true;
  request.log_level = kernel::log_stats;
  // Functions have their types; lines would only be text for a log that nobody reads.
  kernel::Annotations notes;
  base::Fd btf;
  if (object_->btf) {
    auto image = kernel::TypesImage::copy_of(object_->btf);
    if (image) {
      notes = kernel::annotate(program, *image);
      if (auto loaded = kernel::load_types(image->bytes(), nullptr)) btf = *std::move(loaded);
    }
    if (btf.get() >= 0) request.btf_fd = btf.get(), request.annotations = &notes;
  }
  const auto outcome = kernel::load_program(request);
  auto work = work_in(outcome.log);
  if (work) work->accepted = outcome.program.has_value();
  return work;
}

}  // namespace skep::bench
