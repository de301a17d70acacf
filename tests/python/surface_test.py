"""What an installed BCC has, ours has too: names, and parameters by the same names in the same places."""
import inspect
import json
import os
import subprocess
import unittest

import common

os.environ["SKEP_BACKEND"] = "user"

# What belongs to libbcc's own way of working, and to no documented use: its structures, and how it makes a Table.
LEFT_OUT = ("bcc.bcc_", "bcc.table.bcc_", "bcc.usdt.bcc_", "bcc.usdt.BCC_", "bcc.Perf", "bcc.table.Table")
# Parts that its classes are made of.
OWN_PARTS = {"bcc.BPF.CLOCK_MONOTONIC", "bcc.BPF.timespec", "bcc.BPF.Table", "bcc.table.ArrayBase.Iter",
             "bcc.table.StackTrace.StackWalker"}
ASK = """
import inspect, json, sys
import bcc, bcc.table, bcc.utils, bcc.usdt, bcc.syscall, bcc.containers, bcc.perf, bcc.tcp
def parameters(one):
    try:
        return [p.name for p in inspect.signature(one).parameters.values()]
    except (TypeError, ValueError):
        return None
told = {}
for module in (bcc, bcc.table, bcc.utils, bcc.usdt, bcc.syscall, bcc.containers, bcc.tcp):
    for name, one in vars(module).items():
        if name.startswith("_") or inspect.ismodule(one):
            continue
        here = getattr(one, "__module__", None) or ""
        if inspect.isclass(one) and here.startswith("bcc"):
            told[module.__name__ + "." + name] = {
                member: parameters(value) for member, value in inspect.getmembers(one)
                if not member.startswith("_") and (member in vars(one) or here != "bcc.table")}
        elif inspect.isfunction(one) and here == module.__name__:
            told[module.__name__ + "." + name] = parameters(one)
json.dump(told, sys.stdout)
"""


def parameters(one):
    try:
        return [parameter.name for parameter in inspect.signature(one).parameters.values()]
    except (TypeError, ValueError):
        return None


class Surface(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        common.need(os.path.exists("/usr/lib/python3/dist-packages/bcc/table.py"),
                    "BCC is not installed (Debian package python3-bpfcc)")
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SKEP_LIBRARY")}
        answer = subprocess.run(["/usr/bin/python3", "-c", ASK], capture_output=True, text=True, env=environment)
        common.need(answer.returncode == 0, "the installed BCC does not start: " + answer.stderr[-300:])
        told = json.loads(answer.stdout)
        cls.told = {path: members for path, members in told.items() if not path.startswith(LEFT_OUT) or path.startswith("bcc.PerfEvent")}

    def lookup(self, path):
        import importlib
        module, name = path.rsplit(".", 1)
        return getattr(importlib.import_module(module), name, None)

    def test_every_name_is_there(self):
        missing = [path for path in self.told if self.lookup(path) is None]
        self.assertEqual(missing, [])

    def test_every_method_is_there(self):
        missing = []
        for path, members in self.told.items():
            ours = self.lookup(path)
            if isinstance(members, dict) and ours is not None:
                made = set(dir(ours))
                missing += ["%s.%s" % (path, member) for member in members
                            if member not in made and "%s.%s" % (path, member) not in OWN_PARTS]
        self.assertEqual(missing, [])

    def test_parameters_have_their_names(self):
        differ = []
        for path, members in self.told.items():
            ours = self.lookup(path)
            if ours is None:
                continue
            pairs = ([(path, members, ours)] if not isinstance(members, dict) else
                     [("%s.%s" % (path, member), theirs, getattr(ours, member, None))
                      for member, theirs in members.items()])
            for name, theirs, own in pairs:
                if theirs is None or own is None or inspect.isclass(own):
                    continue
                mine = parameters(own)
                # A class method takes its class silently; more parameters at the end harm nobody.
                if mine is not None and [p for p in theirs if p != "cls"] != mine[:len([p for p in theirs if p != "cls"])]:
                    differ.append("%s: %s, ours %s" % (name, theirs, mine))
        self.assertEqual(differ, [])


if __name__ == "__main__":
    common.main()
