"""bench/check.py with recorded figures: what is kept passes, what fell fails and is named, nothing is dropped in silence."""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TABLE = """# Promises

| measured by | figure | promise | noise |
|---|---|---|---|
| `bench_elsewhere` | `in another section` | ≤ 1 | 0 % |

## What `make bench-check` measures again

| measured by | figure | promise | noise |
|---|---|---|---|
| `build/release/bench_engine --rounds 3` | `opt/native mean` | ≤ 1.05 | 10 % |
| `build/release/bench_engine --rounds 3` | `opt/kernel mean` | ≤ 0.6 | 10 % |
| `build/release/bench_maps` | `records a second` | ≥ 20,000 | 10 % |
"""
GOOD = {"engine": {"opt/native mean": 0.95, "opt/kernel mean": 0.5}, "maps": {"records a second": 30000}}


class Check(unittest.TestCase):
    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.addCleanup(self.holder.cleanup)
        self.directory = pathlib.Path(self.holder.name)
        self.promises(TABLE)
        for name, figures in GOOD.items():
            self.record(name, figures)

    def promises(self, text):
        (self.directory / "PROMISES.md").write_text(text, encoding="utf-8")

    def record(self, name, figures, left_out=None):
        text = json.dumps({"figures": figures, "left_out": left_out or {}})
        (self.directory / f"{name}.json").write_text(text, encoding="utf-8")

    def check(self, *more):
        return subprocess.run([sys.executable, ROOT / "bench/check.py", "--promises", self.directory / "PROMISES.md",
                               "--recorded", self.directory, *more], text=True, capture_output=True, timeout=30, encoding="utf-8")

    def judge(self, status, *patterns):
        result = self.check()
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        for pattern in patterns:
            self.assertRegex(result.stdout + result.stderr, pattern)

    def test_good_figures_pass(self):
        self.judge(0, r"opt/native mean +≤ 1.05 +10 % +0.95  kept", r"records a second +≥ 20,000 +10 % +30,000  kept",
                   r"3 promises: 3 kept, 0 left out, 0 fell")

    def test_a_fallen_figure_fails_and_is_named(self):
        self.record("engine", {"opt/native mean": 1.2, "opt/kernel mean": 0.5})
        self.judge(1, r"opt/native mean .* 1.20  FELL, in 3 runs", r"1 fell\n  fell: opt/native mean \(.*bench_engine")

    def test_a_figure_that_must_be_large_falls_downwards(self):
        self.record("maps", {"records a second": 17999})
        self.judge(1, r"17,999  FELL")
        self.record("maps", {"records a second": 18001})
        self.judge(0, r"18,001  within noise")

    def test_noise_does_not_fail(self):
        self.record("engine", {"opt/native mean": 1.15, "opt/kernel mean": 0.66})
        self.judge(0, r"1.15  within noise", r"0.66  within noise")

    def test_one_bad_run_of_three_does_not_fail(self):
        self.record("engine", {"opt/native mean": 9, "opt/kernel mean": 0.5})
        self.record("engine.2", {"opt/native mean": 0.96, "opt/kernel mean": 9})
        self.judge(0, r"opt/native mean .* 0.96  kept", r"opt/kernel mean .* 0.50  kept")

    def test_two_bad_runs_of_three_do(self):
        self.record("engine", {"opt/native mean": 1.3, "opt/kernel mean": 0.5})
        self.record("engine.2", {"opt/native mean": 0.96, "opt/kernel mean": 0.5})
        self.record("engine.3", {"opt/native mean": 1.25, "opt/kernel mean": 0.5})
        self.judge(1, r"opt/native mean .* 1.25  FELL")

    def test_what_is_left_out_is_said(self):
        self.record("engine", {"opt/native mean": 0.95}, {"opt/kernel mean": "no bpf(2) here"})
        self.judge(0, r"opt/kernel mean .* -  left out: no bpf\(2\) here", r"2 kept, 1 left out, 0 fell")

    def test_a_figure_that_is_gone_without_a_reason_fails(self):
        self.record("engine", {"opt/native mean": 0.95})
        self.judge(1, r"opt/kernel mean .*BROKEN: the command reports no such figure", r"fell: opt/kernel mean")

    def test_a_command_that_says_nonsense_fails(self):
        for text in ("", "[1]", '{"figures": [1]}', '{"figures": {"records a second": "many"}}',
                     '{"figures": {"records a second": NaN}}', '{"figures": {"records a second": true}}'):
            (self.directory / "maps.json").write_text(text, encoding="utf-8")
            self.judge(1, r"records a second .*BROKEN: ")

    def test_a_command_without_a_record_fails(self):
        (self.directory / "maps.json").unlink()
        self.judge(1, r"BROKEN: no record maps.json")

    def test_a_wrong_table_is_refused_with_its_line(self):
        rows = TABLE.splitlines()
        for old, new, complaint in (("≤ 1.05", "< 1.05", "expected ≤ or ≥ and a number"), ("≤ 1.05", "≤ fast", "expected a number"),
                                    ("| 10 % |", "| 10 |", "expected per cent"), ("| 10 % |", "| 100 % |", "expected 0 to 99 %"),
                                    ("`opt/native mean`", "opt/native mean", "in `backticks`"),
                                    ("| 10 % |", "| 10 % | more |", "found 5 cells, expected 4")):
            line = next(at for at, row in enumerate(rows, 1) if "opt/native mean" in row)
            self.promises("\n".join(rows[:line - 1] + [rows[line - 1].replace(old, new)] + rows[line:]))
            self.judge(2, re.escape(complaint), f"line {line}: ")
        self.promises(TABLE + rows[-1] + "\n")
        self.judge(2, "stands here twice")
        self.promises("# Promises\n")
        self.judge(2, "no heading")

    def test_rows_can_be_chosen(self):
        result = self.check("--only", "opt/kernel")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("1 promises: 1 kept", result.stdout)
        self.assertEqual(self.check("--only", "no such").returncode, 2)

    def test_commands_are_run(self):
        """Without records: programs that print figures, one that fails, one that is not there."""
        build = self.directory / "build"
        build.mkdir()
        rows = ["## What bench-check measures again", "", "| measured by | figure | promise | noise |", "|---|---|---|---|"]
        for name, body in (("good", "echo '{\"figures\": {\"x\": 1}}'"), ("bad", "exit 3"), ("absent", None)):
            if body is not None:
                (build / f"bench_{name}").write_text(f'#!/bin/sh\n[ "$2" = --json ] || exit 9\n{body}\n', encoding="utf-8")
                (build / f"bench_{name}").chmod(0o755)
            rows.append(f"| `build/release/bench_{name} ARGUMENT` | `x` | ≤ 1 | 0 % |")
        self.promises("\n".join(rows) + "\n")
        result = subprocess.run([sys.executable, ROOT / "bench/check.py", "--promises", self.directory / "PROMISES.md", "--build", build],
                                text=True, capture_output=True, timeout=30, encoding="utf-8")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stdout, r"(?s)bench_good ARGUMENT.* kept.*bench_bad.*BROKEN: it ended with status 3.*BROKEN: it does not start")
        self.assertIn("3 promises: 1 kept, 0 left out, 2 fell", result.stdout)

    def test_the_promises_of_this_repository_can_be_read(self):
        result = subprocess.run([sys.executable, ROOT / "bench/check.py", "--list"], text=True, capture_output=True, timeout=30, encoding="utf-8")
        self.assertEqual(result.returncode, 0, result.stderr)
        rows = [line.split("\t") for line in result.stdout.splitlines()]
        self.assertGreater(len(rows), 20)
        for command, *_ in rows:
            program = command.split()[0]
            source = program if program.endswith(".py") else f"bench/{program.removeprefix('build/release/bench_')}.cpp"
            self.assertTrue((ROOT / source).exists(), command)


if __name__ == "__main__":
    unittest.main()
