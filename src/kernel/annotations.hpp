// func_info and line_info: what ties a loaded program to its types and its C source.
//
// With them the kernel prints source lines in its verifier log, tools print them beside the instructions, and global
// functions can be verified one by one. The kernel checks them strictly; what would make it refuse the whole program
// (a line inside an ld_imm64, a function without a first line) is left out here instead.
// Source: Documentation/bpf/btf.rst, sections 3.3 and 4.2.
#pragma once
#include <skep/spec.hpp>
#include <vector>

#include "kernel/types_image.hpp"
#include "kernel/uapi.hpp"

namespace skep::kernel {

struct Annotations {
  std::vector<uapi::FuncInfo> functions;
  std::vector<uapi::LineInfo> lines;
};

/// The records of a program whose instructions are final; strings go into `image`.
Annotations annotate(const ProgramSpec& program, TypesImage& image);

/// For a carried program: gives the carrier a type of its own and makes every function of the program a static one.
void make_functions_static(ProgramSpec& program, TypesImage& image);

}  // namespace skep::kernel
