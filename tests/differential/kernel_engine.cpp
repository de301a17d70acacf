// Random programs in the running kernel: bpf(2) by hand, with maps that are made once and reset.
//
// Callbacks need function types there, so one small BTF describes every program: an entry and static functions.
// Source: include/uapi/linux/bpf.h.
#include <errno.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/cpus.hpp"
#include "base/fd.hpp"
#include "btf/builder.hpp"
#include "catalog/kernel_log.hpp"
#include "engines.hpp"

namespace skep::differential {
namespace {

long bpf(enum bpf_cmd command, union bpf_attr& attr) { return ::syscall(SYS_bpf, command, &attr, sizeof attr); }
u64 pointer(const void* p) { return reinterpret_cast<u64>(p); }

bool is_per_cpu(u32 index) { return index == percpu_array || index == percpu_hash; }
bool is_array(u32 index) { return index == array || index == percpu_array; }

/// The last sentence of a verifier log, with numbers as #, so that equal reasons are equal.
std::string reason_of(std::string_view log) {
  const std::string_view line = catalog::reason_in_kernel_log(log);
  std::string out;
  for (std::size_t i = 0; i < line.size(); i++) {
    if (std::isdigit(static_cast<unsigned char>(line[i])) == 0) {
      out += line[i];
      continue;
    }
    while (i + 1 < line.size() && std::isxdigit(static_cast<unsigned char>(line[i + 1])) != 0) i++;
    out += '#';
  }
  return out.substr(0, 100);
}

struct Types {
  std::vector<std::byte> bytes;
  u32 entry = 0, function = 0;
};
Types types() {
  btf::Builder builder;
  const u32 number = builder.add_int("int", 4, btf::Builder::Encoding::signed_);
  const btf::Param parameter{.name = "a", .type_id = number};
  const u32 proto = builder.add_func_proto(number, std::span(&parameter, 1));
  Types t;
  t.entry = builder.add_func("random", proto, 1);
  t.function = builder.add_func("function", proto, 0);
  t.bytes = builder.bytes();
  return t;
}

}  // namespace

struct KernelEngine::Parts {
  std::vector<base::Fd> maps;
  std::vector<std::pair<ProgramType, base::Fd>> program_arrays;
  base::Fd btf, program;
  u32 entry_type = 0, function_type = 0;
  RandomProgram loaded;
  std::string log = std::string(1 << 16, '\0');

  Result<void> make_maps() {
    for (const MapSpec& spec : map_specs()) {
      union bpf_attr attr{};
      attr.map_type = static_cast<u32>(spec.type);
      attr.key_size = spec.key_size;
      attr.value_size = spec.value_size;
      attr.max_entries = spec.max_entries;
      attr.map_flags = spec.flags;
      // A program array belongs to the type of the program it met first: one for each type.
      if (spec.type == MapType::prog_array)
        for (const ProgramType type : random_types)
          program_arrays.emplace_back(type, base::Fd(static_cast<int>(bpf(BPF_MAP_CREATE, attr))));
      maps.emplace_back(static_cast<int>(bpf(BPF_MAP_CREATE, attr)));
      if (!maps.back()) return tl::unexpected<Error>(base::os_error("creating map " + spec.name));
    }
    return {};
  }
  Result<void> make_types() {
    const Types t = types();
    entry_type = t.entry;
    function_type = t.function;
    union bpf_attr attr{};
    attr.btf = pointer(t.bytes.data());
    attr.btf_size = static_cast<u32>(t.bytes.size());
    btf = base::Fd(static_cast<int>(bpf(BPF_BTF_LOAD, attr)));
    if (!btf) return tl::unexpected<Error>(base::os_error("loading types"));
    return {};
  }

  int map_fd(u32 index) const {
    if (index != prog_array) return maps[index].get();
    return std::ranges::find(program_arrays, loaded.type, [](const auto& p) { return p.first; })->second.get();
  }
  long map_op(enum bpf_cmd command, u32 index, const void* key, void* value, u64 flags = 0) {
    union bpf_attr attr{};
    attr.map_fd = static_cast<u32>(map_fd(index));
    attr.key = pointer(key);
    attr.value = pointer(value);
    attr.flags = flags;
    return bpf(command, attr);
  }
  std::size_t value_size(u32 index) const {
    const u32 size = map_specs()[index].value_size;
    return is_per_cpu(index) ? std::size_t{(size + 7) & ~7u} * base::possible_cpus() : size;
  }

  void reset_one(u32 index, u32 input) {
    std::vector<std::byte> value(value_size(index));
    const u32 size = map_specs()[index].value_size;
    if (index == prog_array) return;
    if (index == queue || index == stack) {
      while (map_op(BPF_MAP_LOOKUP_AND_DELETE_ELEM, index, nullptr, value.data()) == 0) {
      }
      return;
    }
    std::byte key[8] = {};
    if (index != data && !is_array(index))
      while (map_op(BPF_MAP_GET_NEXT_KEY, index, nullptr, key) == 0) map_op(BPF_MAP_DELETE_ELEM, index, key, nullptr);
    const u32 count = index == data ? 1 : is_array(index) ? keys : 2;
    for (u32 k = 0; k < count; k++) {
      std::memset(key, 0, sizeof key);
      const u32 prefix = 32;
      std::memcpy(key, index == lpm ? &prefix : &k, sizeof k);
      if (index == lpm) std::memcpy(key + 4, &k, sizeof k);
      for (u32 i = 0; i < value.size(); i++) value[i] = initial_byte(index, k, i % size, input);
      map_op(BPF_MAP_UPDATE_ELEM, index, key, value.data());
    }
  }

