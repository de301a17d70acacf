// Real objects: they load, agree with libbpf on what is in them, relocate to the same instructions, and survive being
// mutated.
//
// The corpora lie beside the project (../shared/corpus, or where SKEP_CORPUS says); without them these tests are
// skipped by name. libbpf is opened at run time where it is installed: it is an oracle, not a dependency.
#include <dlfcn.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sstream>

#include "base/mapped_file.hpp"
#include "btf/core.hpp"
#include "btf/format_value.hpp"
#include "spec/resolve.hpp"
#include "spec/test_corpus.hpp"

namespace skep::spec {
namespace {

using namespace test;

/// What is refused, and why that is right.
const std::map<std::string, std::string>& known_refusals() {
  static const std::map<std::string, std::string> refusals = {
      {"badsymsize.o", "entries of 8, expected entries of 24"},  // broken on purpose
      {"linked_maps1.o", "declared extern; link the objects first"},
  };
  return refusals;
}

void expect_all_load(const std::vector<fs::path>& objects, std::size_t least_programs) {
  std::size_t programs = 0;
  for (const auto& path : objects) {
    const auto object = ObjectSpec::from_file(path);
    if (!object) {
      const auto known = known_refusals().find(path.filename());
      ASSERT_NE(known, known_refusals().end()) << path << ": " << object.error().message;
      EXPECT_NE(object.error().message.find(known->second), std::string::npos) << object.error().message;
      continue;
    }
    EXPECT_FALSE(object->programs.empty() && object->maps.empty()) << path;
    programs += object->programs.size();
    for (const auto& program : object->programs) {
      EXPECT_FALSE(program.insns.empty()) << path << " " << program.name;
      EXPECT_EQ(program.functions.at(0).insn, 0U);
      for (const auto& reference : program.references) EXPECT_LT(reference.insn, program.insns.size());
    }
  }
  EXPECT_GE(programs, least_programs);
}

TEST(Corpus, SampleObjectsLoad) {
  SKEP_NEED_CORPUS(samples_archive);
  const Unpacked unpacked(samples_archive);
  EXPECT_EQ(unpacked.objects.size(), 52U);
  expect_all_load(unpacked.objects, 270);
}

TEST(Corpus, SelftestObjectsLoad) {
  SKEP_NEED_CORPUS(selftests_archive);
  const Unpacked unpacked(selftests_archive);
  EXPECT_EQ(unpacked.objects.size(), 373U);
  expect_all_load(unpacked.objects, 1450);
}

/// The few functions of libbpf the comparison needs, looked up at run time.
class Libbpf {
 public:
  Libbpf() : library_(::dlopen("libbpf.so.1", RTLD_NOW | RTLD_LOCAL)) {
    if (library_ == nullptr) return;
    find("libbpf_set_print", set_print);
    find("bpf_object__open_file", open);
    find("bpf_object__close", close);
    find("bpf_object__next_program", next_program);
    find("bpf_object__next_map", next_map);
    find("bpf_program__name", program_name);
    find("bpf_program__section_name", section_name);
    find("bpf_program__insn_cnt", insn_count);
    find("bpf_program__type", program_type);
    find("bpf_program__expected_attach_type", attach_type);
    find("bpf_map__name", map_name);
    find("bpf_map__type", map_type);
    find("bpf_map__key_size", key_size);
    find("bpf_map__value_size", value_size);
    find("bpf_map__max_entries", max_entries);
    find("bpf_map__map_flags", map_flags);
    if (set_print != nullptr) set_print(nullptr);
  }
  ~Libbpf() {
    if (library_ != nullptr) ::dlclose(library_);
  }
  explicit operator bool() const { return library_ != nullptr && complete_; }

