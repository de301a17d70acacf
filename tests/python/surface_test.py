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
OWN_PARTS = {"bcc.BPF.Table", "bcc.table.ArrayBase.Iter",
             "bcc.table.StackTrace.StackWalker"}
ASK = """
import inspect, json, sys
import bcc, bcc.table, bcc.utils, bcc.usdt, bcc.syscall, bcc.containers, bcc.perf, bcc.tcp
def parameters(one):
    try:
        return [p.name for p in inspect.signature(one).parameters.values()]
    except (TypeError, ValueError):
        return None
def defaults(one):
    try:
        return {p.name: repr(p.default) for p in inspect.signature(one).parameters.values() if p.default is not p.empty}
    except (TypeError, ValueError):
        return None
told, numbers, given = {}, {}, {}
for module in (bcc, bcc.table, bcc.utils, bcc.usdt, bcc.syscall, bcc.containers, bcc.tcp):
    for name, one in vars(module).items():
        if name.startswith("_") or inspect.ismodule(one):
            continue
        here = getattr(one, "__module__", None) or ""
        if inspect.isclass(one) and here.startswith("bcc"):
            told[module.__name__ + "." + name] = {
                member: parameters(value) for member, value in inspect.getmembers(one)
                if not member.startswith("_") and (member in vars(one) or here != "bcc.table")}
            for member, value in inspect.getmembers(one):
                path = module.__name__ + "." + name + "." + member
                if isinstance(value, int) and not member.startswith("_"):
                    numbers[path] = value
                elif inspect.isroutine(value) and (member == "__init__" or not member.startswith("_")) and member in vars(one):
                    given[path] = defaults(value)
        elif inspect.isfunction(one) and here == module.__name__:
            told[module.__name__ + "." + name] = parameters(one)
        elif isinstance(one, (int, str)):
            numbers[module.__name__ + "." + name] = one
json.dump([told, numbers, given], sys.stdout)
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
        told, cls.numbers, cls.given = json.loads(answer.stdout)
        cls.told = {path: members for path, members in told.items() if not path.startswith(LEFT_OUT) or path.startswith("bcc.PerfEvent")}

    def lookup(self, path):
        import importlib
        module, name = path.rsplit(".", 1)
        return getattr(importlib.import_module(module), name, None)

    @staticmethod
    def member(path):
        """What a dotted name below the package means, or None."""
        import importlib
        one, words = importlib.import_module("bcc"), path.split(".")[1:]
        for word in words:
            one = getattr(one, word, None)
        return one

    def test_numbers_are_its_numbers(self):
        differ = ["%s: %r, ours %r" % (path, number, self.member(path)) for path, number in sorted(self.numbers.items())
                  if not path.startswith(LEFT_OUT) and path != "bcc.TRACEFS" and self.member(path) != number]
        self.assertEqual(differ, [])

    def test_what_is_not_given_is_what_it_takes(self):
        differ = []
        for path, theirs in sorted(self.given.items()):
            own = self.member(path)
            if own is None or path.startswith(LEFT_OUT) or theirs is None:
                continue
            mine = {p.name: repr(p.default) for p in inspect.signature(own).parameters.values() if p.default is not p.empty}
            differ += ["%s(%s=%s), ours %s" % (path, name, value, mine.get(name)) for name, value in theirs.items()
                       if name in inspect.signature(own).parameters and mine.get(name) != value]
        self.assertEqual(differ, [])

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
