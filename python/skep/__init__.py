"""eBPF programs from Python: compiled, verified, attached, their maps and events read, on either engine.

    import skep

    with skep.load("hello.bpf.c") as program:              # the user engine; engine="kernel" is the rest of the way
        program["hello"].attach("syscall:execve")
        with program.run("sh", "-c", "ls; date"):
            for line in program.trace():
                print(line)

Maps are dictionaries, rings are iterated, what is opened is closed by `with`. The package beside this one, `bcc`, has
BCC's interface. Guide: docs/guides/python.md.
"""
from __future__ import annotations

import typing

from ._library import Error, call

if typing.TYPE_CHECKING:
    from ._modern import Engine, Frame, Link, Map, Object, Program, Record, Ring, Symbolizer, TestResult

_HERE = {"Engine", "Frame", "Link", "Map", "Object", "Program", "Record", "Ring", "Symbolizer", "TestResult", "compile",
         "load"}
__all__ = sorted({*_HERE, "Error", "version"})


def version() -> str:
    """The library's release, "0.1.0"."""
    return call.version().decode()


def __getattr__(name: str) -> typing.Any:
    if name in _HERE:
        from . import _modern
        return getattr(_modern, name)
    raise AttributeError("module 'skep' has no attribute %r" % name)
