// What a module holds, shared by the file that fills it (module.cpp) and the one that runs it (program.cpp).
#pragma once
#include <skep/vm.hpp>

#include "catalog/contexts.hpp"
#include "helper/objects.hpp"
#include "map/map.hpp"
#include "vm/function.hpp"

namespace skep::host {

struct Compiler::Data {
  std::shared_ptr<vm::Jit> jit;
};

/// Immutable once loaded, so threads share it freely.
struct Module::Data {
  ObjectSpec spec;
  Options options;
  std::vector<base::HelperFn> helpers;         ///< by id; functions hold addresses out of it
  std::unique_ptr<helper::ObjectTypes> types;  ///< what programs make; outlives maps and functions
  std::vector<std::shared_ptr<map::Map>> maps;
  std::vector<std::shared_ptr<const vm::Function>> functions;  ///< by ObjectSpec::programs index
  bool per_cpu = false;                                        ///< some map has slots for each CPU
  bool slots = false;                                          ///< some map holds programs or maps

  ~Data();
};

struct Program::Data {
  std::shared_ptr<const Module::Data> module;
  const vm::Function* function = nullptr;
  std::string name;
  const catalog::Context* packet_layout = nullptr;  ///< null: the context is the host's
  bool in_section = true;                           ///< runs need a map::RunSection around them
};

/// Programs whose context describes a packet that a host can give.
bool takes_packets(ProgramType type) noexcept;

}  // namespace skep::host
