// See carry_values.hpp. Values are loaded in the order in which they need each other: descriptor, file, members.
#include "kernel/carry_values.hpp"

#include <algorithm>

#include "kernel/program_load.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

// The memory for structures: these, then the paths, then for each path where its last part is and how long that is.
constexpr s16 paths_at = most_structures * most_structure_bytes, parts_at = paths_at + most_names * most_path_bytes,
              scratch_at = parts_at + most_names * 16, structures_bytes = scratch_at + 8;

constexpr s32 helper_probe_read_user_str = 114;

/// dst = an argument of the system call, by its place from 0; r6 = the context.
void load_syscall_argument(assembler::Program& code, u8 dst, s8 argument) {
  constexpr u32 registers[] = {112, 104, 96, 56, 72, 64};  // di si dx r10 r8 r9
  code.load64(3, 6, 0);
  read_behind(code, dst, registers[argument], 8);
}

bool uses(const Carrier& carrier, std::initializer_list<s8> wanted) {
  const auto is_wanted = [&](s8 argument) { return std::ranges::find(wanted, argument) != wanted.end(); };
  return std::ranges::any_of(carrier.arguments, is_wanted) ||
         std::ranges::any_of(carrier.tests, is_wanted, &CarrierTest::argument) ||
         std::ranges::any_of(carrier.structures, [&](const CarrierStructure& one) {
           return std::ranges::any_of(one.members, is_wanted, &CarrierStructure::Member::argument);
         });
}

/// r2 = where in its file the read or write begins; r7 = the file. Spoils r8.
void load_position(assembler::Program& code, const Carrier& carrier) {
  code.copy(3, 7);
  read_behind(code, 8, carrier.descriptor.file_position, 8);
  code.load64(1, 6, 8);  // the call's number
  std::vector<std::size_t> at_own;
  for (const u32 number : carrier.unpositioned_numbers)
    at_own.push_back(code.jump_if_equal(1, static_cast<s32>(number)));
  load_syscall_argument(code, 2, 3);
  at_own.push_back(code.jump_if_equal(2, -1));  // preadv2, pwritev2: at the file's own
  code.copy(8, 2);
  for (const std::size_t jump : at_own) code.land(jump);
  code.copy(2, 8);
}

/// Notes the last part of the call's path `index`, and its length; leaves where the path cannot be read or is longer
/// than there is room for. r9 = the memory; spoils r8.
void find_name(assembler::Program& code, const Carrier& carrier, s16 index) {
  const s16 path = static_cast<s16>(paths_at + index * static_cast<s16>(most_path_bytes)),
            part = static_cast<s16>(parts_at + 16 * index);
  code.load64(3, 6, 0);
  read_behind(code, 8, regs_orig_ax, 8);
  std::vector<std::size_t> at;
  for (const u32 number : carrier.at_numbers) at.push_back(code.jump_if_equal(8, static_cast<s32>(number)));
  load_syscall_argument(code, 2, static_cast<s8>(index));
  if (!at.empty()) {
    const std::size_t known = code.jump();
    for (const std::size_t jump : at) code.land(jump);
    load_syscall_argument(code, 2, static_cast<s8>(2 * index + 1));
    code.land(known);
  }
  code.copy(3, 2);
  code.copy(1, 9);
  code.add_number(1, path);
  code.set(2, most_path_bytes);
  code.call_helper(helper_probe_read_user_str);
  code.add_number(0, -2);  // one byte and the end, at least; and not cut short
  code.set(2, most_path_bytes - 2);
  code.leave_unless_below(0, 2);
  // What is behind the last slash so far stands in memory: in a register the verifier would follow each value of it.
  code.store64_number(9, scratch_at, 0);
  code.set(1, 0);
  const std::size_t next = code.here();
  code.copy(3, 9);
  code.add_register(3, 1);
  code.load8(4, 3, path);
  const std::size_t end = code.jump_if_equal(4, 0);
  code.add_number(1, 1);
  const std::size_t other = code.jump_unless_equal(4, '/');
  code.store64(9, scratch_at, 1);
  code.land(other);
  code.jump_back_if_below(1, most_path_bytes - 1, next);
  code.land(end);
  code.load64(2, 9, scratch_at);
  code.subtract_register(1, 2);
  code.store64(9, static_cast<s16>(part + 8), 1);
  code.copy(3, 9);
  code.add_number(3, path);
  code.mask(2, most_path_bytes - 1);
  code.add_register(3, 2);
  code.store64(9, part, 3);
}

}  // namespace

void read_behind(assembler::Program& code, u8 dst, u32 offset, u8 bytes) {
  code.add_number(3, static_cast<s32>(offset));
  code.store64_number(isa::frame_pointer, context_slot, 0);
  code.copy(1, isa::frame_pointer);
  code.add_number(1, context_slot);
  code.set(2, bytes);
  code.call_helper(helper_probe_read_kernel);
  code.load64(dst, isa::frame_pointer, context_slot);
}

