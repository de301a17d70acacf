// BPF_OBJ_GET_INFO_BY_FD into skep's own structures.
#include "kernel/info.hpp"

#include <fmt/core.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/mapped_file.hpp"

namespace skep::kernel {

namespace {

constexpr u32 most_ids = 4096;             // maps of one program; the kernel's own limit is 64
constexpr u32 most_btf_bytes = 64u << 20;  // vmlinux is 5 MB

template <class Info>
Result<void> fill(int fd, Info& info, std::string_view what) {
  uapi::InfoByFd attr{static_cast<u32>(fd), sizeof info, address_of(&info)};
  return bpf_ok(uapi::Cmd::obj_get_info_by_fd, attr, what);
}

std::string name_from(const char (&field)[uapi::object_name_bytes]) {
  return std::string(field, ::strnlen(field, sizeof field));
}

/// Seconds since 1970 of a moment given in nanoseconds since boot.
u64 since_epoch(u64 boot_ns) {
  timespec real{}, boot{};
  ::clock_gettime(CLOCK_REALTIME, &real);
  ::clock_gettime(CLOCK_BOOTTIME, &boot);
  return static_cast<u64>(real.tv_sec - boot.tv_sec) + boot_ns / 1'000'000'000;
}

}  // namespace

Result<uapi::ProgInfo> raw_program_info(int fd) {
  uapi::ProgInfo info;
  SKEP_TRY(fill(fd, info, "ask about a program"));
  return info;
}
Result<uapi::MapInfo> raw_map_info(int fd) {
  uapi::MapInfo info;
  SKEP_TRY(fill(fd, info, "ask about a map"));
  return info;
}
Result<uapi::LinkInfo> raw_link_info(int fd) {
  uapi::LinkInfo info;
  SKEP_TRY(fill(fd, info, "ask about a link"));
  return info;
}

FdInfo::FdInfo(int fd) {
  if (auto text = base::read_text(fmt::format("/proc/self/fdinfo/{}", fd), 1u << 16)) text_ = *std::move(text);
}

u64 FdInfo::number(std::string_view key) const {
  const auto at = text_.find(fmt::format("\n{}", key));
  if (at == std::string::npos) return 0;
  const auto begin = text_.find_first_not_of(" \t", at + 1 + key.size());
  if (begin == std::string::npos) return 0;
  u64 value = 0;
  std::from_chars(text_.data() + begin, text_.data() + text_.size(), value);
  return value;
}

Result<ProgramInfo> program_info(int fd, Ask ask) {
  // Asked for as many maps as a program has as a rule: the kernel says how many there are, and fills what there is
  // room for.
  constexpr u32 usual_ids = 64;
  std::vector<u32> map_ids(usual_ids);
  uapi::ProgInfo raw;
  raw.nr_map_ids = usual_ids;
  raw.map_ids = address_of(map_ids.data());
  SKEP_TRY(fill(fd, raw, "ask about a program"));
  const u32 maps = std::min(raw.nr_map_ids, most_ids);
  map_ids.resize(maps);
  if (maps > usual_ids) {
    raw = {};
    raw.nr_map_ids = maps;
    raw.map_ids = address_of(map_ids.data());
    SKEP_TRY(fill(fd, raw, "ask about a program"));
    map_ids.resize(std::min(raw.nr_map_ids, maps));
  }
  ProgramInfo info;
  info.id = raw.id;
  info.type = static_cast<ProgramType>(raw.type);
  info.name = name_from(raw.name);
  for (const u8 byte : raw.tag) info.tag += fmt::format("{:02x}", byte);
  info.gpl_compatible = (raw.gpl_compatible & 1) != 0;
  info.loaded_at = since_epoch(raw.load_time);
  info.uid = raw.created_by_uid;
  info.bytes_xlated = raw.xlated_prog_len;
  info.jited = raw.jited_prog_len != 0;
  info.bytes_jited = raw.jited_prog_len;
  if (ask == Ask::everything) info.bytes_memlock = FdInfo(fd).number("memlock:");
  info.map_ids = std::move(map_ids);
  info.btf_id = raw.btf_id;
  info.run_count = raw.run_cnt;
  info.run_time_ns = raw.run_time_ns;
  info.recursion_misses = raw.recursion_misses;
  info.insns_processed = raw.verified_insns;
  return info;
}

Result<MapInfo> map_info(int fd, Ask ask) {
  const auto raw = SKEP_TRY(raw_map_info(fd));
  MapInfo info;
  info.id = raw.id;
  info.type = static_cast<MapType>(raw.type);
  info.name = name_from(raw.name);
  info.flags = raw.map_flags;
  info.key_size = raw.key_size;
  info.value_size = raw.value_size;
  info.max_entries = raw.max_entries;
  info.map_extra = raw.map_extra;
  info.btf_id = raw.btf_id;
  info.btf_key_type_id = raw.btf_key_type_id;
  info.btf_value_type_id = raw.btf_value_type_id;
  if (ask == Ask::kernel_only) return info;
  const FdInfo more(fd);
  info.bytes_memlock = more.number("memlock:");
  info.frozen = more.number("frozen:") != 0;
  if (info.type == MapType::prog_array) {
    info.owner_type = static_cast<ProgramType>(more.number("owner_prog_type:"));
    info.owner_jited = more.number("owner_jited:") != 0;
  }
  return info;
}

Result<BtfObject> btf_object_header(int fd) {
  uapi::BtfInfo raw;
  char name[64] = {};
  raw.name = address_of(name);
  raw.name_len = sizeof name;
  auto told = fill(fd, raw, "ask about types");
  if (!told && told.error().os_error == E2BIG) {  // a kernel before 5.11, whose types have no names
    raw = {};
    told = fill(fd, raw, "ask about types");
  }
  SKEP_TRY(std::move(told));
  BtfObject object;
  object.id = raw.id;
  object.name.assign(name, ::strnlen(name, sizeof name));
  object.is_kernel = raw.kernel_btf != 0;
  object.size_bytes = raw.btf_size;
  return object;
}

Result<BtfObject> btf_object(int fd) {
  auto object = SKEP_TRY(btf_object_header(fd));
  uapi::BtfInfo raw;
  SKEP_TRY(fill(fd, raw, "ask about types"));
  if (raw.btf_size > most_btf_bytes)
    return fail(Code::limit,
                fmt::format("BTF object {} has {} bytes; skep reads at most {}", raw.id, raw.btf_size, most_btf_bytes));
  object.bytes.resize(raw.btf_size);
  uapi::BtfInfo again;
  again.btf = address_of(object.bytes.data());
  again.btf_size = raw.btf_size;
  SKEP_TRY(fill(fd, again, "read types"));
  return object;
}

}  // namespace skep::kernel
