// Text and JSON of an object's facts. `pids` of a kernel object are the processes that hold it, of an object of a user
// engine the process it lives in.
#include "inspect/show.hpp"

#include <fmt/format.h>
#include <time.h>

#include "base/printable.hpp"

namespace skep::inspect {
namespace {

using base::printable;

std::string local_time(u64 seconds) {
  const auto when = static_cast<time_t>(seconds);
  struct tm parts{};
  char text[64] = "";
  if (::localtime_r(&when, &parts) != nullptr) ::strftime(text, sizeof text, "%FT%T%z", &parts);
  return text;
}

std::string ids(const std::vector<u32>& list) {
  std::string text;
  for (const u32 id : list) text += fmt::format("{}{}", text.empty() ? "" : ",", id);
  return text;
}

/// Who holds an object: the user engine's process that it lives in, or those that the caller found.
template <class Info>
std::vector<Process> processes_of(const Info& info, Processes holders) {
  if (info.host_pid != 0) return {{info.host_pid, info.host_name}};
  return {holders.begin(), holders.end()};
}

template <class Info>
std::string holders_text(const Info& info, Processes holders) {
  std::string text;
  for (const auto& [pid, comm] : processes_of(info, holders))
    text += fmt::format("{}{}({})", text.empty() ? "\tpids " : ", ", printable(comm), pid);
  return text.empty() ? text : text + "\n";
}

std::string pinned_text(const std::vector<std::string>& paths) {
  std::string text;
  for (const auto& path : paths) text += fmt::format("\tpinned {}\n", printable(path));
  return text;
}

template <class Info>
void write_holders(base::JsonWriter& json, const Info& info, Processes holders) {
  const auto processes = processes_of(info, holders);
  if (processes.empty()) return;
  json.key("pids");
  json.begin_array();
  for (const auto& [pid, comm] : processes) {
    json.begin_object();
    json.member("pid", pid);
    json.member("comm", comm);
    json.end_object();
  }
  json.end_array();
}

void write_pinned(base::JsonWriter& json, const std::vector<std::string>& paths) {
  if (paths.empty()) return;
  json.key("pinned");
  json.begin_array();
  for (const auto& path : paths) json.string(path);
  json.end_array();
}

}  // namespace

std::string text_of(const ProgramInfo& info, std::span<const Metadata> metadata, Processes holders) {
  std::string text = fmt::format("{}: {}", info.id, name_of(info.type));
  if (!info.name.empty()) text += "  name " + printable(info.name);
  text += "  tag " + info.tag;
  if (info.gpl_compatible) text += "  gpl";
  if (info.run_time_ns != 0) text += fmt::format(" run_time_ns {}", info.run_time_ns);
  if (info.run_count != 0) text += fmt::format(" run_cnt {}", info.run_count);
  if (info.recursion_misses != 0) text += fmt::format(" recursion_misses {}", info.recursion_misses);
  text += "\n";
  if (info.loaded_at != 0) text += fmt::format("\tloaded_at {}  uid {}\n", local_time(info.loaded_at), info.uid);
  text += fmt::format("\txlated {}B", info.bytes_xlated);
  text += info.jited ? fmt::format("  jited {}B", info.bytes_jited) : "  not jited";
  if (info.bytes_memlock != 0) text += fmt::format("  memlock {}B", info.bytes_memlock);
  if (!info.map_ids.empty()) text += "  map_ids " + ids(info.map_ids);
  text += "\n" + pinned_text(info.pinned);
  if (info.btf_id != 0) text += fmt::format("\tbtf_id {}\n", info.btf_id);
  text += holders_text(info, holders);
  if (!metadata.empty()) text += "\tmetadata:\n";
  for (const Metadata& one : metadata) text += fmt::format("\t\t{} = {}\n", printable(one.name), printable(one.text));
  return text;
}

void write(base::JsonWriter& json, const ProgramInfo& info, std::span<const Metadata> metadata, Processes holders) {
  json.begin_object();
  json.member("id", info.id);
  json.member("type", name_of(info.type));
  if (!info.name.empty()) json.member("name", info.name);
  json.member("tag", info.tag);
  json.member("gpl_compatible", info.gpl_compatible);
  if (info.run_time_ns != 0) json.member("run_time_ns", info.run_time_ns);
  if (info.run_count != 0) json.member("run_cnt", info.run_count);
  if (info.recursion_misses != 0) json.member("recursion_misses", info.recursion_misses);
  if (info.loaded_at != 0) {
    json.member("loaded_at", info.loaded_at);
    json.member("uid", info.uid);
  }
  json.member("bytes_xlated", info.bytes_xlated);
  json.member("jited", info.jited);
  if (info.jited) json.member("bytes_jited", info.bytes_jited);
  if (info.bytes_memlock != 0) json.member("bytes_memlock", info.bytes_memlock);
  if (!info.map_ids.empty()) {
    json.key("map_ids");
    json.begin_array();
    for (const u32 id : info.map_ids) json.number(u64{id});
    json.end_array();
  }
  if (info.btf_id != 0) json.member("btf_id", info.btf_id);
  write_pinned(json, info.pinned);
  write_holders(json, info, holders);
  if (!metadata.empty()) {
    json.key("metadata");
    json.begin_object();
    for (const Metadata& one : metadata) {
      json.key(one.name);
      json.raw(one.json);
    }
    json.end_object();
  }
  json.end_object();
}

std::string text_of(const MapInfo& info, Processes holders) {
  std::string text = fmt::format("{}: {}", info.id, name_of(info.type));
  if (!info.name.empty()) text += "  name " + printable(info.name);
  text += fmt::format("  flags 0x{:x}\n\tkey {}B  value {}B  max_entries {}", info.flags, info.key_size,
                      info.value_size, info.max_entries);
  if (info.bytes_memlock != 0) text += fmt::format("  memlock {}B", info.bytes_memlock);
  text += "\n";
  if (info.owner_type != ProgramType::unspec)
    text +=
        fmt::format("\towner_prog_type {}  owner{} jited\n", name_of(info.owner_type), info.owner_jited ? "" : " not");
  text += pinned_text(info.pinned);
  if (info.btf_id != 0 || info.frozen)
    text += fmt::format("\t{}{}{}\n", info.btf_id != 0 ? fmt::format("btf_id {}", info.btf_id) : "",
                        info.btf_id != 0 && info.frozen ? "  " : "", info.frozen ? "frozen" : "");
  return text + holders_text(info, holders);
}

void write(base::JsonWriter& json, const MapInfo& info, Processes holders) {
  json.begin_object();
  json.member("id", info.id);
  json.member("type", name_of(info.type));
  if (!info.name.empty()) json.member("name", info.name);
  json.member("flags", info.flags);
  json.member("bytes_key", info.key_size);
  json.member("bytes_value", info.value_size);
  json.member("max_entries", info.max_entries);
  if (info.bytes_memlock != 0) json.member("bytes_memlock", info.bytes_memlock);
  if (info.owner_type != ProgramType::unspec) {
    json.member("owner_prog_type", name_of(info.owner_type));
    json.member("owner_jited", info.owner_jited);
  }
  json.member("frozen", info.frozen ? 1 : 0);
  if (info.btf_id != 0) json.member("btf_id", info.btf_id);
  write_pinned(json, info.pinned);
  write_holders(json, info, holders);
  json.end_object();
}

std::string text_of(const LinkInfo& info, Processes holders) {
  std::string text = fmt::format("{}: {}", info.id, info.type);
  if (info.program_id != 0) text += fmt::format("  prog {}", info.program_id);
  text += "\n";
  for (std::size_t i = 0; i < info.facts.size(); ++i) {
    const bool is_list = info.facts[i].form == Fact::Form::json && info.facts[i].text.starts_with('[');
    if (!is_list)
      text += fmt::format("{}{} {}", i == 0 ? "\t" : "  ", info.facts[i].name, printable(info.facts[i].text));
  }
  if (!info.facts.empty()) text += "\n";
  if (!info.target.empty()) text += fmt::format("\ttarget {}\n", printable(info.target));
  return text + pinned_text(info.pinned) + holders_text(info, holders);
}

void write(base::JsonWriter& json, const Fact& fact) {
  json.key(fact.name);
  fact.form == Fact::Form::text ? json.string(fact.text) : json.raw(fact.text);
}

void write(base::JsonWriter& json, const LinkInfo& info, Processes holders) {
  json.begin_object();
  json.member("id", info.id);
  json.member("type", info.type);
  if (info.program_id != 0) json.member("prog_id", info.program_id);
  for (const Fact& fact : info.facts) write(json, fact);
  if (!info.target.empty()) json.member("target", info.target);
  write_pinned(json, info.pinned);
  write_holders(json, info, holders);
  json.end_object();
}

std::string text_of(const BtfUse& use, Processes holders) {
  const auto list = [](std::string_view what, const std::vector<u32>& users) {
    return users.empty() ? std::string() : fmt::format("  {} {}", what, ids(users));
  };
  const std::string name = use.info.is_kernel      ? fmt::format("[{}]", use.info.name)
                           : use.info.name.empty() ? "<anon>"
                                                   : printable(use.info.name);
  return fmt::format("{}: name {}  size {}B{}{}\n", use.info.id, name, use.info.size_bytes,
                     list("prog_ids", use.program_ids), list("map_ids", use.map_ids)) +
         holders_text(use.info, holders);
}

void write(base::JsonWriter& json, const BtfUse& use, Processes holders) {
  json.begin_object();
  json.member("id", use.info.id);
  json.member("size", use.info.size_bytes);
  for (const auto& [key, users] : {std::pair{"prog_ids", &use.program_ids}, std::pair{"map_ids", &use.map_ids}}) {
    json.key(key);
    json.begin_array();
    for (const u32 id : *users) json.number(u64{id});
    json.end_array();
  }
  json.member("kernel", use.info.is_kernel);
  if (!use.info.name.empty()) json.member("name", use.info.name);
  write_holders(json, use.info, holders);
  json.end_object();
}

}  // namespace skep::inspect
