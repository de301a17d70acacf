/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Arguments of static probes in the dialect of BCC, which generates a function for each probe. Here the loader says
 * where they are, as for libbpf's bpf_usdt_arg(): a program that is attached to a usdt target finds the description of
 * the place that was hit. Numbers begin with 1.
 */
#ifndef SKEP_BCC_USDT_H
#define SKEP_BCC_USDT_H

#pragma clang attribute pop
#define BPF_MAP_TYPE_ARRAY 2
#include <bpf/usdt.bpf.h>
#undef BPF_MAP_TYPE_ARRAY
#pragma clang attribute push(__attribute__((always_inline)), apply_to = function)

#define bpf_usdt_readarg(number, context, to)                                        \
  ({                                                                                 \
    long skep_argument = 0;                                                          \
    int skep_error = bpf_usdt_arg((context), (number) - 1, &skep_argument);          \
    _Static_assert(sizeof(*(to)) <= 8, "an argument of a probe has at most 8 bytes"); \
    __builtin_memcpy((to), &skep_argument, sizeof(*(to)));                           \
    skep_error;                                                                      \
  })
#define bpf_usdt_readarg_p(number, context, to, length)                     \
  ({                                                                        \
    long skep_argument = 0;                                                 \
    int skep_error = bpf_usdt_arg((context), (number) - 1, &skep_argument); \
    if (!skep_error) skep_error = bpf_probe_read_user((to), (length), (void *)skep_argument); \
    skep_error;                                                             \
  })

#endif