  void* (*set_print)(void*) = nullptr;
  void* (*open)(const char*, const void*) = nullptr;
  void (*close)(void*) = nullptr;
  void* (*next_program)(const void*, void*) = nullptr;
  void* (*next_map)(const void*, const void*) = nullptr;
  const char* (*program_name)(const void*) = nullptr;
  const char* (*section_name)(const void*) = nullptr;
  std::size_t (*insn_count)(const void*) = nullptr;
  u32 (*program_type)(const void*) = nullptr;
  u32 (*attach_type)(const void*) = nullptr;
  const char* (*map_name)(const void*) = nullptr;
  u32 (*map_type)(const void*) = nullptr;
  u32 (*key_size)(const void*) = nullptr;
  u32 (*value_size)(const void*) = nullptr;
  u32 (*max_entries)(const void*) = nullptr;
  u32 (*map_flags)(const void*) = nullptr;

 private:
  template <class F>
  void find(const char* name, F& function) {
    function = reinterpret_cast<F>(::dlsym(library_, name));
    complete_ &= function != nullptr;
  }
  void* library_;
  bool complete_ = true;
};

std::string map_line(std::string_view name, u32 type, u32 key, u32 value, u32 entries, u32 flags) {
  // What libbpf adapts when it opens an object, our engines adapt when they load it: pages of a ring buffer.
  if (type == static_cast<u32>(MapType::ringbuf)) entries = 0;
  return fmt::format("map {} type {} key {} value {} entries {} flags {:#x}", name.substr(0, 15), type, key, value,
                     entries, flags);
}

/// One line for each program and map, as libbpf sees the opened object.
std::set<std::string> seen_by_libbpf(const Libbpf& bpf, void* object,
                                     const std::set<std::string>& sections_without_row) {
  std::set<std::string> out;
  for (void* p = bpf.next_program(object, nullptr); p != nullptr; p = bpf.next_program(object, p)) {
    const bool untyped = sections_without_row.contains(bpf.section_name(p));
    out.insert(fmt::format("program {} section {} insns {} type {}", bpf.program_name(p), bpf.section_name(p),
                           bpf.insn_count(p), untyped ? 0 : bpf.program_type(p)));
  }
  for (void* m = bpf.next_map(object, nullptr); m != nullptr; m = bpf.next_map(object, m))
    out.insert(map_line(bpf.map_name(m), bpf.map_type(m), bpf.key_size(m), bpf.value_size(m), bpf.max_entries(m),
                        bpf.map_flags(m) & ~(1U << 10)));
  return out;
}

std::set<std::string> seen_by_us(const ObjectSpec& object, const std::set<std::string>& sections_without_row) {
  std::set<std::string> out;
  for (const auto& p : object.programs) {
    const std::size_t own = p.functions.size() > 1 ? p.functions[1].insn : p.insns.size();
    const bool untyped = sections_without_row.contains(p.section.substr(p.section.starts_with('?') ? 1 : 0));
    // libbpf's names leave the question mark out.
    const auto section = p.section.substr(p.section.starts_with('?') ? 1 : 0);
    out.insert(fmt::format("program {} section {} insns {} type {}", p.name, section, own,
                           untyped ? 0 : static_cast<u32>(p.type)));
  }
  constexpr u32 link_flag = map_flag::link;  // .struct_ops.link is newer than Debian 12's libbpf
  constexpr u32 mappable_flag = 1U << 10;    // which data can be mapped changed between libbpf versions
  for (const auto& m : object.maps) {
    if (m.type == MapType::struct_ops && ((m.flags & link_flag) != 0 || !m.autocreate)) continue;
    out.insert(
        map_line(m.name, static_cast<u32>(m.type), m.key_size, m.value_size, m.max_entries, m.flags & ~mappable_flag));
  }
  return out;
}

TEST(Corpus, AgreesWithLibbpfOnWhatIsInAnObject) {
  SKEP_NEED_CORPUS(selftests_archive);
  const Libbpf bpf;
  if (!bpf) GTEST_SKIP() << "left out: libbpf.so.1 is not installed";
  const Unpacked unpacked(selftests_archive);
  int compared = 0, differing = 0;
  for (const auto& path : unpacked.objects) {
    const auto object = ObjectSpec::from_file(path);
    void* theirs = bpf.open(path.c_str(), nullptr);
    if (theirs == nullptr) continue;  // newer than the installed libbpf
    if (object) {
      std::set<std::string> untyped;  // sections the installed libbpf is too old to know
      for (void* p = bpf.next_program(theirs, nullptr); p != nullptr; p = bpf.next_program(theirs, p))
        if (bpf.program_type(p) == 0) untyped.insert(bpf.section_name(p));
      const auto ours = seen_by_us(*object, untyped);
      const auto seen = seen_by_libbpf(bpf, theirs, untyped);
      std::vector<std::string> differences;
      std::set_symmetric_difference(ours.begin(), ours.end(), seen.begin(), seen.end(),
                                    std::back_inserter(differences));
      compared++;
      differing += !differences.empty();
      for (const auto& line : differences) ADD_FAILURE() << path.filename() << ": " << line;
    }
    bpf.close(theirs);
  }
  EXPECT_GT(compared, 200);
  EXPECT_EQ(differing, 0) << "of " << compared;
}

bool same_machine_as_corpus() {
  utsname name{};
  ::uname(&name);
  return test::has_kernel_btf() && std::string_view(name.release).starts_with("6.18.44");
}

std::vector<Insn> insns_from_hex(const std::string& hex) {
  std::vector<Insn> out(hex.size() / 16);
  for (std::size_t i = 0; i < out.size(); i++) {
    u8 bytes[8];
    for (std::size_t j = 0; j < 8; j++)
      bytes[j] = static_cast<u8>(std::stoul(hex.substr(16 * i + 2 * j, 2), nullptr, 16));
    std::memcpy(&out[i], bytes, 8);
  }
  return out;
}

/// "" where `ours` is what libbpf made, else the first difference. Map references are indices in the corpus; numbers
/// that only a loaded kernel object has (functions, symbols, type ids of another build) are compared by kind.
std::string difference(const ObjectSpec& object, const ProgramSpec& ours, const std::set<u32>& target_ids,
                       const std::vector<Insn>& theirs, const nlohmann::json& maps) {
  if (ours.insns.size() != theirs.size())
    return fmt::format("{} instructions, expected {}", ours.insns.size(), theirs.size());
  auto made = ours.insns;
  for (const auto& reference : ours.references) {
    const auto& wanted = theirs[reference.insn];
    auto& insn = made[reference.insn];
    switch (reference.kind) {
      case Reference::Kind::map:
      case Reference::Kind::map_value:
      case Reference::Kind::kconfig: {
        const auto index = static_cast<std::size_t>(wanted.imm);
        const auto name = object.maps[reference.map].name.substr(0, 15);
        if (index >= maps.size() || maps[index]["name"].get<std::string>() != name)
          return fmt::format("instruction {} refers to map {}", reference.insn, name);
        insn.imm = wanted.imm;
        break;
      }
      case Reference::Kind::kfunc:
        insn.imm = wanted.imm;
        insn.off = wanted.off;
        break;
      case Reference::Kind::ksym:
        insn = wanted;
        made[reference.insn + 1] = theirs[reference.insn + 1];
        break;
      case Reference::Kind::function:
        break;
    }
  }
  for (const u32 at : target_ids) made[at].imm = theirs[at].imm;
  for (std::size_t i = 0; i < made.size(); i++)
    if (!(made[i] == theirs[i]))
      return fmt::format("instruction {}: code {:#x} offset {} immediate {}, expected {:#x} {} {}", i, made[i].code,
                         made[i].off, made[i].imm, theirs[i].code, theirs[i].off, theirs[i].imm);
  return {};
}

TEST(Corpus, RelocatesAsLibbpfDid) {
  SKEP_NEED_CORPUS(selftests_archive);
  SKEP_NEED_CORPUS(relocated_archive);
  if (!same_machine_as_corpus()) GTEST_SKIP() << "left out: the corpus was relocated for kernel 6.18.44";
  const Unpacked unpacked(selftests_archive);
  const auto text = test::output_of(fmt::format("xz -dc '{}'", (corpus() / relocated_archive).string()));
  ASSERT_TRUE(text);
  const std::vector targets = {*btf::Btf::from_file(test::kernel_btf)};
  std::map<std::string, std::optional<ObjectSpec>> objects;
  std::istringstream lines(*text);
  int rows = 0, equal = 0;
  for (std::string line; std::getline(lines, line); rows++) {
    const auto row = nlohmann::json::parse(line);
    auto& object = objects[row["object"]];
    if (!object) {
      const auto path = std::find_if(unpacked.objects.begin(), unpacked.objects.end(),
                                     [&](const auto& p) { return p.filename() == row["object"].get<std::string>(); });
      ASSERT_NE(path, unpacked.objects.end());
      auto read = ObjectSpec::from_file(*path);
      ASSERT_TRUE(read) << read.error().message;
      object = std::move(*read);
    }
    const auto place = row["object"].get<std::string>() + " " + row["program"].get<std::string>();
    const auto* found = object->program(row["program"].get<std::string>());
    ASSERT_NE(found, nullptr) << place;
    ProgramSpec program = *found;
    std::set<u32> target_ids;
    for (const auto& relocation : program.relocations)
      if (relocation.kind == static_cast<u32>(btf::CoreKind::type_id_target)) target_ids.insert(relocation.insn);
    btf::CoreBudget budget;
    const auto done = apply_core(program, *object->btf, targets, budget);
    ASSERT_TRUE(done) << place << ": " << done.error().message;
    const auto found_difference = difference(*object, program, target_ids, insns_from_hex(row["insns"]), row["maps"]);
    EXPECT_EQ(found_difference, "") << place;
    equal += found_difference.empty();
  }
  EXPECT_EQ(equal, rows);
  EXPECT_EQ(rows, 1458);
}

/// Everything that reads a spec, over one that was made from mutated bytes.
void exercise(ObjectSpec& object) {
  (void)resolve_kconfig(object, [](std::string_view) { return std::optional<std::string>("y"); });
  for (const auto& map : object.maps)
    if (object.btf && map.btf_value_type_id != 0)
      (void)btf::format_value(*object.btf, map.btf_value_type_id, map.initial_value);
  btf::CoreBudget budget;
  for (auto& program : object.programs) {
    const std::shared_ptr<const btf::Btf> targets[] = {object.btf};
    if (object.btf) (void)apply_core(program, *object.btf, targets, budget);
    ASSERT_LE(program.functions.size(), program.insns.size());
  }
}

TEST(Corpus, MutatedObjectsNeverFault) {
  SKEP_NEED_CORPUS(selftests_archive);
  const Unpacked unpacked(selftests_archive);
  std::vector<std::vector<std::byte>> seeds;
  for (const auto& path : unpacked.objects)
    if (fs::file_size(path) < 30'000) seeds.push_back(*base::read_file(path));
  ASSERT_GT(seeds.size(), 100U);
  std::mt19937 random(6012);
  int accepted = 0;
  for (int round = 0; round < 3000; round++) {
    auto bytes = seeds[random() % seeds.size()];
    for (u32 change = 0; change <= random() % 6; change++) {
      // Small numbers and extremes break counts and offsets more often than noise does.
      static constexpr u8 values[] = {0, 1, 2, 4, 8, 0x18, 0x7f, 0x80, 0x85, 0xff};
      bytes[random() % bytes.size()] = static_cast<std::byte>(random() % 2 ? values[random() % 10] : random());
    }
    if (random() % 20 == 0) bytes.resize(random() % bytes.size());
    auto object = ObjectSpec::from_bytes(bytes, "mutated.o");
    if (!object) {
      EXPECT_FALSE(object.error().message.empty());
      continue;
    }
    accepted++;
    exercise(*object);
  }
  EXPECT_GT(accepted, 300) << "the mutations must not all be caught at the door";
}

}  // namespace
}  // namespace skep::spec
