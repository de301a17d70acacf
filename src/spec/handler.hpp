// What a handler of the BCC dialect declares behind its context: `int f(struct pt_regs *ctx, int dfd, const char
// *path)`.
//
// The declaration says what the source takes the probed function's parameters for. Engines read it to see whether that
// is what the function has: the parameters of a system call where its function has the caller's registers, or an order
// that another kernel release had.
#pragma once
#include <optional>
#include <skep/spec.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "btf/btf.hpp"

namespace skep::spec {

/// All parameters of a program's entry function, the context first; nullopt where the object does not tell.
/// `functions`: ProgramSpec's.
std::optional<std::vector<btf::Param>> entry_parameters(const btf::Btf* types,
                                                        const std::vector<FunctionInfo>& functions);

/// One parameter behind the context: the name of the structure or union that it points to, "" for other types.
struct HandlerParameter {
  std::string_view structure;
};
/// Empty where none is declared, or where the first parameter is no `struct pt_regs *` or `void *`.
std::vector<HandlerParameter> handler_parameters(const btf::Btf* types, const std::vector<FunctionInfo>& functions);

/// Where a function that has parameters of these types has the declared ones, in their order: {1, 2} for (inode,
/// dentry) among (mnt_idmap, inode, dentry). nullopt where one of them is not there.
std::optional<std::vector<std::size_t>> places_by_type(std::span<const HandlerParameter> declared,
                                                       std::span<const std::string_view> types);

/// The first member with a name on a CO-RE relocation's path from its root: "ki_filp" of `iocb->ki_filp`; "" where
/// there is none.
std::string first_named_member(const btf::Btf& types, const CoreRelocation& relocation);

/// `struct pt_regs *` or `void *`: what a handler with parameters has first.
bool is_register_context(const btf::Btf& types, u32 type_id);

/// Whether a probe of this target gets a pointer to the registers of the system call's caller, as the functions of the
/// system call table do: by its name, or by the function's.
bool receives_callers_registers(const AttachTarget& target) noexcept;

/// Whether the program declares the arguments of a system call, and takes them from the registers themselves, as from
/// those of any function: its first load (`insns` as compiled) says that, whatever it is attached to.
bool declares_call_arguments(const btf::Btf* types, const std::vector<FunctionInfo>& functions,
                             std::span<const Insn> insns);

}  // namespace skep::spec
