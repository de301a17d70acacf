/* glibc asks for this on targets that are not x86-64, such as bpf; it lists functions, and BPF has none of them. */