  void snapshot_one(u32 index, std::vector<std::byte>& out) {
    std::vector<std::byte> value(value_size(index));
    if (index == prog_array) return;
    if (index == queue || index == stack) {
      while (map_op(BPF_MAP_LOOKUP_AND_DELETE_ELEM, index, nullptr, value.data()) == 0)
        out.insert(out.end(), value.begin(), value.end());
      return;
    }
    std::vector<std::array<std::byte, 8>> found;
    std::array<std::byte, 8> key{}, next{};
    for (const void* previous = nullptr; map_op(BPF_MAP_GET_NEXT_KEY, index, previous, next.data()) == 0;
         previous = key.data()) {
      found.push_back(next);
      key = next;
      next = {};
    }
    std::sort(found.begin(), found.end());
    for (const auto& k : found) {
      if (map_op(BPF_MAP_LOOKUP_ELEM, index, k.data(), value.data()) != 0) continue;
      out.insert(out.end(), k.begin(), k.end());
      out.insert(out.end(), value.begin(), value.end());
    }
  }
};

KernelEngine::KernelEngine() : parts_(std::make_unique<Parts>()) {}
KernelEngine::~KernelEngine() = default;

Result<std::unique_ptr<KernelEngine>> KernelEngine::open() {
  auto engine = std::unique_ptr<KernelEngine>(new KernelEngine);
  if (auto made = engine->parts_->make_maps(); !made)
    return fail(Code::permission, made.error().message + ": CAP_BPF and CAP_NET_ADMIN are needed");
  SKEP_TRY(engine->parts_->make_types());
  if (const auto refused = SKEP_TRY(engine->load(generate(0))))
    return fail(Code::permission, "this process may not load programs: CAP_BPF and CAP_NET_ADMIN are needed");
  return engine;
}

Result<std::optional<std::string>> KernelEngine::load(const RandomProgram& program) {
  Parts& parts = *parts_;
  parts.program = base::Fd();
  parts.loaded = program;
  auto insns = program.insns;
  for (std::size_t i = 0; i + 1 < insns.size(); i++) {
    if (insns[i].code != 0x18) continue;
    if (insns[i].src == 1 || insns[i].src == 2) insns[i].imm = parts.map_fd(static_cast<u32>(insns[i].imm) % map_count);
    i++;
  }
  std::vector<bpf_func_info> functions = {{0, parts.entry_type}};
  for (const u32 at : program.functions) functions.push_back({at, parts.function_type});
  for (const u32 level : {0u, 1u}) {  // a second time with the log only when the first was refused
    union bpf_attr attr{};
    attr.prog_type = static_cast<u32>(program.type);
    attr.insns = pointer(insns.data());
    attr.insn_cnt = static_cast<u32>(insns.size());
    attr.license = pointer("GPL");
    attr.prog_flags = program.sleepable() ? BPF_F_SLEEPABLE : 0;
    if (!program.functions.empty()) {
      attr.prog_btf_fd = static_cast<u32>(parts.btf.get());
      attr.func_info = pointer(functions.data());
      attr.func_info_cnt = static_cast<u32>(functions.size());
      attr.func_info_rec_size = sizeof(bpf_func_info);
    }
    if (level != 0) {
      parts.log[0] = '\0';
      attr.log_level = level;
      attr.log_buf = pointer(parts.log.data());
      attr.log_size = static_cast<u32>(parts.log.size());
    }
    parts.program = base::Fd(static_cast<int>(bpf(BPF_PROG_LOAD, attr)));
    if (parts.program) return std::nullopt;
    if (level != 0) break;
  }
  const int error = errno;
  std::string reason = reason_of(parts.log.c_str());
  return reason.empty() ? std::string(std::strerror(error)) : reason;
}

Result<Observed> KernelEngine::run(u32 input) {
  Parts& parts = *parts_;
  const RandomProgram& program = parts.loaded;
  if ((program.uses >> prog_array & 1) != 0) {
    const u32 zero = 0;
    u32 fd = static_cast<u32>(parts.program.get());
    if (parts.map_op(BPF_MAP_UPDATE_ELEM, prog_array, &zero, &fd) != 0)
      return tl::unexpected<Error>(base::os_error("filling the program array"));
  }
  for (u32 i = 0; i < map_count; i++)
    if ((program.uses >> i & 1) != 0) parts.reset_one(i, input);
  std::vector<std::byte> out(4096), context = program.context;
  union bpf_attr attr{};
  attr.test.prog_fd = static_cast<u32>(parts.program.get());
  if (program.has_packet()) {
    attr.test.data_in = pointer(program.packet.data());
    attr.test.data_size_in = static_cast<u32>(program.packet.size());
    attr.test.data_out = pointer(out.data());
    attr.test.data_size_out = static_cast<u32>(out.size());
    attr.test.repeat = 1;
  } else {
    attr.test.ctx_in = pointer(context.data());
    attr.test.ctx_size_in = static_cast<u32>(context.size());
  }
  if (bpf(BPF_PROG_TEST_RUN, attr) != 0) return tl::unexpected<Error>(base::os_error("BPF_PROG_TEST_RUN"));
  Observed observed;
  observed.r0 = attr.test.retval;
  if (program.has_packet()) {
    out.resize(std::min<std::size_t>(attr.test.data_size_out, out.size()));
    observed.packet = std::move(out);
  } else if (program.type == ProgramType::syscall) {
    observed.context = std::move(context);
  }
  for (u32 i = 0; i < map_count; i++)
    if ((program.uses >> i & 1) != 0) parts.snapshot_one(i, observed.memory);
  // A program array that holds a program which names it keeps both alive.
  if ((program.uses >> prog_array & 1) != 0) {
    const u32 zero = 0;
    parts.map_op(BPF_MAP_DELETE_ELEM, prog_array, &zero, nullptr);
  }
  return observed;
}

}  // namespace skep::differential
