#include "../../kernel/programs/shared_memory.bpf.c"
