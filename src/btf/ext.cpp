// Reading .BTF.ext: a header with three tables, each a record size and then sections of records.
#include "btf/ext.hpp"

#include <fmt/core.h>

#include "base/byte_reader.hpp"
#include "base/sort_by.hpp"
#include "btf/data.hpp"

namespace skep::btf {
namespace {

struct RawExtHeader {
  u16 magic;
  u8 version, flags;
  u32 header_length;
  u32 func_offset, func_length, line_offset, line_length;
};
struct RawCoreTable {
  u32 offset, length;
};
struct RawExtSection {
  u32 name, count;
};
static_assert(sizeof(RawExtHeader) == 24);

/// Reads one table: u32 record size, then {name, count, records} until its end.
template <class Record>
Result<std::vector<ExtSection<Record>>> read_table(std::span<const std::byte> bytes, const Btf& btf,
                                                   std::string_view what) {
  std::vector<ExtSection<Record>> out;
  if (bytes.empty()) return out;
  const base::ByteReader reader(bytes);
  const auto record_size = reader.at<u32>(0);
  if (!record_size || *record_size < sizeof(Record) || *record_size > 4096)
    return fail(Code::malformed, fmt::format(".BTF.ext {}: records of {} bytes, expected at least {}", what,
                                             record_size.value_or(0), sizeof(Record)));
  for (u64 at = 4; at < bytes.size();) {
    const auto head = reader.at<RawExtSection>(at);
    if (!head) return fail(Code::malformed, fmt::format(".BTF.ext {}: cut off at offset {}", what, at));
    at += sizeof(RawExtSection);
    const u64 length = u64{head->count} * *record_size;
    if (!reader.contains(at, length))
      return fail(Code::malformed,
                  fmt::format(".BTF.ext {}: {} records at offset {} exceed the table", what, head->count, at));
    ExtSection<Record> section{btf.string(head->name), {}};
    section.records.reserve(head->count);
    for (u32 i = 0; i < head->count; i++, at += *record_size) section.records.push_back(*reader.at<Record>(at));
    base::sort_by(section.records, [](const Record& record) { return record.offset; });
    out.push_back(std::move(section));
  }
  return out;
}

template <class Record>
Result<void> check_ids(const std::vector<ExtSection<Record>>& sections, const Btf& btf, std::string_view what) {
  for (const auto& section : sections)
    for (const auto& record : section.records)
      if (record.type_id >= btf.type_count())
        return fail(Code::malformed, fmt::format(".BTF.ext {}: section {}: type {}, but there are {}", what,
                                                 section.name, record.type_id, btf.type_count()));
  return {};
}

}  // namespace

Result<Ext> Ext::parse(std::span<const std::byte> bytes, const Btf& btf) {
  const base::ByteReader reader(bytes);
  const auto header = reader.at<RawExtHeader>(0);
  if (!header) return fail(Code::malformed, fmt::format(".BTF.ext: {} bytes, a header alone has 24", bytes.size()));
  if (header->magic != btf_magic)
    return fail(Code::malformed,
                fmt::format(".BTF.ext: begins with {:#06x}, expected {:#06x}", header->magic, btf_magic));
  if (header->version != 1)
    return fail(Code::unsupported, fmt::format(".BTF.ext: version {}, expected 1", header->version));
  if (header->header_length < sizeof(RawExtHeader) || header->header_length > bytes.size())
    return fail(Code::malformed,
                fmt::format(".BTF.ext: a header of {} bytes in {} bytes", header->header_length, bytes.size()));
  const base::ByteReader body(bytes.subspan(header->header_length));
  auto table = [&](u32 offset, u32 length, std::string_view what) -> Result<std::span<const std::byte>> {
    const auto slice = body.slice(offset, length);
    if (!slice)
      return fail(Code::malformed, fmt::format(".BTF.ext {}: {} bytes at {} lie outside its {} bytes", what, length,
                                               offset, body.size()));
    return *slice;
  };
  Ext out;
  const auto functions = SKEP_TRY(table(header->func_offset, header->func_length, "func_info"));
  out.functions = SKEP_TRY(read_table<FuncRecord>(functions, btf, "func_info"));
  const auto lines = SKEP_TRY(table(header->line_offset, header->line_length, "line_info"));
  out.lines = SKEP_TRY(read_table<LineRecord>(lines, btf, "line_info"));
  if (header->header_length >= sizeof(RawExtHeader) + sizeof(RawCoreTable)) {
    const auto where = *reader.at<RawCoreTable>(sizeof(RawExtHeader));
    const auto core = SKEP_TRY(table(where.offset, where.length, "core_relo"));
    out.core = SKEP_TRY(read_table<CoreRecord>(core, btf, "core_relo"));
  }
  SKEP_TRY(check_ids(out.functions, btf, "func_info"));
  SKEP_TRY(check_ids(out.core, btf, "core_relo"));
  return out;
}

}  // namespace skep::btf
