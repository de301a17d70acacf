#!/usr/bin/python3
"""Every execve of a command, by skep's own Python interface.

    skep python examples/execs.py sh -c 'ls; date'
"""
import os
import sys

import skep

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "execsnoop.bpf.c")

with skep.load(SOURCE) as program:  # engine="kernel": the whole machine
    program.attach()  # where the programs' sections say
    with program.ring("events") as ring, program.run(*sys.argv[1:]):
        for record in ring:  # until the command has ended
            event = record.value
            print("%-16s %-7d %s" % (event.comm.decode(errors="replace"), event.pid, os.fsdecode(event.path)))
