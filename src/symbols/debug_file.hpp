// Where the symbols of a stripped file are kept: a file of its own, found by build id or by the link in the stripped
// one.
//
// Debian's -dbgsym packages install by build id; `objcopy --add-gnu-debuglink` writes a name and a checksum. Either way
// the file that is found must prove that it is the right one: the same build id, or the checksum of the link.
// Compressed symbols inside the file (.gnu_debugdata, as Fedora has them) are not read: that needs liblzma.
// Source: GDB manual, "Separate Debug Files".
#pragma once
#include <optional>
#include <span>
#include <string>

#include "elf/file_image.hpp"
#include "symbols/root.hpp"

namespace skep::symbols {

/// Whose files are looked at, in this order; nullptr: nobody's.
struct DebugPlaces {
  const Root* process = nullptr;
  const Root* own = nullptr;
  std::string directory;  ///< of the stripped file, in the process's view: "/usr/bin"
};

/// A build id as everybody writes it: in hex.
std::string build_id_text(std::span<const std::byte> id);

/// The build id in hex; "" where the file has none.
std::string build_id(elf::FileImage& image);

/// "/usr/bin" of "/usr/bin/env".
std::string directory_of(const std::string& path);

struct FoundFile {
  base::Fd file;
  std::string path;  ///< in the view of whose file it is
};

/// The debug file of `image`, open for reading; nullopt when there is none that fits.
std::optional<FoundFile> find_debug_file(elf::FileImage& image, const std::string& id, const DebugPlaces& places);

/// What several debug files have in common (dwz puts it into a file of its own, named in .gnu_debugaltlink), for the
/// debug file `image`, which lies in places.directory. nullopt: it needs none, or there is none that fits.
std::optional<base::Fd> find_supplement(elf::FileImage& image, const DebugPlaces& places);

/// The checksum that a .gnu_debuglink holds: CRC-32 of the whole file. Errors: io, limit.
Result<u32> debug_link_checksum(int fd);

}  // namespace skep::symbols
