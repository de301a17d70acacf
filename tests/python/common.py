"""What the tests of the Python packages share: the end-to-end tests' processes, and drivers written on the spot."""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(os.environ["SKEP_SOURCE"]) / "tests" / "e2e"))
from support import EXAMPLES, SKEP, Case, can_use_kernel_bpf, demoted, finish, main, need, need_clang, while_the_pipe_is_taken  # noqa: E402,F401

# bpf_trace_printk's line as a driver prints it: a bytes literal.
PRINTED_LINE = (r"^b['\"] *(?P<comm>.{1,16})-(?P<pid>\d+) +\[(?P<cpu>\d{3})\] \S{3,6} +(?P<time>\d+\.\d{6}): "
                r"bpf_trace_printk: (?P<text>.*)['\"]$")


class DriverCase(Case):
    @classmethod
    def setUpClass(cls):
        need_clang()
        super().setUpClass()

    def driver(self, text, *command, before=(), arguments=(), **options):
        """Runs a driver of this text, on the user engine with a command, to its end."""
        path = self.write("driver_%d.py" % len(list(self.directory.iterdir())), text)
        after = ["--", *command] if command else []
        return self.skep("python", *before, path, *arguments, *after, **options)
