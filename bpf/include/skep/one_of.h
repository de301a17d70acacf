/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Programs that do the same work through different hooks, of which a loader takes the first whose hook the kernel has:
 *
 *   SEC("?tp_btf/sched_switch") SKEP_ONE_OF("switch") int BPF_PROG(typed, ...) { ... }
 *   SEC("?raw_tp/sched_switch") SKEP_ONE_OF("switch") int BPF_PROG(untyped, ...) { ... }
 *
 * The order is the file's. Where none has its hook the load fails, naming each; when all of them are in sections with a
 * question mark, they are left out instead. With the mark, loaders that do not know of this load none of them by
 * themselves. It is a tag in BTF, so the object needs -g.
 */
#ifndef SKEP_ONE_OF_H
#define SKEP_ONE_OF_H

#define SKEP_ONE_OF(name) __attribute__((btf_decl_tag("skep:one_of:" name)))

#endif
