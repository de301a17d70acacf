// libFuzzer: any bytes as a program of any type, by user and kernel rules.
//
// The first two bytes choose the type, the rules and how often states are remembered; the others are instructions.
// Map references and kernel functions are taken modulo what there is, so that most inputs get past them. The law: a
// verdict within bounds of time and memory, and an accepted program runs without leaving what was explored of it
// (tests/embedding/oracle.hpp). Mutations know instructions; new inputs begin as programs of the border grammar.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../tests/embedding/border.hpp"
#include "../tests/embedding/mutation.hpp"
#include "../tests/embedding/runner.hpp"
#include "catalog/kfuncs.hpp"
#include "isa/isa.hpp"
#include "isa/text.hpp"

namespace {

using namespace skep;

constexpr ProgramType types[] = {
#define SKEP_PROGRAM_TYPE(name, number, printed, since) ProgramType::name,
#include <skep/tables/program_types.def>
#undef SKEP_PROGRAM_TYPE
};
constexpr std::size_t head_bytes = 2, most_insns = 512;

/// The border grammar's object and a few maps more.
const ObjectSpec& object() {
  static const ObjectSpec made = [] {
    ObjectSpec o = embedding::object_with_value();
    const auto add = [&o](const char* name, MapType type, u32 key, u32 value, u32 entries) {
      MapSpec map;
      map.name = name;
      map.type = type;
      map.key_size = key;
      map.value_size = value;
      map.max_entries = entries;
      o.maps.push_back(std::move(map));
    };
    add("array", MapType::array, 4, 24, 3);
    add("percpu", MapType::percpu_array, 4, 16, 2);
    add("ring", MapType::ringbuf, 0, 0, 4096);
    add("programs", MapType::prog_array, 4, 4, 2);
    add("queue", MapType::queue, 0, 8, 2);
    return o;
  }();
  return made;
}

ProgramSpec program_of(const unsigned char* data, std::size_t size) {
  ProgramSpec program;
  program.name = "fuzzed";
  program.type = types[data[0] % std::size(types)];
  program.sleepable = (data[1] & 4) != 0;
  program.insns.resize(std::min(size / sizeof(Insn), most_insns));
  std::memcpy(program.insns.data(), data + head_bytes, program.insns.size() * sizeof(Insn));
  program.functions.push_back({0, 0, "fuzzed", false});
  for (u32 i = 0; i < program.insns.size(); i++) {
    Insn& insn = program.insns[i];
    Reference reference;
    reference.insn = i;
    if (insn.code == 0x18 && (insn.src == 1 || insn.src == 2) && i + 1 < program.insns.size()) {
      reference.kind = insn.src == 1 ? Reference::Kind::map : Reference::Kind::map_value;
      reference.map = static_cast<u32>(insn.imm) % static_cast<u32>(object().maps.size());
      reference.addend = static_cast<u32>(program.insns[i + 1].imm);
      program.references.push_back(reference);
      i++;
    } else if (insn.code == 0x85 && insn.src == 2) {
      reference.kind = Reference::Kind::kfunc;
      reference.name = catalog::kfuncs()[static_cast<u32>(insn.imm) % catalog::kfuncs().size()].name;
      program.references.push_back(reference);
    } else if (insn.code == 0x85 && insn.src == 1) {
      const s64 target = s64{i} + 1 + insn.imm;
      if (target > program.functions.back().insn && target < static_cast<s64>(program.insns.size()))
        program.functions.push_back({static_cast<u32>(target), 0, "callee", false});
    }
  }
  return program;
}

std::size_t write(const ProgramSpec& program, unsigned char* data, std::size_t max_size) {
  const std::size_t count = std::min(program.insns.size(), (max_size - head_bytes) / sizeof(Insn));
  std::memcpy(data + head_bytes, program.insns.data(), count * sizeof(Insn));
  return head_bytes + count * sizeof(Insn);
}

}  // namespace

extern "C" std::size_t LLVMFuzzerMutate(unsigned char* data, std::size_t size, std::size_t max_size);

extern "C" std::size_t LLVMFuzzerCustomMutator(unsigned char* data, std::size_t size, std::size_t max_size,
                                               unsigned int seed) {
  if (max_size < head_bytes + sizeof(Insn)) return LLVMFuzzerMutate(data, size, max_size);
  std::mt19937_64 random(seed);
  if (size < head_bytes + 2 * sizeof(Insn) || random() % 64 == 0) {
    embedding::Border border(random());
    const bool is_packet = random() % 2 == 0;
    const ProgramSpec fresh = is_packet ? border.packet_program() : border.program(true);
    data[0] = static_cast<unsigned char>(static_cast<u32>(fresh.type) - 1);
    data[1] = static_cast<unsigned char>(random() % 8);
    return write(fresh, data, max_size);
  }
  if (random() % 2 == 0) return LLVMFuzzerMutate(data, size, max_size);
  return write(embedding::mutate(program_of(data, size - head_bytes), random), data, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size < head_bytes + sizeof(Insn)) return 0;
  static embedding::Runner runner;
  const ProgramSpec program = program_of(data, size - head_bytes);
  const auto rules = (data[1] & 1) != 0 ? verify::Rules::kernel : verify::Rules::user;
  const embedding::How how{.rules = rules, .often = (data[1] & 2) != 0, .at_once = (data[1] & 4) != 0};
  const auto outcome = runner.judge(object(), program, how, size, 2);
  if (!outcome.violation.empty()) {
    std::fprintf(stderr, "an accepted program left its proof: %s\n%s", outcome.violation.c_str(),
                 isa::disassemble(program.insns).c_str());
    std::abort();
  }
  return 0;
}
