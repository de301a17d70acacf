// `map dump`: a map's entries in batches, each printed by an EntryPrinter.
#include "base/cpus.hpp"
#include "base/json_writer.hpp"
#include "inspect/dump.hpp"
#include "inspect/entry_printer.hpp"

namespace skep::inspect {
namespace {

EntryForm form_of(const MapInfo& info, const btf::Btf* types, const DumpOptions& options) {
  if (options.json) return EntryForm::json;
  return types != nullptr && info.btf_value_type_id != 0 ? EntryForm::plain : EntryForm::bytes;
}

}  // namespace

std::vector<std::byte> for_every_cpu(const MapInfo& info, std::vector<std::byte> value) {
  if (!is_per_cpu(info.type)) return value;
  value.resize((value.size() + 7) & ~std::size_t{7});
  std::vector<std::byte> all;
  for (u32 cpu = 0; cpu < base::possible_cpus(); ++cpu) all.insert(all.end(), value.begin(), value.end());
  return all;
}

std::string entry_text(const MapInfo& info, const btf::Btf* types, std::span<const std::byte> key,
                       std::span<const std::byte> value, const DumpOptions& options) {
  const EntryForm form = form_of(info, types, options);
  // Text of a typed map is its formatted entry, indented: what bpftool prints.
  EntryPrinter printer(info, types, {form, options.pretty || form == EntryForm::plain, 0});
  std::string text;
  printer.append(text, key, value);
  return form == EntryForm::bytes ? text : text + "\n";
}

Result<u64> dump_map(const Map& map, const MapInfo& info, const btf::Btf* types, const DumpOptions& options,
                     const std::function<void(std::string_view)>& write) {
  constexpr std::size_t piece_bytes = 256u << 10;
  const EntryForm form = form_of(info, types, options);
  const bool is_array = form != EntryForm::bytes, pretty = options.pretty || form == EntryForm::plain;
  EntryPrinter printer(info, types, {form, pretty, 1});
  std::string text(is_array ? "[" : "");
  u64 count = 0, shown = 0;
  // A map that changes while it is walked may hand out entries again; twice its size is more than a full walk.
  const u64 most = 2 * u64{info.max_entries} + 16;
  MapBatch batch;
  // What was read stays in the dump; an array that was begun ends with the error.
  const auto stopped = [&](Error error) -> tl::unexpected<Error> {
    if (shown == 0 && count == 0) return tl::unexpected(std::move(error));
    if (is_array) text += ",{\"error\":" + base::json_quote(error.message) + "}]\n";
    write(text);
    return tl::unexpected(std::move(error));
  };
  for (u64 seen = 0; !batch.last && seen < most; seen += std::max<u32>(batch.count, 1)) {
    if (auto read = map.next_batch(batch); !read) return stopped(std::move(read).error());
    // A host may say one thing of its map in a list and another where it is opened.
    if (batch.keys.size() != std::size_t{batch.count} * info.key_size)
      return stopped({Code::malformed, "map " + info.name + ": entries with keys of another size than its " +
                                           std::to_string(info.key_size) + " bytes"});
    const std::size_t value_bytes = batch.count == 0 ? 0 : batch.values.size() / batch.count;
    for (u32 i = 0; i < batch.count; ++i) {
      const int error = i < batch.errors.size() ? batch.errors[i] : 0;
      if (is_array && shown++ != 0) text += ',';
      const auto key = std::span(batch.keys).subspan(std::size_t{i} * info.key_size, info.key_size);
      if (error != 0) {
        printer.append_error(text, key, error);
      } else {
        printer.append(text, key, std::span(batch.values).subspan(i * value_bytes, value_bytes));
        ++count;
      }
      if (text.size() < piece_bytes) continue;
      write(text);
      text.clear();
    }
  }
  if (is_array) {
    text += pretty && shown != 0 ? "\n]\n" : "]\n";
  } else {
    text += "Found " + std::to_string(count) + (count == 1 ? " element\n" : " elements\n");
  }
  write(text);
  return count;
}

}  // namespace skep::inspect
