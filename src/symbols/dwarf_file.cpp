// Walking debug information with libdw. See dwarf_file.hpp.
//
// libdw's own search by address stands on .debug_aranges, which clang does not write, and its search for scopes walks a
// whole unit each time. So the ranges of units are listed once, those of a unit's functions when the unit is first
// needed, and of the function only the branch is walked that holds the address.
#include "symbols/dwarf_file.hpp"

#ifdef SKEP_HAS_LIBDW
#include <dlfcn.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#endif

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "symbols/demangle.hpp"

namespace skep::symbols {

#ifdef SKEP_HAS_LIBDW
namespace {

constexpr std::size_t most_ranges = 1u << 22, most_depth = 512, most_name_bytes = 4096;

/// The functions of the library that are used. It stays open.
struct Library {
  void* const opened = ::dlopen("libdw.so.1", RTLD_NOW | RTLD_LOCAL);
  bool is_complete = opened != nullptr;

#define SKEP_FUNCTION(name) decltype(&::name) name = found<decltype(&::name)>(#name)
  SKEP_FUNCTION(dwarf_begin);
  SKEP_FUNCTION(dwarf_end);
  SKEP_FUNCTION(dwarf_setalt);
  SKEP_FUNCTION(dwarf_get_units);
  SKEP_FUNCTION(dwarf_offdie);
  SKEP_FUNCTION(dwarf_dieoffset);
  SKEP_FUNCTION(dwarf_child);
  SKEP_FUNCTION(dwarf_siblingof);
  SKEP_FUNCTION(dwarf_tag);
  SKEP_FUNCTION(dwarf_haspc);
  SKEP_FUNCTION(dwarf_ranges);
  SKEP_FUNCTION(dwarf_attr);
  SKEP_FUNCTION(dwarf_hasattr);
  SKEP_FUNCTION(dwarf_formref_die);
  SKEP_FUNCTION(dwarf_diecu);
  SKEP_FUNCTION(dwarf_cu_getdwarf);
  SKEP_FUNCTION(dwarf_attr_integrate);
  SKEP_FUNCTION(dwarf_formstring);
  SKEP_FUNCTION(dwarf_formudata);
  SKEP_FUNCTION(dwarf_diename);
  SKEP_FUNCTION(dwarf_getsrcfiles);
  SKEP_FUNCTION(dwarf_filesrc);
  SKEP_FUNCTION(dwarf_getsrc_die);
  SKEP_FUNCTION(dwarf_lineno);
  SKEP_FUNCTION(dwarf_linesrc);
#undef SKEP_FUNCTION

