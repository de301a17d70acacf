// Reading the tables of a file, keeping those of many. See file_symbols.hpp.
#include "symbols/file_symbols.hpp"

#include <algorithm>

#include "elf/functions.hpp"

namespace skep::symbols {

namespace {

constexpr std::size_t most_files = 128;  // each keeps up to three descriptors open, a process two; we have 1024

const elf::Section* table_of(const elf::File& file, u32 type) {
  const auto found = std::ranges::find(file.sections(), type, &elf::Section::type);
  return found == file.sections().end() ? nullptr : &*found;
}

/// Adds a table when the file has one that can be read: a broken one is as good as none.
bool add_table(std::vector<CodeSymbols>& tables, elf::FileImage& image, u32 type,
               std::shared_ptr<const base::Fd> file) {
  const elf::Section* const section = table_of(image.file(), type);
  if (section == nullptr) return false;
  auto table = CodeSymbols::read(image, *section, std::move(file));
  if (!table || table->size() == 0) return false;
  tables.push_back(*std::move(table));
  return true;
}

/// `directory`: the file's own, where it is not that of `places`.
std::optional<DebugInfo> debug_info_of(elf::FileImage& image, std::shared_ptr<const base::Fd> file,
                                       const std::string& directory, DebugPlaces places) {
  const elf::Section* const section = image.file().section(".debug_info");
  if (section == nullptr || section->type == elf::section_nobits || section->size == 0) return std::nullopt;
  if (!directory.empty()) places.directory = directory;
  DebugInfo info{std::move(file)};
  if (auto supplement = find_supplement(image, places)) info.supplement = *std::move(supplement);
  return info;
}

std::vector<elf::Segment> loaded_segments(const elf::File& file) {
  std::vector<elf::Segment> segments(file.segments().begin(), file.segments().end());
  std::erase_if(segments, [](const elf::Segment& segment) { return segment.type != elf::segment_load; });
  return segments;
}

}  // namespace

Result<FileSymbols> FileSymbols::read(base::Fd file, const DebugPlaces& places) {
  const auto kept = std::make_shared<const base::Fd>(std::move(file));
  auto image = SKEP_TRY(elf::FileImage::open(kept->get()));
  SKEP_TRY(elf::check_segments(image.file()));
  FileSymbols symbols;
  symbols.segments_ = loaded_segments(image.file());
  symbols.build_id_ = symbols::build_id(image);
  const bool has_symbols = add_table(symbols.tables_, image, elf::section_symtab, kept);
  symbols.debug_info_ = debug_info_of(image, kept, {}, places);
  if (!has_symbols || !symbols.debug_info_)
    if (auto debug = find_debug_file(image, symbols.build_id_, places)) {
      const auto kept_debug = std::make_shared<const base::Fd>(std::move(debug->file));
      if (auto debug_image = elf::FileImage::open(kept_debug->get())) {
        if (!has_symbols) add_table(symbols.tables_, *debug_image, elf::section_symtab, kept_debug);
        if (!symbols.debug_info_)
          symbols.debug_info_ = debug_info_of(*debug_image, kept_debug, directory_of(debug->path), places);
      }
    }
  add_table(symbols.tables_, image, elf::section_dynsym, kept);
  return symbols;
}

Result<FileSymbols> FileSymbols::read(std::span<const std::byte> bytes) {
  const auto file = SKEP_TRY(elf::File::parse(bytes));
  SKEP_TRY(elf::check_segments(file));
  FileSymbols symbols;
  symbols.segments_ = loaded_segments(file);
  for (const u32 type : {elf::section_symtab, elf::section_dynsym})
    if (const elf::Section* section = table_of(file, type))
      if (auto table = CodeSymbols::read(file, *section)) symbols.tables_.push_back(*std::move(table));
  return symbols;
}

std::optional<u64> FileSymbols::linked_address(u64 file_offset) const {
  return elf::loaded_address(segments_, file_offset);
}

std::optional<FileSymbols::Found> FileSymbols::at_offset(u64 file_offset) const {
  const auto address = linked_address(file_offset);
  return address ? at_address(*address) : std::nullopt;
}

std::optional<FileSymbols::Found> FileSymbols::at_address(u64 address) const {
  for (const CodeSymbols& table : tables_)
    if (auto found = table.find(address)) return found;
  return std::nullopt;
}

std::size_t FileSymbols::memory_bytes() const noexcept {
  std::size_t bytes = sizeof *this + segments_.capacity() * sizeof(elf::Segment);
  for (const CodeSymbols& table : tables_) bytes += table.memory_bytes();
  return bytes;
}

std::shared_ptr<const FileSymbols> FileCache::find(const FileIdentity& file) {
  const auto at = std::ranges::find(files_, file, &Kept::identity);
  if (at == files_.end()) return nullptr;
  files_.splice(files_.begin(), files_, at);
  return at->symbols;
}

std::shared_ptr<const FileSymbols> FileCache::find_build_id(std::string_view id) {
  const auto at = std::ranges::find_if(files_, [&](const Kept& kept) { return kept.symbols->build_id() == id; });
  return at == files_.end() ? nullptr : at->symbols;
}

std::shared_ptr<const FileSymbols> FileCache::add(const FileIdentity& identity, base::Fd file,
                                                  const DebugPlaces& places) {
  auto read = FileSymbols::read(std::move(file), places);
  auto symbols = std::make_shared<const FileSymbols>(read ? *std::move(read) : FileSymbols());
  files_.push_front({identity, symbols, symbols->memory_bytes()});
  bytes_ += files_.front().bytes;
  while (files_.size() > 1 && (bytes_ > most_bytes_ || files_.size() > most_files)) {
    bytes_ -= files_.back().bytes;
    files_.pop_back();
  }
  return symbols;
}

}  // namespace skep::symbols
