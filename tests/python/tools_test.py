"""Debian's unmodified BCC tools on our module: a small sample (tests/python/bcc_tools.py runs all of them)."""
import os

import bcc_tools
from common import DriverCase, can_use_kernel_bpf, main, need

KERNEL = ("argdist", "killsnoop", "statsnoop", "syncsnoop", "trace")
WITHOUT_ROOT = ("killsnoop", "statsnoop", "syncsnoop", "syscount")


class Tools(DriverCase):
    @classmethod
    def setUpClass(cls):
        need(bcc_tools.installed(), "BCC's tools are not installed (Debian package bpfcc-tools)")
        super().setUpClass()

    def check(self, name, engine):
        need(name in bcc_tools.installed(), "this version of bpfcc-tools has no %s" % name)
        works, why, output = bcc_tools.run(name, engine, os.environ["SKEP"])
        self.assertTrue(works, "%s: %s\n%s" % (name, why, output))


def add(name, engine):
    def test(self):
        if engine == "kernel":
            need(can_use_kernel_bpf(), "the kernel engine needs CAP_BPF and CAP_PERFMON (root), and a kernel with BTF")
        self.check(name, engine)

    setattr(Tools, "test_%s_on_the_%s_engine" % (name, engine), test)


for one in KERNEL:
    add(one, "kernel")
for one in WITHOUT_ROOT:
    add(one, "user")

if __name__ == "__main__":
    main()