 private:
  template <class F>
  F found(const char* name) {
    void* const function = opened == nullptr ? nullptr : ::dlsym(opened, name);
    is_complete = is_complete && function != nullptr;
    return reinterpret_cast<F>(function);
  }
};

const Library& dw() {
  static const Library opened;
  return opened;
}

/// Addresses [begin, end) of the unit or function at `die`, an offset in .debug_info.
struct Range {
  u64 begin, end;
  Dwarf_Off die;
};

/// Code that the linker dropped keeps its ranges, at 0.
void add_ranges(Dwarf_Die* die, std::vector<Range>& out) {
  Dwarf_Addr base = 0, begin = 0, end = 0;
  for (ptrdiff_t at = 0; (at = dw().dwarf_ranges(die, at, &base, &begin, &end)) > 0 && out.size() < most_ranges;)
    if (begin != 0 && end > begin) out.push_back({begin, end, dw().dwarf_dieoffset(die)});
}

void sort(std::vector<Range>& ranges) { std::ranges::sort(ranges, {}, &Range::begin); }

/// The last range that begins at the address or before it and holds it. Ranges hardly overlap; a few are looked at.
const Range* range_of(const std::vector<Range>& ranges, u64 address) {
  auto at = std::ranges::upper_bound(ranges, address, {}, &Range::begin);
  for (int looks = 0; at != ranges.begin() && looks < 64; ++looks)
    if ((--at)->end > address) return &*at;
  return nullptr;
}

std::string text_of(const char* text) { return text == nullptr ? std::string() : std::string(text); }

std::string linkage_name_of(Dwarf_Die* die) {
  Dwarf_Attribute attribute;
  for (const unsigned name : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name})
    if (dw().dwarf_attr_integrate(die, name, &attribute) != nullptr)
      if (const char* const text = dw().dwarf_formstring(&attribute)) return text;
  return {};
}

/// The function itself, where `die` stands for one of its copies, or for code of what was declared elsewhere.
Dwarf_Die written_at(Dwarf_Die die) {
  constexpr int most_steps = 16;
  for (int step = 0; step < most_steps; ++step) {
    Dwarf_Attribute attribute;
    Dwarf_Die next;
    if (dw().dwarf_attr(&die, DW_AT_abstract_origin, &attribute) == nullptr &&
        dw().dwarf_attr(&die, DW_AT_specification, &attribute) == nullptr)
      break;
    if (dw().dwarf_formref_die(&attribute, &next) == nullptr) break;
    die = next;
  }
  return die;
}

std::optional<u64> number(Dwarf_Die* die, unsigned name) {
  Dwarf_Attribute attribute;
  Dwarf_Word value = 0;
  if (dw().dwarf_attr(die, name, &attribute) == nullptr || dw().dwarf_formudata(&attribute, &value) != 0)
    return std::nullopt;
  return value;
}

/// Calls `visit` with each child, until it answers false.
template <class Visit>
void each_child(Dwarf_Die* parent, Visit visit) {
  Dwarf_Die child;
  if (dw().dwarf_child(parent, &child) != 0) return;
  do {
    if (!visit(child)) return;
  } while (dw().dwarf_siblingof(&child, &child) == 0);
}

/// Functions of a unit.
struct Unit {
  std::vector<Range> with_code;
  std::unordered_map<Dwarf_Off, u32>
      scopes;  ///< index of that which a function is written in, where it has no mangled name
  struct Scope {
    std::string name;
    u32 outer = 0;
    bool is_function = false;
  };
  std::vector<Scope> all_scopes = {{}};  ///< the first: none
};

/// Finds them. clang has them in namespaces; gcc has lambdas, and functions within functions, in the types and blocks
/// of the function that they are written in.
class FunctionWalk {
 public:
  explicit FunctionWalk(Unit& unit) : unit_(unit) {}

  void walk(Dwarf_Die* parent) {
    each_child(parent, [&](Dwarf_Die& child) {
      const int tag = dw().dwarf_tag(&child);
      if (tag == DW_TAG_subprogram) add(child);
      if (path_.size() < most_depth && may_hold_functions(tag)) {
        path_.push_back({child, tag, 0});
        walk(&child);
        path_.pop_back();
      }
      return unit_.with_code.size() < most_ranges;
    });
  }

 private:
  struct Step {
    Dwarf_Die die;
    int tag;
    u32 scope;  ///< 0: not needed yet
  };

  static bool may_hold_functions(int tag) {
    constexpr int tags[] = {DW_TAG_namespace,      DW_TAG_module,     DW_TAG_class_type,
                            DW_TAG_structure_type, DW_TAG_union_type, DW_TAG_subprogram,
                            DW_TAG_lexical_block,  DW_TAG_try_block,  DW_TAG_catch_block};
    return std::ranges::find(tags, tag) != std::end(tags);
  }

  void add(Dwarf_Die& function) {
    add_ranges(&function, unit_.with_code);
    if (!path_.empty() && !dw().dwarf_hasattr(&function, DW_AT_linkage_name) &&
        dw().dwarf_hasattr(&function, DW_AT_name))
      if (const u32 scope = innermost_scope(); scope != 0) unit_.scopes.emplace(dw().dwarf_dieoffset(&function), scope);
  }

  u32 innermost_scope() {
    u32 outer = 0;
    for (Step& step : path_) {
      if (step.tag == DW_TAG_lexical_block || step.tag == DW_TAG_try_block || step.tag == DW_TAG_catch_block) continue;
      if (step.scope == 0 && unit_.all_scopes.size() < most_ranges) {
        step.scope = static_cast<u32>(unit_.all_scopes.size());
        unit_.all_scopes.push_back(scope_of(step, outer));
      }
      outer = step.scope;
    }
    return outer;
  }

