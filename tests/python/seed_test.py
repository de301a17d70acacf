"""The first lesson of eBPF, unchanged: driver.py and counter_driver.py on both engines."""
import json
import os
import re
import signal
import subprocess
import time

from common import (EXAMPLES, PRINTED_LINE, SKEP, DriverCase, can_use_kernel_bpf, finish, main, need,
                    while_the_pipe_is_taken)

DRIVER, COUNTER = EXAMPLES / "driver.py", EXAMPLES / "counter_driver.py"
OWN_UID = "ID %d: " % os.getuid()


def trace_lines(output):
    return [match for match in (re.match(PRINTED_LINE, line) for line in output.splitlines()) if match]


class UserEngine(DriverCase):
    def check_hello(self, **options):
        result = self.skep("python", DRIVER, "--", "sh", "-c", "/bin/true; /bin/true", check=0, **options)
        lines = trace_lines(result.stdout)
        self.assertEqual([line["text"] for line in lines], ["Hello World!"] * 3, result.stdout + result.stderr)
        self.assertEqual([line["comm"].strip() for line in lines[1:]], ["sh", "sh"])
        self.assertIn("the command ended with status 0", result.stderr)

    def test_a_line_for_each_execve(self):
        self.check_hello()

    def test_without_root(self):
        need(os.geteuid() == 0, "not root: every other test here runs without root already")
        environment = dict(self.environment, XDG_CACHE_HOME="", HOME="/nonexistent", XDG_RUNTIME_DIR="")
        self.check_hello(user="nobody", env=environment)

    def test_counts(self):
        """The driver sleeps two seconds a round; the command is over before: it goes round once more."""
        result = self.skep("python", COUNTER, "--", "sh", "-c", "/bin/true; /bin/true; /bin/true", check=0)
        self.assertEqual(result.stdout.split("\t")[0], OWN_UID + "4", result.stdout + result.stderr)

    def test_counts_grow_while_the_command_runs(self):
        result = self.skep("python", COUNTER, "--", "sh", "-c", "for i in 1 2 3; do sleep 1; done", check=0)
        counts = [int(count) for count in re.findall(OWN_UID + r"(\d+)", result.stdout)]
        self.assertGreaterEqual(len(counts), 2, result.stdout)
        self.assertEqual(counts, sorted(counts))
        self.assertEqual(counts[-1], 4)

    def test_the_driver_ends_as_the_command_does(self):
        self.assertEqual(self.skep("python", DRIVER, "--", "sh", "-c", "exit 7").returncode, 7)
        killed = self.skep("python", DRIVER, "--", "sh", "-c", "kill -KILL $$")
        self.assertEqual(killed.returncode, 128 + signal.SIGKILL)
        missing = self.skep("python", DRIVER, "--", "/no/such/command")
        self.assertEqual(missing.returncode, 1, missing.stderr)
        self.assertIn("/no/such/command", missing.stderr)

    def test_the_command_has_the_signals_that_it_would_have(self):
        """Blocked and ignored ones are inherited: nothing of Python's or of skep's threads may reach the command."""
        shown = ["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"]
        alone = subprocess.run(shown, capture_output=True, text=True, env=self.environment)
        observed = self.skep("python", DRIVER, "--", *shown, check=0)

        def sets(text):
            # Signals 32 and 33 are the C library's own: nobody can set them, and who began them decides.
            words = [line.split() for line in text.splitlines() if line.startswith("Sig")]
            return {word[0]: int(word[1], 16) & ~(3 << 31) for word in words}
        self.assertEqual(sets(observed.stdout), sets(alone.stdout))
        waits = self.skep("python", DRIVER, "--", "sh", "-c", "sleep 5 & kill -TERM $!; wait; yes | head -1", check=0)
        self.assertNotIn("yes:", waits.stderr)

    def test_a_process_that_runs_already(self):
        shell = subprocess.Popen(["sh", "-c", "read line; /bin/true; /bin/true"], stdin=subprocess.PIPE)
        self.addCleanup(shell.wait)
        driver = self.start("python", "-p", shell.pid, DRIVER)
        for _ in range(600):  # the driver attaches, then begins to observe
            with open("/proc/%d/status" % shell.pid) as status:
                if "TracerPid:\t0\n" not in status.read():
                    break
            time.sleep(0.1)
        shell.stdin.write(b"\n")
        shell.stdin.close()
        out, err = driver.communicate(timeout=30)
        self.assertEqual(len(trace_lines(out)), 2, out + err)
        self.assertIn("process %d ended" % shell.pid, err)

    def test_a_killed_driver_leaves_the_command_going(self):
        mark = self.directory / "finished"
        driver = self.start("python", DRIVER, "--", "sh", "-c", f"echo begun; /bin/sleep 1; echo done > {mark}")
        self.assertIn("begun", "".join(driver.stdout.readline() for _ in range(2)))
        driver.kill()
        driver.wait()
        for _ in range(100):
            if mark.exists():
                return
            time.sleep(0.1)
        self.fail("the command did not go on")


class KernelEngine(DriverCase):
    @classmethod
    def setUpClass(cls):
        need(can_use_kernel_bpf(), "the kernel engine needs CAP_BPF and CAP_PERFMON (root), and a kernel with BTF")
        super().setUpClass()

    def run_beside(self, driver, seen):
        return while_the_pipe_is_taken(lambda: self.run_once(driver, seen))

    def run_once(self, driver, seen):
        """Starts a driver system-wide and causes execve calls until its output holds `seen`; ends it with Ctrl-C."""
        path = self.directory / "out"
        with open(path, "w") as out:
            process = subprocess.Popen([SKEP, "python", str(driver)], stdout=out, stderr=subprocess.PIPE, text=True,
                                       env=dict(self.environment, PYTHONUNBUFFERED="1"))
        self.addCleanup(finish, process)
        for _ in range(300):
            subprocess.run(["/bin/true"])
            time.sleep(0.2)
            if process.poll() is not None or re.search(seen, path.read_text(errors="replace"), re.S):
                break
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=60)[1]
        return process.returncode, path.read_text(errors="replace"), err

    def test_a_line_for_each_execve(self):
        status, out, err = self.run_beside(DRIVER, "(Hello World!.*){5}")
        lines = [line for line in trace_lines(out) if line["text"] == "Hello World!"]
        self.assertGreaterEqual(len(lines), 5, out + err)
        self.assertEqual(status, 130)
        self.assertNotIn("Traceback", err)

    def test_counts(self):
        _, out, err = self.run_beside(COUNTER, OWN_UID + r"([5-9]|\d{2,})\b")
        counts = [int(count) for count in re.findall(OWN_UID + r"(\d+)", out)]
        self.assertGreaterEqual(max(counts, default=0), 5, out + err)

    def test_a_killed_driver_leaves_no_program(self):
        process = self.start("python", DRIVER)
        def loaded():
            """The numbers of the programs that this driver holds, and of all."""
            shown = json.loads(self.skep("-j", "prog", "show").stdout or "[]")
            return {one["id"] for one in shown if process.pid in [holder["pid"] for holder in one.get("pids", [])]}, {one["id"] for one in shown}
        own = set()
        for _ in range(100):
            own, _ = loaded()
            if own:
                break
            time.sleep(0.1)
        self.assertTrue(own, "the driver has loaded nothing within ten seconds")
        process.kill()
        process.wait()
        for _ in range(100):  # the kernel frees them after a grace period; who lists programs beside us holds one for a moment
            left = own & loaded()[1]
            if not left:
                break
            time.sleep(0.1)
        self.assertFalse(left)


if __name__ == "__main__":
    main()
