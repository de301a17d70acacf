/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A program whose handler has named parameters: the program itself takes the context only, and calls an
 * inline function with the arguments taken out of it. BPF_PROG and KFUNC_PROBE are made of this.
 */
#ifndef SKEP_ARGUMENTS_H
#define SKEP_ARGUMENTS_H

#include <skep/macro.h>

/*
 * `context` is the type of ctx, `arguments` what the body is called with. The first line is the declaration
 * that `int NAME_OF_MACRO(name, ...)` begins; it gives the return type its name.
 */
#define SKEP_PROGRAM(name, context, arguments, ...)                                              \
  name(context *ctx);                                                                            \
  static __always_inline typeof(name(0)) skep_body_##name(context *ctx, ##__VA_ARGS__);          \
  typeof(name(0)) name(context *ctx) {                                                           \
    _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wint-conversion\"")        \
    return skep_body_##name(arguments);                                                          \
    _Pragma("GCC diagnostic pop")                                                                \
  }                                                                                              \
  static __always_inline typeof(name(0)) skep_body_##name(context *ctx, ##__VA_ARGS__)

/* fentry, fexit, tp_btf and the like find their arguments in an array of u64. */
#define SKEP_FROM_ARRAY_0() ctx
#define SKEP_FROM_ARRAY_1(a) ctx, (void *)ctx[0]
#define SKEP_FROM_ARRAY_2(a, b) ctx, (void *)ctx[0], (void *)ctx[1]
#define SKEP_FROM_ARRAY_3(a, b, c) ctx, (void *)ctx[0], (void *)ctx[1], (void *)ctx[2]
#define SKEP_FROM_ARRAY_4(a, b, c, d) ctx, (void *)ctx[0], (void *)ctx[1], (void *)ctx[2], (void *)ctx[3]
#define SKEP_FROM_ARRAY_5(a, b, c, d, e) ctx, (void *)ctx[0], (void *)ctx[1], (void *)ctx[2], (void *)ctx[3], (void *)ctx[4]
#define SKEP_FROM_ARRAY_6(a, b, c, d, e, f) ctx, (void *)ctx[0], (void *)ctx[1], (void *)ctx[2], (void *)ctx[3], (void *)ctx[4], (void *)ctx[5]
#define SKEP_FROM_ARRAY_7(a, b, c, d, e, f, g) ctx, (void *)ctx[0], (void *)ctx[1], (void *)ctx[2], (void *)ctx[3], (void *)ctx[4], (void *)ctx[5], (void *)ctx[6]
#define SKEP_FROM_ARRAY_8(a, b, c, d, e, f, g, h) ctx, (void *)ctx[0], (void *)ctx[1], (void *)ctx[2], (void *)ctx[3], (void *)ctx[4], (void *)ctx[5], (void *)ctx[6], (void *)ctx[7]
#define SKEP_FROM_ARRAY_9(a, b, c, d, e, f, g, h, i) ctx, (void *)ctx[0], (void *)ctx[1], (void *)ctx[2], (void *)ctx[3], (void *)ctx[4], (void *)ctx[5], (void *)ctx[6], (void *)ctx[7], (void *)ctx[8]
#define SKEP_FROM_ARRAY_10(a, b, c, d, e, f, g, h, i, j) ctx, (void *)ctx[0], (void *)ctx[1], (void *)ctx[2], (void *)ctx[3], (void *)ctx[4], (void *)ctx[5], (void *)ctx[6], (void *)ctx[7], (void *)ctx[8], (void *)ctx[9]
#define SKEP_FROM_ARRAY_11(a, b, c, d, e, f, g, h, i, j, k) ctx, (void *)ctx[0], (void *)ctx[1], (void *)ctx[2], (void *)ctx[3], (void *)ctx[4], (void *)ctx[5], (void *)ctx[6], (void *)ctx[7], (void *)ctx[8], (void *)ctx[9], (void *)ctx[10]
#define SKEP_FROM_ARRAY_12(a, b, c, d, e, f, g, h, i, j, k, l) ctx, (void *)ctx[0], (void *)ctx[1], (void *)ctx[2], (void *)ctx[3], (void *)ctx[4], (void *)ctx[5], (void *)ctx[6], (void *)ctx[7], (void *)ctx[8], (void *)ctx[9], (void *)ctx[10], (void *)ctx[11]
#define SKEP_FROM_ARRAY(...) SKEP_PICK(SKEP_FROM_ARRAY_, ##__VA_ARGS__)(__VA_ARGS__)

#endif
