// See module_types.hpp.
#include "kernel/module_types.hpp"

#include <fmt/core.h>

#include "base/mapped_file.hpp"
#include "kernel/info.hpp"
#include "kernel/open.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

const std::map<std::string, TypeFinder>& ModuleTypes::finders(const TypeFinder& kernel) {
  if (finders_) return *finders_;
  finders_.emplace();
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory_, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().native();
    if (name == "vmlinux") continue;
    // A module that goes meanwhile, or whose types make no sense, is as good as absent.
    if (auto opened = TypeFinder::open(entry->path().native(), &kernel)) finders_->emplace(name, *std::move(opened));
  }
  return *finders_;
}

std::optional<KernelType> ModuleTypes::find(std::string_view name, btf::Kind kind, std::string_view only,
                                            const TypeFinder& kernel) {
  for (const auto& [module, finder] : finders(kernel)) {
    if (!only.empty() && module != only) continue;
    if (const auto id = finder.find(name, kind)) return KernelType{*id, module};
  }
  return std::nullopt;
}

Result<std::shared_ptr<const btf::Btf>> ModuleTypes::types(const std::string& module,
                                                           std::shared_ptr<const btf::Btf> kernel) {
  auto& known = parsed_[module];
  if (!known) {
    auto bytes = SKEP_TRY(base::read_file((directory_ / module).native()));
    known = SKEP_TRY_AT("types of module " + module, btf::Btf::parse(std::move(bytes), std::move(kernel)));
  }
  return known;
}

Result<base::Fd> open_module_types(std::string_view module) {
  for (uapi::ObjectId attr;; attr.id = attr.next_id) {
    const int status = bpf(uapi::Cmd::btf_get_next_id, attr);
    if (status == -ENOENT) break;
    if (status < 0) return tl::unexpected(bpf_error(uapi::Cmd::btf_get_next_id, "types of modules", -status));
    auto fd = open_by_id(uapi::Cmd::btf_get_fd_by_id, attr.next_id, "BTF object");
    if (!fd && fd.error().code == Code::not_found) continue;  // gone meanwhile
    if (!fd) return fd;
    const auto object = btf_object_header(fd->get());
    if (object && object->is_kernel && object->name == module) return fd;
  }
  return fail(Code::not_found, fmt::format("no module \"{}\" with types is loaded", module));
}

}  // namespace skep::kernel