  static Unit::Scope scope_of(Step& step, u32 outer) {
    const bool is_function = step.tag == DW_TAG_subprogram;
    if (const std::string mangled = is_function ? linkage_name_of(&step.die) : std::string(); !mangled.empty())
      return {demangle(mangled), 0, true};
    std::string name = text_of(dw().dwarf_diename(&step.die));
    if (name.empty()) name = step.tag == DW_TAG_namespace ? "(anonymous namespace)" : "(unnamed)";
    return {std::move(name), outer, is_function};
  }

  Unit& unit_;
  std::vector<Step> path_;
};

/// What is inlined into a scope at the address, the innermost first. Blocks that link-time optimisation has made may
/// hold the address beside each other: then the one with more in it.
std::vector<Dwarf_Die> inlined_at(Dwarf_Die* scope, u64 address, std::size_t depth) {
  std::vector<Dwarf_Die> most;
  each_child(scope, [&](Dwarf_Die& child) {
    const int tag = dw().dwarf_tag(&child);
    const bool is_inlined = tag == DW_TAG_inlined_subroutine;
    if (!is_inlined && tag != DW_TAG_lexical_block && tag != DW_TAG_try_block && tag != DW_TAG_catch_block) return true;
    if (depth == most_depth || dw().dwarf_haspc(&child, address) <= 0) return true;
    std::vector<Dwarf_Die> here = inlined_at(&child, address, depth + 1);
    if (is_inlined) here.push_back(child);
    if (here.size() > most.size()) most = std::move(here);
    return true;
  });
  return most;
}

}  // namespace

class DwarfFile::State {
 public:
  ~State() {
    if (debug_ != nullptr) dw().dwarf_end(debug_);
    if (supplement_ != nullptr) dw().dwarf_end(supplement_);
  }

  Result<void> open(base::Fd file, base::Fd supplement) {
    file_ = std::move(file), supplement_file_ = std::move(supplement);
    debug_ = dw().dwarf_begin(file_.get(), DWARF_C_READ);
    if (debug_ == nullptr) return fail(Code::malformed, "no debug information that can be read");
    if (supplement_file_ && (supplement_ = dw().dwarf_begin(supplement_file_.get(), DWARF_C_READ)) != nullptr)
      dw().dwarf_setalt(debug_, supplement_);
    list_units();
    return {};
  }

  std::vector<SourceFrame> at(u64 address) {
    const Range* const unit = range_of(units_, address);
    Dwarf_Die unit_die, function_die;
    if (unit == nullptr || dw().dwarf_offdie(debug_, unit->die, &unit_die) == nullptr) return {};
    std::vector<Dwarf_Die> calls;
    std::vector<SourceFrame> frames;
    if (const Range* const function = range_of(unit_at(unit->die).with_code, address);
        function != nullptr && dw().dwarf_offdie(debug_, function->die, &function_die) != nullptr) {
      calls = inlined_at(&function_die, address, 0);
      calls.push_back(function_die);
    }
    for (const Dwarf_Die& call : calls) frames.push_back({name_of(call), {}, 0});
    // Assembly, and what clang's -gline-tables-only leaves, have lines without functions.
    if (frames.empty()) frames.emplace_back();
    add_lines(unit_die, address, calls, frames);
    if (calls.empty() && frames.front().line == 0) frames.clear();
    return frames;
  }

 private:
  void list_units() {
    Dwarf_CU* unit = nullptr;
    Dwarf_Die die, split;
    Dwarf_Half version = 0;
    uint8_t kind = 0;
    while (dw().dwarf_get_units(debug_, unit, &unit, &version, &kind, &die, &split) == 0 && units_.size() < most_ranges)
      if (kind == DW_UT_compile) add_ranges(&die, units_);
    sort(units_);
  }

