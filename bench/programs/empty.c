/* Nothing: what entering and leaving a program costs. */
#include "bench.h"

PROGRAM(context) { return 2; }
