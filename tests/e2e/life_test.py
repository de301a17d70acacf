"""Process life: what a program sees of a command in the user engine is what it sees in the kernel."""
import collections
import os
import random
import re
import shutil
import string

from support import TRACE_LINE, Case, can_use_kernel_bpf, main, need, need_clang

PROGRAM = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Only the test's own commands, whose names begin with this. */
static int ours(void) {
  char comm[16];
  bpf_get_current_comm(comm, sizeof(comm));
  return comm[0] == MARK[0] && comm[1] == MARK[1] && comm[2] == MARK[2] && comm[3] == '_';
}
SEC("tracepoint/sched/sched_process_exec") int on_exec(struct trace_event_raw_sched_process_exec *ctx) {
  char name[64];
  if (!ours()) return 0;
  bpf_probe_read_kernel_str(name, sizeof(name), (void *)ctx + (ctx->__data_loc_filename & 0xffff));
  bpf_printk(MARK " exec %s same %d own %d", name, ctx->pid == ctx->old_pid, ctx->pid == (int)bpf_get_current_pid_tgid());
  return 0;
}
SEC("tracepoint/sched/sched_process_fork") int on_fork(struct trace_event_raw_sched_process_fork *ctx) {
  char child[16];
  if (!ours()) return 0;
  bpf_probe_read_kernel_str(child, sizeof(child), (void *)ctx + (ctx->__data_loc_child_comm & 0xffff));
  bpf_printk(MARK " fork %s own %d other %d", child, ctx->parent_pid == (int)bpf_get_current_pid_tgid(), ctx->child_pid != ctx->parent_pid);
  return 0;
}
SEC("tracepoint/sched/sched_process_exit") int on_exit(struct trace_event_raw_sched_process_exit *ctx) {
  if (!ours()) return 0;
  bpf_printk(MARK " exit %s prio %d last %d", ctx->comm, ctx->prio, ctx->group_dead);
  return 0;
}
SEC("tracepoint/signal/signal_generate") int on_generate(struct trace_event_raw_signal_generate *ctx) {
  if (!ours() || ctx->sig == 17) return 0; /* which shell is told of its child first is a race */
  bpf_printk(MARK " generate %d code %d to %s", ctx->sig, ctx->code, ctx->comm);
  bpf_printk(MARK " generated group %d result %d own %d", ctx->group, ctx->result, ctx->pid == (int)bpf_get_current_pid_tgid());
  return 0;
}
SEC("tracepoint/signal/signal_deliver") int on_deliver(struct trace_event_raw_signal_deliver *ctx) {
  if (!ours() || ctx->sig == 17) return 0;
  bpf_printk(MARK " deliver %d code %d", ctx->sig, ctx->code);
  return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


class Life(Case):
    @classmethod
    def setUpClass(cls):
        need_clang()
        super().setUpClass()
        # The kernel's pipe and its tracepoints are everybody's: other runs of this test have other names. The pipe's own
        # column of names is a guess of the kernel's, made when it is read.
        cls.mark = "".join(random.choices(string.ascii_lowercase, k=3))
        for name, original in (("sk_shell", "/bin/dash"), ("sk_true", "/bin/true"), ("sk_sleep", "/bin/sleep")):
            shutil.copy(original, cls.directory / name.replace("sk_", cls.mark + "_"))
        cls.program = str(cls.directory / "life.bpf.c")
        (cls.directory / "life.bpf.c").write_text(f'#define MARK "{cls.mark}"\n' + PROGRAM)

    def seen(self, backend, script, **options):
        """What is printed of the script, in order, as (task in order of appearance, text)."""
        names = self.mark + "_"
        result = self.skep("run", self.program, "--backend", backend, "--", str(self.directory / f"{names}shell"), "-c",
                           script.replace("sk_", names), cwd=self.directory, **options)
        lines = []
        for line in result.stdout.splitlines():
            if (match := re.match(TRACE_LINE, line)) and match["text"].startswith(self.mark + " "):
                lines.append((match["pid"], match["text"].removeprefix(self.mark + " ").replace(names, "sk_")))
        self.assertTrue(lines, result.stdout + result.stderr)
        return lines, result

    def shapes(self, lines):
        """Per task, its lines in order; tasks without their numbers."""
        tasks = collections.defaultdict(list)
        for pid, text in lines:
            tasks[pid].append(text)
        return sorted(tasks.values())

    # Asleep in the program it has executed. One that is killed earlier is a shell still, or is killed within its exec,
    # which has its new name before the kernel's tracepoint, and which ptrace then does not report.
    ASLEEP = 'asleep() { until read stat < /proc/$1/stat && case "$stat" in *"(sk_sleep) S "*) ;; *) false;; esac; do :; done; }; '
    SCRIPTS = {
        "execs": "./sk_true; ./sk_true; exit 7",
        "subshells": "(exit 3); (./sk_true; (exit 4)); true",
        "signals": ASLEEP + "./sk_sleep 5 & asleep $!; kill $!; wait $!; ./sk_sleep 5 & asleep $!; kill -9 $!; wait $!; trap 'true' USR1; kill -USR1 $$; true",
        "ignored": "trap '' USR2; kill -USR2 $$; kill -0 $$; exit 1",
        "own death": "kill -TERM $$",
        "nice": "nice -n 3 ./sk_true",
    }

    maxDiff = None

    def test_what_the_shell_did(self):
        lines, result = self.seen("user", self.SCRIPTS["execs"])
        self.assertEqual(result.returncode, 7)
        texts = [text for _, text in lines]
        self.assertEqual(sum(text == "exec ./sk_true same 1 own 1" for text in texts), 2, texts)
        self.assertEqual(sum(text.startswith("fork sk_shell own 1 other 1") for text in texts), 2, texts)
        self.assertEqual(sum(text.startswith("exit sk_true prio 1") and text.endswith("last 1") for text in texts), 2, texts)

    def test_without_privileges(self):
        need(os.getuid() == 0, "root, to become nobody")
        lines, _ = self.seen("user", self.SCRIPTS["signals"], user="nobody", env=dict(self.environment, XDG_CACHE_HOME="/tmp", XDG_RUNTIME_DIR="/tmp"))
        texts = [text for _, text in lines]
        self.assertIn("generate 15 code 0 to sk_sleep", texts)
        self.assertIn("deliver 9 code 0", texts)

    def test_both_engines_see_the_same(self):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN): the kernel engine cannot be used here")
        for name, script in self.SCRIPTS.items():
            with self.subTest(name):
                # The kernel sees what comes before the first exec and after the last end as well.
                shapes = []
                for backend in ("kernel", "user"):
                    lines, _ = self.seen(backend, script)
                    shapes.append(self.shapes(lines))
                self.assertEqual(shapes[0], shapes[1])


if __name__ == "__main__":
    main()
