// Checks a host's helpers and context before a verifier relies on them. See interface.hpp.
//
// Helpers of the engine that reach into the process itself (its memory, its signals, its stack) are not offered: they
// exist to observe other processes, and an embedded program is a guest in this one.
#include "host/interface.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "catalog/kfuncs.hpp"
#include "helper/helpers.hpp"
#include "helper/kfuncs.hpp"
#include "isa/isa.hpp"

namespace skep::host {

namespace {

constexpr u32 largest_context = 4096;

/// Helpers that observe or change a process by address or number.
bool reaches_out(u32 id) {
  using enum catalog::HelperId;
  switch (static_cast<catalog::HelperId>(id)) {
    case probe_read:
    case probe_read_str:
    case probe_read_user:
    case probe_read_user_str:
    case probe_read_kernel:
    case probe_read_kernel_str:
    case probe_write_user:
    case copy_from_user:
    case copy_from_user_task:
    case send_signal:
    case send_signal_thread:
    case get_current_task:
    case get_current_task_btf:
    case get_stack:
    case get_stackid:
      return true;
    default:
      return false;
  }
}

catalog::Arg kind_of(Argument argument) {
  switch (argument) {
    case Argument::number:
      return catalog::Arg::anything;
    case Argument::context:
      return catalog::Arg::ctx;
    case Argument::read:
      return catalog::Arg::read;
    case Argument::write:
      return catalog::Arg::write;
    case Argument::size:
      return catalog::Arg::size;
  }
  return catalog::Arg::unmodelled;
}

bool is_memory(Argument argument) { return argument == Argument::read || argument == Argument::write; }

Result<void> check_helper(const Helper& helper) {
  const auto wrong = [&](std::string text) {
    return fail(Code::invalid_argument, fmt::format("helper {} ({}): {}", helper.name, helper.id, std::move(text)));
  };
  if (helper.id < first_helper_id || helper.id > last_helper_id)
    return wrong(fmt::format("a host's helpers have ids from {} to {}", first_helper_id, last_helper_id));
  if (helper.name.empty() || helper.function == nullptr) return wrong("a name and a function are needed");
  const auto& arguments = helper.arguments;
  if (arguments.size() > 5) return wrong(fmt::format("{} arguments, at most five are possible", arguments.size()));
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (kind_of(arguments[i]) == catalog::Arg::unmodelled)
      return wrong(fmt::format("argument {} has no such kind", i + 1));
    if (is_memory(arguments[i]) && (i + 1 == arguments.size() || arguments[i + 1] != Argument::size))
      return wrong(fmt::format("argument {} is memory: a size must follow it", i + 1));
    if (arguments[i] == Argument::size && (i == 0 || !is_memory(arguments[i - 1])))
      return wrong(fmt::format("argument {} is a size: memory must stand before it", i + 1));
  }
  return {};
}

Result<catalog::ContextField> row_of(const ContextField& field, u32 context_bytes) {
  using Kind = ContextField::Kind;
  const auto wrong = [&](std::string text) {
    return fail(Code::invalid_argument, fmt::format("context field {}: {}", field.name, std::move(text)));
  };
  if (field.name.empty()) return wrong("it needs a name");
  if (field.size == 0 || field.offset > context_bytes || field.size > context_bytes - field.offset)
    return wrong(fmt::format("{} bytes at offset {} of a structure of {}", field.size, field.offset, context_bytes));
  catalog::ContextField row;
  row.name = field.name;
  row.offset = static_cast<u16>(field.offset);
  row.size = static_cast<u16>(field.size);
  row.readers = catalog::programs::all;
  row.writers = field.writable ? catalog::programs::all : catalog::programs::none;
  const bool is_pointer = field.kind == Kind::data_begin || field.kind == Kind::data_end;
  if (is_pointer && (field.size != sizeof(void*) || field.offset % sizeof(void*) != 0))
    return wrong("a pointer has 8 bytes at a multiple of 8");
  if (is_pointer && field.writable) return wrong("programs cannot be allowed to write a pointer");
  switch (field.kind) {
    case Kind::number:
      if (!std::has_single_bit(field.size) || field.size > 8 || field.offset % field.size != 0)
        return wrong(fmt::format("a number has 1, 2, 4 or 8 bytes at a multiple of them, not {} at offset {}",
                                 field.size, field.offset));
      row.kind = catalog::Field::number;
      return row;
    case Kind::bytes:
      row.kind = catalog::Field::array;
      return row;
    case Kind::data_begin:
      row.kind = catalog::Field::packet;
      return row;
    case Kind::data_end:
      row.kind = catalog::Field::packet_end;
      return row;
  }
  return wrong("it has no such kind");
}

}  // namespace

