// The table of helpers, by id: what the user engine links programs with.
#include "base/run_helpers.hpp"
#include "catalog/helpers.hpp"
#include "helper/bind.hpp"
#include "helper/helpers.hpp"

namespace skep::helper {

namespace {

constexpr std::size_t table_size = [] {
  u32 highest = 0;
#define SKEP_HELPER(name, id, ...) \
  if (id > highest) highest = id;
#include "catalog/helpers.def"
#undef SKEP_HELPER
  return std::size_t{highest} + 1;
}();

constexpr std::array<HelperFn, table_size> functions = [] {
  std::array<HelperFn, table_size> table{};
#define SKEP_PROVIDED(name) table[static_cast<u32>(catalog::HelperId::name)] = &bound::name;
#include "helper/provided.def"
#undef SKEP_PROVIDED
  // The same answer, by a function that JITs know and need not call.
  table[static_cast<u32>(catalog::HelperId::get_smp_processor_id)] = &base::cpu_of_run;
  return table;
}();

}  // namespace

std::span<const HelperFn> table() noexcept { return functions; }

}  // namespace skep::helper