void find_file(assembler::Program& code, const Carrier& carrier) {
  const bool is_new = uses(carrier, {argument_new_file, argument_new_sock, argument_new_path, argument_new_dentry});
  if (!is_new && !uses(carrier, {argument_file, argument_socket, argument_sock, argument_position})) return;
  if (is_new) {
    code.load64(8, 6, 8);  // an error is a number above every limit
  } else {
    load_syscall_argument(code, 8, 0);
    code.shift_left(8, 32);  // the kernel takes it for an unsigned int
    code.shift_right(8, 32);
  }
  const DescriptorPath& at = carrier.descriptor;
  code.call_helper(helper_get_current_task);
  code.copy(3, 0);
  read_behind(code, 3, at.task_files, 8);
  read_behind(code, 9, at.files_table, 8);
  code.copy(3, 9);
  read_behind(code, 2, at.table_limit, 4);
  code.leave_unless_below(8, 2);
  code.copy(3, 9);
  read_behind(code, 3, at.table_files, 8);
  code.shift_left(8, 3);  // pointers of 8 bytes
  code.add_register(3, 8);
  read_behind(code, 7, 0, 8);
  code.leave_if_equal(7, 0);
  if (!uses(carrier, {argument_socket, argument_sock, argument_new_sock})) return;
  code.copy(3, 7);
  read_behind(code, 8, at.file_private, 8);
  code.copy(3, 8);
  read_behind(code, 9, at.socket_sock, 8);
}

void load_value(assembler::Program& code, const Carrier& carrier, u8 dst, s8 argument) {
  const bool boundary = carrier.hook == CarrierHook::boundary_entry || carrier.hook == CarrierHook::boundary_return;
  if (argument == argument_file || argument == argument_new_file) {
    code.copy(dst, 7);
  } else if (argument == argument_socket) {
    code.copy(dst, 8);
  } else if (argument == argument_sock || argument == argument_new_sock) {
    code.copy(dst, 9);
  } else if (argument == argument_result) {
    code.load64(dst, 6, 8);
  } else if (argument == argument_new_path) {
    code.copy(dst, 7);
    code.add_number(dst, static_cast<s32>(carrier.descriptor.file_path));
  } else if (argument == argument_new_dentry) {
    code.copy(3, 7);
    read_behind(code, dst, carrier.descriptor.file_path + carrier.descriptor.path_dentry, 8);
  } else if (argument == argument_position) {
    load_position(code, carrier);
    code.copy(dst, 2);
  } else if (argument == argument_name || argument == argument_second_name) {
    code.load64(dst, 9, static_cast<s16>(parts_at + 16 * (argument_name - argument)));
  } else if (argument == argument_length || argument == argument_second_length) {
    code.load64(dst, 9, static_cast<s16>(parts_at + 16 * (argument_length - argument) + 8));
  } else if (boundary) {
    load_syscall_argument(code, dst, argument);
  } else {
    code.load64(dst, 6, static_cast<s16>(8 * argument));
  }
}

void build_structures(assembler::Program& code, const Carrier& carrier) {
  if (carrier.structures.empty()) return;
  code.store64_number(isa::frame_pointer, context_slot, 0);
  code.copy(2, isa::frame_pointer);
  code.add_number(2, context_slot);
  code.set_map(1, carrier.structures_map);
  code.call_helper(helper_map_lookup);
  code.leave_if_equal(0, 0);
  code.copy(9, 0);
  if (uses(carrier, {argument_name})) find_name(code, carrier, 0);
  if (uses(carrier, {argument_second_name})) find_name(code, carrier, 1);
  for (std::size_t i = 0; i < carrier.structures.size(); ++i)
    for (const CarrierStructure::Member& member : carrier.structures[i].members) {
      if (member.argument <= argument_structure) {
        code.copy(2, 9);
        code.add_number(2, static_cast<s32>(most_structure_bytes) * (argument_structure - member.argument));
      } else if (member.argument == argument_zero) {
        code.set(2, member.number);
      } else {
        load_value(code, carrier, 2, member.argument);
      }
      code.store(9, static_cast<s16>(i * most_structure_bytes + member.offset), 2, member.bytes);
    }
}

void place_structure(assembler::Program& code, s8 argument, s16 to) {
  code.copy(2, 9);
  code.add_number(2, static_cast<s32>(most_structure_bytes) * (argument_structure - argument));
  code.store64(isa::frame_pointer, context_slot, 2);
  code.copy(1, isa::frame_pointer);
  code.add_number(1, view + to);
  code.set(2, 8);
  code.copy(3, isa::frame_pointer);
  code.add_number(3, context_slot);
  code.call_helper(helper_probe_read_kernel);
}

Result<base::Fd> make_structures_map() {
  uapi::MapCreate map;
  map.map_type = static_cast<u32>(MapType::percpu_array);
  map.key_size = sizeof(u32);
  map.value_size = structures_bytes;
  map.max_entries = 1;
  set_object_name(map.map_name, "skep_built");
  return bpf_fd(uapi::Cmd::map_create, map, "create map of built structures");
}

}  // namespace skep::kernel
