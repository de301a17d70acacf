// A static probe with a semaphore, as <sys/sdt.h> makes them: in the program itself, and as a library that is opened.
__attribute__((used, section(".probes"), visibility("hidden"))) volatile unsigned short marked_semaphore = 0;

/* Whether anybody looks. */
__attribute__((visibility("default"))) int marked(int first, long second) {
  if (marked_semaphore != 0)
    __asm__ volatile(
        "990: nop\n"
        ".pushsection .note.stapsdt,\"\",\"note\"\n"
        ".balign 4\n"
        ".4byte 992f-991f, 994f-993f, 3\n"
        "991: .asciz \"stapsdt\"\n"
        "992: .balign 4\n"
        "993: .8byte 990b\n"
        ".8byte 0\n"
        ".8byte marked_semaphore\n"
        ".asciz \"skep_tracee\"\n"
        ".asciz \"marked\"\n"
        ".asciz \"-4@%%edi 8@%%rsi\"\n"
        "994: .balign 4\n"
        ".popsection\n" ::"D"(first),
        "S"(second));
  return marked_semaphore;
}
