// Types from a file of either form, told apart by the first four bytes.
#include "spec/types_file.hpp"

#include <cstring>

#include "base/mapped_file.hpp"
#include "elf/elf.hpp"

namespace skep::spec {

Result<std::shared_ptr<const btf::Btf>> types_of_file(const std::filesystem::path& path,
                                                      std::shared_ptr<const btf::Btf> base) {
  constexpr std::size_t largest_file_bytes = std::size_t{2} << 30;  // an unstripped kernel image
  auto bytes = SKEP_TRY(base::read_file(path, largest_file_bytes));
  const auto& place = path.native();
  if (bytes.size() < 4 || std::memcmp(bytes.data(),
                                      "\x7f"
                                      "ELF",
                                      4) != 0)
    return SKEP_TRY_AT(place, btf::Btf::parse(std::move(bytes), std::move(base)));
  const auto file = SKEP_TRY_AT(place, elf::File::parse(bytes));
  const auto* section = file.section(".BTF");
  if (section == nullptr)
    return fail(Code::not_found, place + ": no .BTF section; compile with clang -g (BPF objects) or pahole (kernels)");
  const auto contents = SKEP_TRY_AT(place, file.contents(*section));
  return SKEP_TRY_AT(place, btf::Btf::parse({contents.begin(), contents.end()}, std::move(base)));
}

}  // namespace skep::spec
