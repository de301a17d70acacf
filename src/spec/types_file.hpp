// The types a file holds, as they lie there: what `btf dump file` shows.
#pragma once
#include <filesystem>
#include <memory>

#include "btf/btf.hpp"

namespace skep::spec {

/// Reads raw BTF (/sys/kernel/btf/...) or the .BTF section of an ELF file (an object, a kernel image). Unlike
/// ObjectSpec::btf nothing is completed. With `base`, the file's types continue it (a kernel module's).
/// Errors: io, malformed, not_found (an ELF file without .BTF).
Result<std::shared_ptr<const btf::Btf>> types_of_file(const std::filesystem::path& path,
                                                      std::shared_ptr<const btf::Btf> base = nullptr);

}  // namespace skep::spec
