// Directories are written under a temporary name and renamed, so a header is never seen half.
#include "compile/headers.hpp"

#include <elf.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "base/byte_reader.hpp"
#include "base/digest.hpp"
#include "base/mapped_file.hpp"
#include "btf/btf.hpp"
#include "btf/dump_c.hpp"

namespace skep::compile {
namespace {

namespace fs = std::filesystem;

constexpr const char* kernel_btf = "/sys/kernel/btf/vmlinux";
/// Counts up when the text that is made of the same BTF changes.
constexpr u64 vmlinux_format = 2;

Result<void> write_header(const fs::path& path, std::string_view text) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) return fail(Code::io, fmt::format("{}: {}", path.native(), error.message()), error.value());
  return base::write_file_atomic(path, std::as_bytes(std::span(text)), 0600);
}

/// The GNU build id in the kernel's notes, as raw bytes.
std::string build_id() {
  const auto notes = base::read_file("/sys/kernel/notes", 1 << 16);
  if (!notes) return {};
  const base::ByteReader reader(*notes);
  for (u64 at = 0;;) {
    const auto header = reader.at<Elf64_Nhdr>(at);
    if (!header) return {};
    const u64 name = at + sizeof *header;
    const u64 content = name + ((u64{header->n_namesz} + 3) & ~u64{3});
    if (header->n_type == NT_GNU_BUILD_ID && reader.string(name) == "GNU")
      if (const auto id = reader.slice(content, header->n_descsz))
        return std::string(reinterpret_cast<const char*>(id->data()), id->size());
    at = content + ((u64{header->n_descsz} + 3) & ~u64{3});
  }
}

}  // namespace

Result<fs::path> header_directory(const Cache& cache) {
  const std::string name = fmt::format("headers-{}", embedded_digest());
  if (auto there = cache.subdirectory(name)) return *std::move(there);
  const fs::path work = SKEP_TRY(cache.work_directory());
  for (const EmbeddedHeader& header : embedded_headers()) SKEP_TRY(write_header(work / header.path, header.text));
  return cache.publish(work, name);
}

std::string kernel_types_id() {
  struct stat status{};
  if (::stat(kernel_btf, &status) != 0) return {};
  base::Digest digest;
  digest.number(vmlinux_format).number(static_cast<u64>(status.st_size));
  std::string id = build_id();
  struct utsname names{};
  if (id.empty() && ::uname(&names) == 0) id = fmt::format("{} {}", names.release, names.version);
  return digest.field(id).name();
}

Result<fs::path> vmlinux_directory(const Cache& cache, const fs::path& headers, std::string& note) {
  const std::string id = kernel_types_id();
  if (id.empty()) {
    note = fmt::format(
        "note: this kernel has no {}: vmlinux.h is skep's own small one, with the types that most programs use\n",
        kernel_btf);
    return headers / "minimal";
  }
  const std::string name = fmt::format("vmlinux-{}", id);
  if (auto there = cache.subdirectory(name)) return *std::move(there);
  const auto types = SKEP_TRY(btf::Btf::from_file(kernel_btf));
  const std::string text = SKEP_TRY_AT("vmlinux.h", btf::dump_c(*types));
  const fs::path work = SKEP_TRY(cache.work_directory());
  SKEP_TRY(write_header(work / "vmlinux.h", text));
  return cache.publish(work, name);
}

}  // namespace skep::compile
