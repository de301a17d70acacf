"""bash completes verbs, words, options and names of objects, from what skep itself says."""
import os
import pathlib
import shutil
import subprocess

from support import SKEP, Case, main, need

SCRIPT = pathlib.Path(os.environ["SKEP_SOURCE"]) / "tools/skep/completion.bash"


class Completion(Case):
    def complete(self, *words, skep=SKEP):
        """What bash offers for the last word."""
        need(shutil.which("bash"), "bash")
        text = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _skep; printf "%s\\n" "${COMPREPLY[@]}"'
        result = subprocess.run(["bash", "-c", text, "bash", SCRIPT, skep, *words], text=True, capture_output=True, env=self.environment)
        self.assertEqual(result.stderr, "")
        return set(result.stdout.split())

    def test_verbs_and_tools(self):
        self.assertLessEqual({"run", "prog", "map", "opensnoop", "struct_ops"}, self.complete(""))
        self.assertEqual(self.complete("ver"), {"verify"})
        self.assertEqual(self.complete("opensn"), {"opensnoop"})
        self.assertEqual(self.complete("no_such"), set())

    def test_words_of_a_verb(self):
        self.assertLessEqual({"show", "list", "dump", "top", "load", "tracelog"}, self.complete("prog", ""))
        self.assertEqual(self.complete("map", "fr"), {"freeze"})
        self.assertLessEqual({"type", "pinmaps", "map", "autoattach"}, self.complete("prog", "load", "file.o", "path", ""))
        self.assertEqual(self.complete("prog", "show", "na"), {"name"})
        self.assertEqual(self.complete("net", "attach", "xdpg"), {"xdpgeneric"})

    def test_options(self):
        self.assertLessEqual({"--backend", "--program", "--attach"}, self.complete("run", "--"))
        self.assertEqual(self.complete("opensnoop", "--fail"), {"--failed"})
        self.assertEqual(self.complete("run", "--backend", ""), {"user", "kernel"})
        self.assertLessEqual({"--json", "--pretty"}, self.complete("prog", "show", "--"))

    def test_behind_two_dashes_is_a_command(self):
        self.assertEqual(self.complete("opensnoop", "--", "--"), set())

    def test_names_of_objects(self):
        source = self.write("named.bpf.c", '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n'
                            'SEC("tp/syscalls/sys_enter_getppid") int skep_completed(void *ctx) { return 0; }\nchar _license[] SEC("license") = "GPL";\n')
        need(shutil.which("clang"), "clang")
        host = self.start("run", source, "--", "sleep", "20")
        for _ in range(200):
            if self.complete("prog", "show", "name", "skep_com"):
                break
        self.assertEqual(self.complete("prog", "show", "name", "skep_com"), {"skep_completed"})
        host.kill()

    def test_names_are_words_and_no_commands(self):
        """Whoever names a program or a device must not have the shell of the one who completes it run anything."""
        ran = pathlib.Path(self.directory) / "ran"
        fake = pathlib.Path(self.directory) / "skep"
        names = [f"$(echo>{ran})", f"`echo>{ran}`", "${x:=1}", "*", "~root", "plain;name"]
        fake.write_text("#!/bin/sh\ncase $2 in --help) echo 'usage: skep prog show [PROG]';; "
                        "*) cat <<'END'\n[" + ",".join('{"id":1,"name":"%s"}' % name for name in names) + "]\nEND\nesac\n")
        fake.chmod(0o755)
        offered = self.complete("prog", "show", "name", "", skep=fake)
        self.assertFalse(ran.exists())
        self.assertIn("plain\\;name", offered)
        self.assertIn("\\*", offered)
        self.assertTrue(any(word.startswith("\\$\\(echo") for word in offered), offered)


if __name__ == "__main__":
    main()
