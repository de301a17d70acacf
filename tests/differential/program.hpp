// A random program: instructions, the maps it may use, and one input.
//
// Every program has the same maps (map_specs below), named by index in its ld_imm64s, so that an engine makes them
// once and only resets them. A program is a value of its seed; the shrinker makes smaller ones of it.
#pragma once
#include <skep/spec.hpp>
#include <string>
#include <vector>

namespace skep::differential {

/// Maps by index. Their keys are chosen from a few, so that elements are found, replaced and deleted.
enum MapIndex : u32 {
  data,
  array,
  hash,
  percpu_array,
  lru_hash,
  queue,
  stack,
  prog_array,
  percpu_hash,
  lpm,
  map_count
};

/// `data`: the first half is the program's to change, the second takes its registers at the end.
inline constexpr u32 work_bytes = 64, result_bytes = 64;
inline constexpr u32 context_bytes = 64, value_bytes = 16;
inline constexpr u32 keys = 4;  ///< of hashes: 0 to keys - 1

const std::vector<MapSpec>& map_specs();

/// The types of random programs: those that both engines can run by hand.
inline constexpr ProgramType random_types[] = {ProgramType::sched_cls, ProgramType::xdp, ProgramType::socket_filter,
                                               ProgramType::syscall, ProgramType::raw_tracepoint};

struct RandomProgram {
  u64 seed = 0;
  ProgramType type = ProgramType::socket_filter;
  std::vector<Insn> insns;     ///< src of an ld_imm64 1 or 2: imm is a MapIndex; src 4: relative, as Linux takes it
  std::vector<u32> functions;  ///< first instructions of subprograms, ascending; not the entry
  std::vector<std::byte> packet, context;
  bool mutated = false;  ///< changed at random afterwards: addresses may reach its results
  u32 uses = 0;          ///< by MapIndex: some instruction names it

  bool sleepable() const { return type == ProgramType::syscall; }
  bool has_packet() const {
    return type == ProgramType::xdp || type == ProgramType::sched_cls || type == ProgramType::socket_filter;
  }
  /// As a .case file of tests/cases takes it, with `comment` above.
  std::string text(const std::string& comment) const;
};

/// For verify(): one program named "random" and all the maps.
ObjectSpec object_of(const RandomProgram& program);

/// The program of that seed: the same on every machine and in every version of the C++ library.
RandomProgram generate(u64 seed);

}  // namespace skep::differential
