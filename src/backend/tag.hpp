// The tag of a program: eight bytes that name its instructions, the same on every machine.
//
// The kernel hashes the instructions as they were handed to it, with what differs between two loads (the
// numbers of maps in ld_imm64) set to zero. Two programs with the same tag are the same program, whichever
// engine runs them, so `prog show` of both engines can be compared.
// Source: kernel/bpf/core.c, bpf_prog_calc_tag (SHA-256 in Linux 6.18, measured there; SHA-1 before).
#pragma once
#include <array>
#include <skep/insn.hpp>
#include <span>
#include <string>

namespace skep::backend {

/// SHA-256 (FIPS 180-4) of `bytes`.
std::array<u8, 32> sha256(std::span<const std::byte> bytes) noexcept;

/// The tag as 16 hexadecimal digits. `insns`: before maps and helpers become addresses.
std::string program_tag(std::span<const Insn> insns);

}  // namespace skep::backend
