// Objects by their ids.
#pragma once
#include <memory>
#include <skep/inspect.hpp>
#include <string_view>

#include "base/fd.hpp"
#include "kernel/uapi.hpp"

namespace skep::kernel {

/// *_GET_FD_BY_ID. Errors: not_found, permission.
Result<base::Fd> open_by_id(uapi::Cmd cmd, u32 id, std::string_view kind);

/// The types of a BTF object; a module's with the kernel's as their base.
Result<std::shared_ptr<const btf::Btf>> types_by_id(u32 id);

/// The types that a loaded program came with. Errors: not_found.
Result<std::shared_ptr<const btf::Btf>> types_of_program(int fd);

}  // namespace skep::kernel
