// Which registers an instruction changes: for whoever follows values through a program.
//
// The forms (isa.hpp) say what the fields mean; only the calling convention is added here. Source: RFC 9669, 2.1 (calls
// destroy r0 to r5), 5.3 (an atomic instruction that fetches writes its source, compare and exchange writes r0).
#pragma once
#include "isa/isa.hpp"

namespace skep::isa {

/// As a mask. Calls and packet loads change r0 to r5.
constexpr u16 registers_written(const Insn& insn, Form form) {
  switch (form) {
    case Form::alu_imm:
    case Form::alu_reg:
    case Form::alu_unary:
    case Form::movsx:
    case Form::addr_space_cast:
    case Form::endian:
    case Form::load:
    case Form::load_acquire:
    case Form::ld_imm64:
      return static_cast<u16>(1u << insn.dst);
    case Form::atomic_fetch:
      return static_cast<u16>(1u << insn.src);
    case Form::cmpxchg:
      return 1;
    case Form::call_helper:
    case Form::call_local:
    case Form::call_kfunc:
    case Form::callx:
    case Form::ld_abs:
    case Form::ld_ind:
      return 0x3f;
    case Form::jump:
    case Form::jump_long:
    case Form::may_goto:
    case Form::jump_imm:
    case Form::jump_reg:
    case Form::exit:
    case Form::store_imm:
    case Form::store_reg:
    case Form::store_release:
    case Form::atomic:
      return 0;
  }
  return 0;
}

}  // namespace skep::isa