Result<Interface> Interface::make(const Options& options, std::vector<base::HelperFn>& helpers) {
  Interface made;
  made.add_engine_helpers(helpers);
  SKEP_TRY(made.add_host_helpers(options.helpers, helpers));
  SKEP_TRY(made.add_context(options.context));
  return made;
}

void Interface::add_engine_helpers(std::vector<base::HelperFn>& helpers) {
  const auto table = helper::table();
  helpers.assign(table.begin(), table.end());
  for (u32 id = 0; id < helpers.size(); ++id) {
    if (reaches_out(id)) helpers[id] = nullptr;
    rules_.engine_helpers.push_back(helpers[id] != nullptr);
  }
  rules_.engine_helpers.resize(std::max<std::size_t>(helpers.size(), isa::helper_tail_call + 1));
  rules_.engine_helpers[isa::helper_tail_call] = true;
  for (const catalog::Kfunc& kfunc : catalog::kfuncs()) {
    const bool reads_process = kfunc.name.starts_with("bpf_copy_from_user") || kfunc.name.starts_with("bpf_probe_read");
    rules_.engine_kfuncs.push_back(!reads_process && helper::kfunc(kfunc.name) != nullptr);
  }
}

Result<void> Interface::add_host_helpers(const std::vector<Helper>& added, std::vector<base::HelperFn>& helpers) {
  for (const Helper& helper : added) {
    SKEP_TRY(check_helper(helper));
    if (helper.id >= helpers.size()) helpers.resize(helper.id + 1);
    if (helpers[helper.id] != nullptr)
      return fail(Code::invalid_argument, fmt::format("helper {}: the id {} is given twice", helper.name, helper.id));
    helpers[helper.id] = helper.function;
    catalog::Prototype prototype{static_cast<catalog::HelperId>(helper.id),
                                 catalog::programs::all,
                                 catalog::helper_flags::takes_packet,
                                 catalog::Returns::number,
                                 {}};
    std::ranges::transform(helper.arguments, prototype.args.begin(), kind_of);
    rules_.host_helpers.push_back({helper.name, prototype});
  }
  return {};
}

Result<void> Interface::add_context(const ContextType& type) {
  if (type.bytes > largest_context)
    return fail(Code::invalid_argument,
                fmt::format("the context has {} bytes, at most {} are possible", type.bytes, largest_context));
  bool has_begin = false, has_end = false;
  for (const ContextField& field : type.fields) {
    fields_.push_back(SKEP_TRY(row_of(field, type.bytes)));
    has_begin |= field.kind == ContextField::Kind::data_begin;
    has_end |= field.kind == ContextField::Kind::data_end;
  }
  if (has_begin != has_end)
    return fail(Code::invalid_argument, "a context with data_begin or data_end needs both: one is the other's bound");
  std::ranges::sort(fields_, {}, &catalog::ContextField::offset);
  for (std::size_t i = 1; i < fields_.size(); ++i)
    if (fields_[i - 1].offset + fields_[i - 1].size > fields_[i].offset)
      return fail(Code::invalid_argument,
                  fmt::format("context fields {} and {} overlap", fields_[i - 1].name, fields_[i].name));
  verify::HostContext context;
  context.layout.name = type.name.empty() ? std::string_view("the host's context") : std::string_view(type.name);
  context.layout.size = context.layout.engine_size = static_cast<u16>(type.bytes);
  context.layout.fields = fields_;
  context.layout.words = {0, static_cast<u16>(type.bytes), type.fields.empty()};
  context.packet_writable = type.data_writable;
  rules_.host_context = context;
  return {};
}

}  // namespace skep::host
