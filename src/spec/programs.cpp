// Programs: each entry function followed by the functions it reaches, with every call and address resolved.
//
// A program starts with its entry; whenever the walk meets a call (or a function's address) of a function that is not
// in the program yet, that function is appended and walked in turn, depth first, so the order is libbpf's. The
// compiler names a callee in two ways: by the function's symbol (global functions), or by its section plus an
// instruction count in the immediate (static ones); calls inside one section have no relocation at all.
// Source: kernel Documentation/bpf/llvm_reloc.rst.
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>

#include "base/sort_by.hpp"
#include "isa/jump_table.hpp"
#include "spec/attach.hpp"
#include "spec/insn_codes.hpp"
#include "spec/object_reader.hpp"

namespace skep::spec {
namespace {

constexpr std::string_view bcc_section = "skep.bcc";
constexpr std::size_t longest_line_text = 512;

template <class Record>
std::span<const Record> within(const std::vector<Record>& records, u64 first_byte, u64 end_byte) {
  auto before = [](const Record& r, u64 offset) { return r.offset < offset; };
  const auto from = std::lower_bound(records.begin(), records.end(), first_byte, before);
  const auto to = std::lower_bound(from, records.end(), end_byte, before);
  return {from, to};
}

}  // namespace

/// The state of linking one program.
struct ObjectReader::Link {
  ProgramSpec out;
  std::unordered_map<u32, u32> starts;  ///< function -> its first instruction in `out`
  struct Frame {
    u32 function = 0;
    u32 next = 0;  ///< the next instruction to look at, within the function
  };
  std::vector<Frame> frames;
};

Result<void> ObjectReader::read_programs() {
  for (const auto& function : functions_) {
    if (!function.is_entry) continue;
    out_.programs.push_back(SKEP_TRY_AT(fmt::format("program {}", function.name), link_program(function)));
    add_tail_call_slot(out_.programs.back());
  }
  for (const auto& [id, map] : program_arrays_) base::sort_by(out_.maps[map].slots, &MapSpec::Slot::index);
  return {};
}

/// iproute2's convention: the program of section "2/7" is slot 7 of the program array whose id is 2.
void ObjectReader::add_tail_call_slot(const ProgramSpec& program) {
  const auto slash = program.section.find('/');
  if (slash == std::string::npos || program_arrays_.empty()) return;
  char* end = nullptr;
  const u64 id = std::strtoull(program.section.c_str(), &end, 0);
  const auto array = end == program.section.c_str() + slash ? program_arrays_.find(id) : program_arrays_.end();
  if (array == program_arrays_.end()) return;
  const char* slot = program.section.c_str() + slash + 1;
  const u64 index = std::strtoull(slot, &end, 0);
  if (end == slot || *end != 0 || index > 0xffffffffULL) return;
  out_.maps[array->second].slots.push_back({static_cast<u32>(index), program.name});
}

Result<ProgramSpec> ObjectReader::link_program(const Function& entry) {
  Link link;
  auto& out = link.out;
  out.name = entry.name;
  out.section = section_at(entry.section)->name;
  out.autoload = !out.section.starts_with('?');
  if (out.section != bcc_section) {
    if (auto target = AttachTarget::from_section(out.section))
      out.attach = *target;
    else if (auto legacy = legacy_target(out.section))
      out.attach = *legacy;
    out.type = out.attach.program_type();
    out.sleepable = is_sleepable_section(out.section);
  }
  SKEP_TRY(append(link, static_cast<u32>(&entry - functions_.data())));
  while (!link.frames.empty()) SKEP_TRY(walk(link));
  SKEP_TRY(append_exception_callback(link));
  if (const auto group = groups_.find(out.functions[0].type_id); group != groups_.end()) {
    out.one_of = group->second;
    out.autoload = true;
  }
  base::sort_by(out.references, &Reference::insn);
  return std::move(out);
}

/// A program may name the function that runs when it throws, in a BTF tag of its own: nothing calls it, so it is
/// appended here.
Result<void> ObjectReader::append_exception_callback(Link& link) {
  const auto found = exception_callbacks_.find(link.out.functions[0].type_id);
  if (found == exception_callbacks_.end()) return {};
  const auto* text = section_named(".text");
  const auto symbol = text == nullptr ? named_symbols_.end() : named_symbols_.find({text->index, found->second});
  if (symbol == named_symbols_.end())
    return fail(Code::malformed, fmt::format("its exception callback '{}' is no function in .text", found->second));
  const u64 insn = symbols_->at(symbol->second).value / sizeof(Insn);
  const u32 callback = SKEP_TRY(function_starting_at(text->index, insn, "exception callback"));
  if (link.starts.contains(callback)) return {};
  SKEP_TRY(append(link, callback));
  while (!link.frames.empty()) SKEP_TRY(walk(link));
  return {};
}

/// Copies a function to the end of the program and schedules its walk. Returns where it starts.
Result<u32> ObjectReader::append(Link& link, u32 index) {
  const Function& function = functions_[index];
  auto& insns = link.out.insns;
  const auto start = static_cast<u32>(insns.size());
  total_insns_ += function.count;
  if (start + u64{function.count} > largest_program_insns || total_insns_ > largest_total_insns)
    return fail(Code::limit, fmt::format("more than {} instructions in a program, or {} in the object",
                                         largest_program_insns, largest_total_insns));
  const auto code = SKEP_TRY(file_->contents(*section_at(function.section)));
  insns.resize(start + function.count);
  std::memcpy(insns.data() + start, code.data() + u64{function.first} * sizeof(Insn),
              u64{function.count} * sizeof(Insn));
  link.starts[index] = start;
  link.frames.push_back({index, 0});
  SKEP_TRY(append_annotations(link.out, function, start));
  return start;
}

Result<void> ObjectReader::append_annotations(ProgramSpec& out, const Function& function, u32 start) {
  SKEP_TRY(take_text_bytes(sizeof(FunctionInfo) + function.name.size()));
  FunctionInfo info{.insn = start, .type_id = 0, .name = std::string(function.name), .is_global = function.is_global};
  const u64 first_byte = u64{function.first} * sizeof(Insn);
  const u64 end_byte = first_byte + u64{function.count} * sizeof(Insn);
  if (const auto found = annotations_.find(function.section); found != annotations_.end()) {
    const auto& notes = found->second;
    auto rebased = [&](u32 offset) { return start + static_cast<u32>((offset - first_byte) / sizeof(Insn)); };
    const auto functions = within(notes.functions, first_byte, first_byte + 1);
    if (!functions.empty() && btf_->type(functions[0].type_id).kind == btf::Kind::func)
      info.type_id = functions[0].type_id;
    for (const auto& line : within(notes.lines, first_byte, end_byte)) {
      const auto file = btf_->string(line.file);
      const auto text = btf_->string(line.text).substr(0, longest_line_text);
      SKEP_TRY(take_text_bytes(sizeof(SourceLine) + file.size() + text.size()));
      out.lines.push_back({.insn = rebased(line.offset),
                           .file = std::string(file),
                           .text = std::string(text),
                           .line = line.line(),
                           .column = line.column()});
    }
    for (const auto& core : within(notes.core, first_byte, end_byte)) {
      const auto access = btf_->string(core.access);
      SKEP_TRY(take_text_bytes(sizeof(CoreRelocation) + access.size()));
      if (core.offset % sizeof(Insn) != 0)
        return fail(Code::malformed, fmt::format("{}: a CO-RE relocation inside an instruction",
                                                 place_of(function.section, core.offset)));
      out.relocations.push_back(
          {.insn = rebased(core.offset), .type_id = core.type_id, .access = std::string(access), .kind = core.kind});
    }
  }
  out.functions.push_back(std::move(info));
  return {};
}

Result<void> ObjectReader::take_text_bytes(u64 size) {
  if (size > largest_total_text_bytes - text_bytes_)
    return fail(Code::limit,
                fmt::format("more than {} bytes of source lines and relocations", largest_total_text_bytes));
  text_bytes_ += size;
  return {};
}

/// Walks the function on top until its end or until another function was appended.
Result<void> ObjectReader::walk(Link& link) {
  const auto depth = link.frames.size();
  const u32 index = link.frames.back().function;
  const Function& function = functions_[index];
  const u32 start = link.starts[index];
  std::span<const elf::Relocation> relocations;
  if (const auto found = relocations_.find(function.section); found != relocations_.end()) {
    const u64 from = (u64{function.first} + link.frames.back().next) * sizeof(Insn);
    relocations = within(found->second, from, (u64{function.first} + function.count) * sizeof(Insn));
  }
  while (link.frames.size() == depth && link.frames.back().next < function.count) {
    const u32 i = link.frames.back().next;
    const u64 offset = (u64{function.first} + i) * sizeof(Insn);
    const bool wide = link.out.insns[start + i].code == code::ld_imm64;
    link.frames.back().next = i + (wide ? 2 : 1);
    const elf::Relocation* relocation = nullptr;
    if (!relocations.empty() && relocations.front().offset < offset + sizeof(Insn) * (wide ? 2 : 1)) {
      relocation = &relocations.front();
      if (relocation->offset != offset)
        return fail(Code::malformed, fmt::format("{}: a relocation inside an instruction",
                                                 place_of(function.section, relocation->offset)));
      relocations = relocations.subspan(1);
    }
    SKEP_TRY(relocate(link, index, i, relocation));
  }
  if (link.frames.size() == depth) link.frames.pop_back();
  return {};
}

Result<void> ObjectReader::relocate(Link& link, u32 function, u32 index, const elf::Relocation* relocation) {
  const Insn insn = link.out.insns[link.starts[function] + index];
  if (insn.code == code::call && (relocation != nullptr || insn.src == code::call_function))
    return relocate_call(link, function, index, relocation);
  if (relocation == nullptr) return {};
  if (insn.code == code::ld_imm64 && index + 1 < functions_[function].count)
    return relocate_address(link, function, index, *relocation);
  return fail(Code::malformed,
              fmt::format("{}: a relocation of instruction code {:#04x}; only calls and 64-bit loads have them",
                          place_of(functions_[function].section, relocation->offset), insn.code));
}

Result<u32> ObjectReader::function_starting_at(u32 section, u64 insn, const std::string& place) const {
  const auto found = insn > 0xffffffffULL ? function_starts_.end() : function_starts_.find(u64{section} << 32 | insn);
  if (found != function_starts_.end()) return found->second;
  const auto* where = section_at(section);
  return fail(Code::malformed, fmt::format("{}: refers to instruction {} of section {}, where no function begins",
                                           place, static_cast<s64>(insn), where == nullptr ? "?" : where->name));
}

Result<void> ObjectReader::relocate_call(Link& link, u32 function, u32 index, const elf::Relocation* relocation) {
  const Function& caller = functions_[function];
  const auto place = place_of(caller.section, (u64{caller.first} + index) * sizeof(Insn));
  const u32 at = link.starts[function] + index;
  const s64 immediate = link.out.insns[at].imm;
  u32 section = caller.section;
  s64 target = s64{caller.first} + index + immediate + 1;
  if (relocation != nullptr) {
    const auto symbol = SKEP_TRY(symbol_at(relocation->symbol, place));
    if (symbol.section == elf::index_undefined) return refer_to_extern(link, at, symbol);
    const auto* where = section_at(symbol.section);
    if (where == nullptr || !is_code(*where))
      return fail(Code::malformed,
                  fmt::format("{}: a call of symbol '{}', which is not code", place, symbols_->name(symbol)));
    section = symbol.section;
    target = static_cast<s64>(symbol.value / sizeof(Insn)) + immediate + 1;
  }
  const u32 callee = SKEP_TRY(function_starting_at(section, static_cast<u64>(target), place));
  const auto known = link.starts.find(callee);
  const u32 start = known != link.starts.end() ? known->second : SKEP_TRY(append(link, callee));
  auto& insn = link.out.insns[at];
  insn.src = code::call_function;
  insn.imm = static_cast<s32>(start) - static_cast<s32>(at) - 1;
  return {};
}

Result<void> ObjectReader::relocate_address(Link& link, u32 function, u32 index, const elf::Relocation& relocation) {
  const Function& user = functions_[function];
  const auto place = place_of(user.section, relocation.offset);
  const u32 at = link.starts[function] + index;
  const auto symbol = SKEP_TRY(symbol_at(relocation.symbol, place));
  if (symbol.section == elf::index_undefined) return refer_to_extern(link, at, symbol);
  const auto* where = section_at(symbol.section);
  if (where == nullptr)
    return fail(Code::unsupported, fmt::format("{}: symbol '{}' has no section", place, symbols_->name(symbol)));
  const u64 address = symbol.value + static_cast<u64>(s64{link.out.insns[at].imm});
  Reference reference{.insn = at, .kind = Reference::Kind::map};
  u8 source = code::src_map;
  s32 low = 0, high = 0;
  if (is_code(*where)) {
    if (address % sizeof(Insn) != 0)
      return fail(Code::malformed, fmt::format("{}: address {:#x} is no instruction's", place, address));
    const u32 callee = SKEP_TRY(function_starting_at(symbol.section, address / sizeof(Insn), place));
    const auto known = link.starts.find(callee);
    const u32 start = known != link.starts.end() ? known->second : SKEP_TRY(append(link, callee));
    reference.kind = Reference::Kind::function;
    reference.addend = start;
    SKEP_TRY(take_text_bytes(functions_[callee].name.size()));
    reference.name = functions_[callee].name;
    source = code::src_function;
    low = static_cast<s32>(start) - static_cast<s32>(at) - 1;
  } else {
    const auto* map = map_at(symbol.section, address);
    if (map == nullptr && where->name == ".jumptables") {  // this program is refused by name, the others can do without
      link.out.insns[at].src = isa::imm64_src_jump_table;
      return {};
    }
    if (map == nullptr)
      return fail(Code::unsupported,
                  fmt::format("{}: symbol '{}' lies in section {}, which holds neither maps, data nor code", place,
                              symbols_->name(symbol), where->name));
    reference.map = map->map;
    if (out_.maps[map->map].is_global_data || where->name == ".addr_space.1") {
      reference.kind = Reference::Kind::map_value;
      reference.addend = static_cast<u32>(address - map->offset);
      source = code::src_map_value;
      high = static_cast<s32>(reference.addend);
    }
  }
  auto* insn = &link.out.insns[at];
  insn->src = source;
  insn->imm = low;
  insn[1].imm = high;
  link.out.references.push_back(std::move(reference));
  return {};
}

Result<void> ObjectReader::refer_to_extern(Link& link, u32 at, const elf::Symbol& symbol) {
  const auto name = symbols_->name(symbol);
  const auto found = externs_.find(name);
  SKEP_TRY(take_text_bytes(name.size()));
  auto& insn = link.out.insns[at];
  Reference reference{.insn = at, .name = std::string(name)};
  if (found != externs_.end()) {
    reference.type_id = found->second.type_id;
    reference.weak = found->second.weak;
  }
  insn.imm = 0;
  if (insn.code == code::call) {
    reference.kind = Reference::Kind::kfunc;
    insn.src = code::call_kfunc;
  } else if (found != externs_.end() && found->second.kind == Extern::Kind::kconfig) {
    reference.kind = Reference::Kind::kconfig;
    reference.map = *kconfig_map_;
    reference.addend = found->second.offset;
    insn.src = code::src_map_value;
    link.out.insns[at + 1].imm = static_cast<s32>(reference.addend);
  } else {
    reference.kind = Reference::Kind::ksym;
    insn.src = reference.type_id != 0 ? code::src_btf_id : 0;
  }
  link.out.references.push_back(std::move(reference));
  return {};
}

}  // namespace skep::spec
