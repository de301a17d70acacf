/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Programs on static probes of user programs (SEC("usdt")) need a loader that reads the probes' argument notes. */
#error "skep has no USDT probes at this stage; a libbpf-based loader has them (libbpf's own usdt.bpf.h)"
