"""The Debian packages: what is in them, what they depend on, how much they take, and that skep runs from where they put it.

They are made with fast compression and unpacked into a directory; nothing is installed. The development package, whose
static library takes long to compress, is left to `make deb`.
"""
import os
import re
import shutil
import stat
import subprocess
import tempfile
import unittest

BUILD = os.environ["SKEP_BUILD"]
MOST_INSTALLED_KIB = 8 * 1024  # of the package skep, which is all that tools need; docs/PROMISES.md has the figure
HELLO = """from bcc import BPF
import bcc, skep
b = BPF(text='int hello(void *ctx) { bpf_trace_printk("Hello World!"); return 0; }')
b.attach_kprobe(event=b.get_syscall_fnname("execve"), fn_name="hello")
print("bcc is", bcc.__file__, "and skep", skep.__file__, flush=True)
"""


def said(words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, **options).stdout


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="skep-packages-")
        try:
            said([os.environ["SKEP_CPACK"], "-G", "DEB", "--config", BUILD + "/CPackConfig.cmake", "-B", cls.directory,
                  "-D", "CPACK_COMPONENTS_ALL=skep;libskep;python", "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=gzip"])
        except subprocess.CalledProcessError as error:
            raise AssertionError(error.stdout + error.stderr) from None
        cls.files = {name.split("_")[0]: os.path.join(cls.directory, name)
                     for name in os.listdir(cls.directory) if name.endswith(".deb")}
        cls.root = os.path.join(cls.directory, "root")
        for package in cls.files.values():
            said(["dpkg-deb", "-x", package, cls.root])
        cls.environment = {name: value for name, value in os.environ.items()
                           if name not in ("SKEP", "SKEP_LIBRARY", "PYTHONPATH")}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.directory)

    def field(self, package, name):
        return said(["dpkg-deb", "-f", self.files[package], name]).strip()

    def test_their_dependencies_are_computed(self):
        self.assertEqual(set(self.files), {"skep", "libskep1", "python3-skep"})
        for package in ("skep", "libskep1"):
            self.assertRegex(self.field(package, "Depends"), r"libc6 \(>= 2\.\d+\)")
        self.assertNotIn("libskep1", self.field("skep", "Depends"))
        self.assertRegex(self.field("python3-skep", "Depends"), r"python3.*libskep1 \(= ")
        self.assertEqual(self.field("python3-skep", "Architecture"), "all")
        self.assertIn("libskep 1 libskep1", said(["dpkg-deb", "-I", self.files["libskep1"], "shlibs"]))

    def test_every_file_is_where_and_as_debian_wants_it(self):
        for package in self.files.values():
            for line in said(["dpkg-deb", "-c", package]).splitlines():
                mode, owner, path = line.split()[0], line.split()[1], line.split()[5]
                self.assertEqual(owner, "root/root", line)
                self.assertIn(mode[1:], ("rwxr-xr-x", "rw-r--r--", "rwxrwxrwx"), line)
                self.assertTrue(re.match(r"\./(usr/(bin|lib|share)?.*)?$", path), line)
                self.assertNotIn(".pyc", path)
                self.assertNotIn("__pycache__", path)
        for name in ("skep", "libskep1", "python3-skep"):
            for paper in ("copyright", "changelog.Debian.gz"):
                self.assertTrue(os.path.exists(os.path.join(self.root, "usr/share/doc", name, paper)), name)
        for name in ("usr/share/man/man1/skep.1.gz", "usr/share/bash-completion/completions/skep"):
            self.assertTrue(stat.S_ISREG(os.stat(os.path.join(self.root, name)).st_mode))
        for script in ("postinst", "prerm"):
            text = said(["dpkg-deb", "-I", self.files["python3-skep"], script])
            subprocess.run(["sh", "-n"], input=text, text=True, check=True)

    def test_they_are_small(self):
        """The files themselves: Installed-Size counts what a link names once more."""
        installed = {package: 0 for package in self.files}
        for package, deb in self.files.items():
            for line in said(["dpkg-deb", "-c", deb]).splitlines():
                if line.startswith("-"):
                    installed[package] += -(-int(line.split()[2]) // 1024)
        print("installed, KiB: %s" % installed, end=" ... ", flush=True)
        self.assertLessEqual(installed["skep"], MOST_INSTALLED_KIB)

    def test_skep_runs_from_there(self):
        skep = os.path.join(self.root, "usr/bin/skep")
        self.assertRegex(said([skep, "--version"], env=self.environment), r"\d+\.\d+\.\d+")
        self.assertIn("opensnoop", said([skep, "tools"], env=self.environment))
        if os.path.exists("/usr/bin/clang") or shutil.which("clang-14"):
            driver = os.path.join(self.directory, "hello.py")
            with open(driver, "w") as file:
                file.write(HELLO)
            cache = dict(self.environment, XDG_CACHE_HOME=self.directory + "/cache")
            printed = said([skep, "python", driver, "--", "true"], env=cache)
            self.assertIn(os.path.join(self.root, "usr/share/skep/python/skep"), printed)
        try:
            opened = subprocess.run([skep, "opensnoop", "--", "cat", "/etc/hostname"], env=self.environment, check=True,
                                    capture_output=True, text=True, stdin=subprocess.DEVNULL)
        except subprocess.CalledProcessError as error:
            if "ptrace" in error.stderr or "seccomp" in error.stderr:
                self.skipTest("processes may not be traced here: " + error.stderr.strip())
            raise AssertionError(error.stderr) from None
        self.assertRegex(opened.stdout, r"(?m)^\d+ +cat +\d+ +0 +/etc/hostname$")


if __name__ == "__main__":
    unittest.main()
