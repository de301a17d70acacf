/* A library with two functions and a static tracepoint, whose note is written out as <sys/sdt.h> would: what the fuzzer
   of probes begins with. Source: systemtap's sys/sdt.h, "UserSpaceProbeImplementation". */
.text
.globl f
.type f,@function
f: 
990: nop
 ret
.size f,.-f
.globl g
.type g,@function
g: ret
.size g,.-g
.pushsection .note.stapsdt,"?","note"
.balign 4
.4byte 992f-991f, 994f-993f, 3
991: .asciz "stapsdt"
992: .balign 4
993: .8byte 990b
.8byte _.stapsdt.base
.8byte sem
.asciz "prov"
.asciz "name"
.asciz "-4@%edi 8@16(%rbp) 8@$5 -1@-8(%rax,%rbx,4) 8@[sp, 16]"
994: .balign 4
.popsection
.pushsection .stapsdt.base,"aG","progbits",.stapsdt.base,comdat
.weak _.stapsdt.base
.hidden _.stapsdt.base
_.stapsdt.base: .space 1
.size _.stapsdt.base,1
.popsection
.section .probes,"aw"
sem: .2byte 0
