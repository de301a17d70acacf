/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Network byte order and back. Packets are big-endian; whether that is a swap depends on the target.
 * Constants are converted by the compiler, other values by one instruction (RFC 9669, section 4.2).
 */
#ifndef SKEP_BPF_ENDIAN_H
#define SKEP_BPF_ENDIAN_H

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define bpf_htons(x) __builtin_bswap16(x)
#define bpf_htonl(x) __builtin_bswap32(x)
#define bpf_cpu_to_be64(x) __builtin_bswap64(x)
#define bpf_cpu_to_le16(x) (x)
#define bpf_cpu_to_le32(x) (x)
#define bpf_cpu_to_le64(x) (x)
#else
#define bpf_htons(x) (x)
#define bpf_htonl(x) (x)
#define bpf_cpu_to_be64(x) (x)
#define bpf_cpu_to_le16(x) __builtin_bswap16(x)
#define bpf_cpu_to_le32(x) __builtin_bswap32(x)
#define bpf_cpu_to_le64(x) __builtin_bswap64(x)
#endif
#define bpf_ntohs(x) bpf_htons(x)
#define bpf_ntohl(x) bpf_htonl(x)
#define bpf_be64_to_cpu(x) bpf_cpu_to_be64(x)
#define bpf_cpu_to_be16(x) bpf_htons(x)
#define bpf_cpu_to_be32(x) bpf_htonl(x)
#define bpf_be16_to_cpu(x) bpf_htons(x)
#define bpf_be32_to_cpu(x) bpf_htonl(x)
#define bpf_le16_to_cpu(x) bpf_cpu_to_le16(x)
#define bpf_le32_to_cpu(x) bpf_cpu_to_le32(x)
#define bpf_le64_to_cpu(x) bpf_cpu_to_le64(x)

#endif
