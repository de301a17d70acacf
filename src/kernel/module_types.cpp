// See module_types.hpp.
#include "kernel/module_types.hpp"

#include <fmt/core.h>
#include <sys/stat.h>

#include "kernel/info.hpp"
#include "kernel/open.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

/// The number of a file, or 0.
u64 inode_of(const std::filesystem::path& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 ? u64{status.st_ino} : 0;
}

}  // namespace

bool ModuleTypes::refresh(const std::shared_ptr<const btf::Btf>& kernel) {
  is_listed_ = true;
  bool came = false;
  std::map<std::string, Module, std::less<>> now;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory_, error), end; !error && entry != end;
       entry.increment(error)) {
    std::string name = entry->path().filename().native();
    const u64 file = name == "vmlinux" ? 0 : inode_of(entry->path());
    if (file == 0) continue;
    if (const auto known = modules_.find(name); known != modules_.end() && known->second.file == file) {
      now.insert(modules_.extract(known));
      continue;
    }
    // A module that goes meanwhile, or whose types make no sense, is as good as absent.
    Module& module = now[std::move(name)];
    module.file = file;
    if (auto opened = btf::Btf::from_file(entry->path().native(), kernel)) module.types = *std::move(opened);
    came |= module.types != nullptr;
  }
  modules_ = std::move(now);
  return came;
}

std::optional<KernelType> ModuleTypes::find(std::string_view name, btf::Kind kind, std::string_view only,
                                            const std::shared_ptr<const btf::Btf>& kernel) {
  if (!is_listed_) refresh(kernel);
  for (const auto& [module, known] : modules_) {
    if (!known.types || (!only.empty() && module != only)) continue;
    if (const auto id = known.types->find_own(name, kind); id && inode_of(directory_ / module) == known.file)
      return KernelType{*id, module};
  }
  return std::nullopt;
}

Result<std::shared_ptr<const btf::Btf>> ModuleTypes::types(const std::string& module) const {
  const auto known = modules_.find(module);
  if (known == modules_.end() || !known->second.types)
    return fail(Code::not_found, fmt::format("no module \"{}\" with types is loaded", module));
  return known->second.types;
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