  const Unit& unit_at(Dwarf_Off offset) {
    const auto [at, is_new] = read_units_.try_emplace(offset);
    Dwarf_Die die;
    if (is_new && dw().dwarf_offdie(debug_, offset, &die) != nullptr) {
      FunctionWalk(at->second).walk(&die);
      sort(at->second.with_code);
    }
    return at->second;
  }

  /// Mangled, or put together from what it is written in: of functions that nobody else can call there are no mangled
  /// names.
  std::string name_of(Dwarf_Die die) {
    if (std::string mangled = linkage_name_of(&die); !mangled.empty()) return mangled;
    std::string name = text_of(dw().dwarf_diename(&die));
    Dwarf_Die function = written_at(die), unit_die;
    if (name.empty() || dw().dwarf_cu_getdwarf(function.cu) != debug_ ||
        dw().dwarf_diecu(&function, &unit_die, nullptr, nullptr) == nullptr)
      return name;
    const Unit& unit = unit_at(dw().dwarf_dieoffset(&unit_die));
    const auto scope = unit.scopes.find(dw().dwarf_dieoffset(&function));
    if (scope == unit.scopes.end() || unit.all_scopes[scope->second].is_function)
      return name;  // GNU C's inner functions
    for (u32 at = scope->second; at != 0 && name.size() < most_name_bytes; at = unit.all_scopes[at].outer)
      name.insert(0, "::").insert(0, unit.all_scopes[at].name);
    return name;
  }

  /// The innermost function is where the line table says; each one around it where it calls the next.
  void add_lines(Dwarf_Die unit, u64 address, std::vector<Dwarf_Die>& calls, std::vector<SourceFrame>& frames) {
    if (Dwarf_Line* const line = dw().dwarf_getsrc_die(&unit, address)) {
      int number = 0;
      frames.front().file = text_of(dw().dwarf_linesrc(line, nullptr, nullptr));
      if (dw().dwarf_lineno(line, &number) == 0 && number > 0) frames.front().line = static_cast<u32>(number);
    }
    Dwarf_Files* files = nullptr;
    std::size_t file_count = 0;
    if (dw().dwarf_getsrcfiles(&unit, &files, &file_count) != 0) return;
    for (std::size_t i = 1; i < frames.size(); ++i) {
      Dwarf_Die& inner = calls[i - 1];
      if (const auto file = number(&inner, DW_AT_call_file); file && *file < file_count)
        frames[i].file = text_of(dw().dwarf_filesrc(files, *file, nullptr, nullptr));
      frames[i].line = static_cast<u32>(number(&inner, DW_AT_call_line).value_or(0));
    }
  }

  base::Fd file_, supplement_file_;
  Dwarf* debug_ = nullptr;
  Dwarf* supplement_ = nullptr;
  std::vector<Range> units_;
  std::unordered_map<Dwarf_Off, Unit> read_units_;  ///< those that were asked for
};

Result<void> DwarfFile::available() {
  if (dw().is_complete) return {};
  return fail(Code::unsupported, "debug information is read by libdw.so.1, which is not here: install libdw1");
}

Result<DwarfFile> DwarfFile::open(base::Fd file, base::Fd supplement) {
  SKEP_TRY(available());
  auto state = std::make_unique<State>();
  SKEP_TRY(state->open(std::move(file), std::move(supplement)));
  return DwarfFile(std::move(state));
}

std::vector<SourceFrame> DwarfFile::at(u64 address) { return state_->at(address); }

#else

class DwarfFile::State {};
Result<void> DwarfFile::available() {
  return fail(Code::unsupported,
              "debug information is not read: libdw-dev was missing when skep was built; install it and build again");
}
Result<DwarfFile> DwarfFile::open(base::Fd, base::Fd) { return tl::unexpected(available().error()); }
std::vector<SourceFrame> DwarfFile::at(u64) { return {}; }

#endif

DwarfFile::DwarfFile(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
DwarfFile::DwarfFile(DwarfFile&&) noexcept = default;
DwarfFile& DwarfFile::operator=(DwarfFile&&) noexcept = default;
DwarfFile::~DwarfFile() = default;

}  // namespace skep::symbols
