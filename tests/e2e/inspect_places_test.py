"""Where programs are in the kernel (control groups, devices, perf events, structures of functions), what it can do, and what is said without rights."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from kernel_inspection import BPFTOOL, KernelInspection, bpftool
from support import Case, main, need, need_clang


class Places(KernelInspection):
    def control_group(self):
        with open("/proc/self/mountinfo") as mounts:
            roots = [line.split()[4] for line in mounts if " - cgroup2 " in line]
        need(roots and os.access(roots[0], os.W_OK), "a writable cgroup2 hierarchy")
        group = pathlib.Path(tempfile.mkdtemp(prefix="skep_e2e_", dir=roots[0]))
        self.addCleanup(lambda: group.exists() and group.rmdir())
        return group

    def test_control_groups(self):
        need_clang()
        group = self.control_group()
        source = self.write("group.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("cgroup_skb/egress") int let_pass(struct __sk_buff *skb) { return 1; }
char _license[] SEC("license") = "GPL";
""")
        self.skep("prog", "load", source, self.pins / "let_pass", check=0)
        program = ("pinned", self.pins / "let_pass")
        self.skep("cgroup", "attach", group, "cgroup_inet_egress", *program, "multi", check=0)
        id = self.json("prog", "show", *program)["id"]
        theirs = bpftool("cgroup", "show", group) if BPFTOOL else None
        ours = self.json("cgroup", "show", group)
        self.assertEqual([(p["id"], p["attach_type"], p["attach_flags"], p["name"]) for p in ours], [(id, "cgroup_inet_egress", "multi", "let_pass")])
        if theirs is not None:
            for a, b in zip(ours, theirs):
                self.same(a, b, "cgroup show")
        (mine,) = [entry for entry in self.json("cgroup", "tree") if entry["cgroup"] == str(group)]
        self.assertEqual([p["id"] for p in mine["programs"]], [id])
        self.assertIn(str(group), self.skep("cgroup", "tree", check=0).stdout)
        self.assertEqual([entry["cgroup"] for entry in self.json("prog", "why", *program)["cgroups"]], [str(group)])
        self.assertEqual([p["id"] for p in self.json("cgroup", "show", group, "effective")][-1:], [id])
        self.assertIn("does not fit", self.skep("cgroup", "attach", group, "cgroup_device", *program, check=2).stderr)
        self.skep("cgroup", "detach", group, "egress", *program, check=0)
        self.assertEqual(self.json("cgroup", "show", group), [])
        self.assertIn("not attached there", self.skep("cgroup", "detach", group, "egress", *program, check=1).stderr)
        self.assertIn("not a control group", self.skep("cgroup", "show", "/tmp", check=2).stderr)
        self.assertIn("/nonexistent", self.skep("cgroup", "show", "/nonexistent", check=1).stderr)
        self.assertIn("there are: cgroup_inet_ingress", self.skep("cgroup", "attach", group, "nothing", *program, check=2).stderr)

    def test_network_devices(self):
        need_clang()
        need(shutil.which("ip") and shutil.which("unshare"), "ip and unshare (iproute2, util-linux): no network namespace of our own")
        source = self.write("pass.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int pass(struct xdp_md *ctx) { return XDP_PASS; }
char _license[] SEC("license") = "GPL";
""")
        self.skep("prog", "load", source, self.pins / "pass", check=0)
        filter = self.write("filter.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("tc") int filter(struct __sk_buff *skb) { return 0; }
char _license[] SEC("license") = "GPL";
""")
        self.skep("prog", "load", filter, self.pins / "filter", check=0)
        skep = os.environ["SKEP"]
        script = f"""set -e
ip link add skep0 type veth peer name skep1
{skep} net attach xdpgeneric pinned {self.pins}/pass dev skep0
{skep} net show -j
{BPFTOOL or 'true'} -j net show
{skep} prog why pinned {self.pins}/pass -j
! {skep} net attach xdpgeneric pinned {self.pins}/pass dev skep0 2>refused
{skep} net detach xdpgeneric dev skep0
{skep} net show dev skep0 -j
cat refused
{skep} net attach tcx_egress pinned {self.pins}/filter dev skep0
{skep} net show dev skep0 -j
{skep} net detach tcx_egress pinned {self.pins}/filter dev skep0
{skep} net show dev skep0 -j
! {skep} net attach xdpgeneric pinned {self.pins}/filter dev skep0 2>&1
! {skep} net attach tcx_egress pinned {self.pins}/pass dev skep0 2>&1
! {skep} net show dev skep9 2>&1
"""
        result = subprocess.run(["unshare", "-n", "bash", "-c", script], text=True, capture_output=True, cwd=self.directory, env=self.environment, timeout=60)
        need("not permitted" not in result.stderr and "Unknown device type" not in result.stderr, "no network namespace with a veth device: " + result.stderr)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        lines = result.stdout.splitlines()
        ours = json.loads(lines[0])
        if BPFTOOL:
            self.assertEqual(ours, json.loads(lines.pop(1)))
        (xdp,) = ours[0]["xdp"]
        self.assertEqual((xdp["devname"], xdp["mode"]), ("skep0", "generic"))
        self.assertEqual([n["devname"] for n in json.loads(lines[1])["net"]], ["skep0"])
        self.assertEqual(json.loads(lines[2])[0]["xdp"], [])
        self.assertIn("attached already", lines[3])
        (tcx,) = json.loads(lines[4])[0]["tc"]
        self.assertEqual((tcx["devname"], tcx["kind"], tcx["name"]), ("skep0", "tcx/egress", "filter"))
        self.assertEqual(json.loads(lines[5])[0]["tc"], [])
        self.assertIn("is of type sched_cls; xdpgeneric takes programs of type xdp", lines[6])
        self.assertIn("is of type xdp; tcx_egress takes programs of type sched_cls", lines[7])
        self.assertIn("'skep9': no such network device", lines[8])

    def test_a_device_that_goes_while_a_program_is_on_it(self):
        need_clang()
        need(shutil.which("ip") and shutil.which("unshare"), "ip and unshare (iproute2, util-linux): no network namespace of our own")
        source = self.write("stays.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int stays(struct xdp_md *ctx) { return XDP_PASS; }
char _license[] SEC("license") = "GPL";
""")
        script = self.write("gone.py", """
import json, subprocess, sys, time
skep, source, *bpftool = sys.argv[1:]
run = lambda *line: subprocess.run(line, check=True, text=True, stdout=subprocess.PIPE).stdout
run("ip", "link", "add", "skep2", "type", "veth", "peer", "name", "skep3")
holder = subprocess.Popen([skep, "run", source, "--backend", "kernel", "--attach", "xdp:skep2", "--", "cat"], stdin=subprocess.PIPE)
try:
    found, deadline = [], time.monotonic() + 20
    while not found and time.monotonic() < deadline:
        found = [link for link in json.loads(run(skep, "link", "show", "-j")) if link.get("devname") == "skep2"]
    id = str(found[0]["id"])
    elsewhere = json.loads(run("unshare", "-n", skep, "link", "show", "id", id, "-j"))
    run("ip", "link", "del", "skep2")
    told = [run(*line, "link", "show", "id", id) for line in ([skep, "-j"], [skep], *([b, "-j"] for b in bpftool))]
finally:
    holder.communicate()
print(json.dumps([found, elsewhere, told]))
""")
        line = ["unshare", "-n", sys.executable, script, os.environ["SKEP"], source, *([BPFTOOL] if BPFTOOL else [])]
        result = subprocess.run(line, text=True, capture_output=True, cwd=self.directory, env=self.environment, timeout=60)
        need("not permitted" not in result.stderr and "Unknown device type" not in result.stderr, "no network namespace with a veth device: " + result.stderr)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        (before,), elsewhere, (after, text, *theirs) = json.loads(result.stdout)
        self.assertEqual((before["type"], before["target"]), ("xdp", "skep2"))
        self.assertEqual((elsewhere["devname"], elsewhere["ifindex"]), ("(unknown)", before["ifindex"]))
        self.assertEqual(elsewhere["target"], f"network device {before['ifindex']} of another network namespace")
        after = json.loads(after)
        self.assertEqual((after["devname"], after["ifindex"], after["target"]), ("(detached)", 0, "a network device that is gone"))
        self.assertIn("devname (detached)  ifindex 0\n\ttarget a network device that is gone\n", text)
        for answer in theirs:
            self.same(after, json.loads(answer), "a link without its device")

    def test_a_control_group_that_goes_while_a_program_is_on_it(self):
        need_clang()
        group = self.control_group()
        source = self.write("group_stays.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("cgroup_skb/egress") int group_stays(struct __sk_buff *skb) { return 1; }
char _license[] SEC("license") = "GPL";
""")
        skep = os.environ["SKEP"]
        # The kernel lets go of the group's programs a moment after the group.
        script = f"{skep} link show -j; rmdir {group}; for i in $(seq 50); do {skep} link show -j > after; grep -q 'group that is gone' after && break; sleep 0.1; done; cat after"
        told = self.skep("run", source, "--backend", "kernel", "--attach", f"cgroup_skb/egress:{group}", "--", "sh", "-c", script, check=0, cwd=self.directory).stdout
        before, after = (json.loads(line) for line in told.splitlines())
        (mine,) = [link for link in before if link.get("cgroup_id") and "skep" in [p["comm"] for p in link.get("pids", [])]][-1:]
        (after,) = [link for link in after if link["id"] == mine["id"]]
        self.assertNotIn("target", mine)
        self.assertEqual((after["cgroup_id"], after["target"]), (0, "a control group that is gone"))

    def test_perf_events(self):
        need_clang()
        holder = self.start("run", self.quiet(), "--backend", "kernel", "--", "cat", stdin=subprocess.PIPE)
        self.addCleanup(holder.stdin.close)  # what ends cat
        mine = []
        deadline = time.monotonic() + 20
        while not mine and time.monotonic() < deadline:
            mine = [user for user in self.json("perf", "show") if user["pid"] == holder.pid]
        self.assertEqual((mine[0]["fd_type"], mine[0]["tp_name"]), ("raw_tracepoint", "sys_enter"))
        if BPFTOOL:
            theirs = [user for user in bpftool("perf", "show") if user["pid"] == holder.pid and user["fd"] == mine[0]["fd"]]
            self.assertEqual(theirs[0]["prog_id"], mine[0]["prog_id"])
        self.assertRegex(self.skep("perf", "show", check=0).stdout, rf"pid {holder.pid}  fd \d+: prog_id \d+  raw_tracepoint  sys_enter")

    def test_features(self):
        ours = self.json("feature", "probe")
        if BPFTOOL:
            theirs = bpftool("feature", "probe")
            self.assertEqual(list(ours), list(theirs))
            for part in ("system_config", "syscall_config", "map_types", "misc"):
                self.same(ours[part], theirs[part], part)
            # bpftool 7.1 asks for a tracing program by a way of its own; the kernel must agree on all others.
            different = {"have_tracing_prog_type", "have_ext_prog_type", "have_lsm_prog_type", "have_struct_ops_prog_type"}
            self.same({k: v for k, v in ours["program_types"].items() if k not in different}, {k: v for k, v in theirs["program_types"].items() if k not in different}, "program_types")
        xdp, probe = ours["helpers"]["xdp_available_helpers"], ours["helpers"]["kprobe_available_helpers"]
        self.assertIn("bpf_xdp_adjust_head", xdp)
        self.assertNotIn("bpf_xdp_adjust_head", probe)
        self.assertIn("bpf_get_stackid", probe)
        self.assertNotIn("bpf_get_stackid", xdp)
        self.assertRegex(self.skep("feature", "probe", check=0).stdout, r"(?s)eBPF program_type xdp is available.*eBPF map_type hash is available")


class Structures(KernelInspection):
    def test_structures_of_kernel_functions(self):
        need_clang()
        need(BPFTOOL, "bpftool (Debian package bpftool), which registers a struct_ops map that outlives its process")
        source = self.write("cc.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
struct sock;
struct tcp_congestion_ops { unsigned (*ssthresh)(struct sock *sk); void (*cong_avoid)(struct sock *sk, unsigned ack, unsigned acked); unsigned (*undo_cwnd)(struct sock *sk); char name[16]; };
SEC("struct_ops/ss") unsigned BPF_PROG(ss, struct sock *sk) { return 2; }
SEC("struct_ops/ca") void BPF_PROG(ca, struct sock *sk, unsigned ack, unsigned acked) { }
SEC("struct_ops/uw") unsigned BPF_PROG(uw, struct sock *sk) { return 2; }
SEC(".struct_ops") struct tcp_congestion_ops skep_e2e_cc = { .ssthresh = (void *)ss, .cong_avoid = (void *)ca, .undo_cwnd = (void *)uw, .name = "skep_e2e_cc" };
char _license[] SEC("license") = "GPL";
""")
        object = self.directory / "cc.bpf.o"
        self.skep("compile", source, "-o", object, check=0)
        registered = subprocess.run([BPFTOOL, "struct_ops", "register", str(object)], text=True, capture_output=True)
        need(registered.returncode == 0, "this kernel registers no struct_ops: " + registered.stderr.strip()[-200:])
        self.addCleanup(lambda: subprocess.run([BPFTOOL, "struct_ops", "unregister", "name", "skep_e2e_cc"], capture_output=True))
        (mine,) = self.json("struct_ops", "show", "name", "skep_e2e_cc")
        self.same(mine, next(one for one in bpftool("struct_ops", "show") if one["id"] == mine["id"]), "struct_ops")
        self.assertRegex(self.skep("struct_ops", "show", check=0).stdout, r"skep_e2e_cc +tcp_congestion_ops")
        info, value = self.json("struct_ops", "dump", "id", mine["id"])
        self.assertEqual(info["bpf_map_info"]["type"], "struct_ops")
        data = value["bpf_struct_ops_tcp_congestion_ops"]["data"]
        self.assertEqual(data["name"], "skep_e2e_cc")
        programs = {p["id"]: p.get("name") for p in self.json("prog", "show")}
        self.assertEqual([programs[data[key]] for key in ("ssthresh", "cong_avoid", "undo_cwnd")], ["ss", "ca", "uw"])
        self.assertIn("name one", self.skep("struct_ops", "unregister", check=2).stderr)
        self.skep("struct_ops", "unregister", "id", mine["id"], check=0)
        deadline = time.monotonic() + 10
        while self.skep("struct_ops", "show", "id", mine["id"]).returncode == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertIn("no struct_ops map", self.skep("struct_ops", "show", "id", mine["id"], check=1).stderr)

    def test_structures_are_registered_and_stay(self):
        need_clang()
        source = self.write("two_cc.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
struct sock;
struct tcp_congestion_ops { unsigned (*ssthresh)(struct sock *sk); void (*cong_avoid)(struct sock *sk, unsigned ack, unsigned acked); unsigned (*undo_cwnd)(struct sock *sk); char name[16]; };
SEC("struct_ops/ss") unsigned BPF_PROG(ss, struct sock *sk) { return 2; }
SEC("struct_ops/ca") void BPF_PROG(ca, struct sock *sk, unsigned ack, unsigned acked) { }
SEC("struct_ops/uw") unsigned BPF_PROG(uw, struct sock *sk) { return 2; }
#ifdef WITH_LINK
SEC("struct_ops/other") void BPF_PROG(other, struct sock *sk, unsigned ack, unsigned acked) { }
#endif
SEC(".struct_ops") struct tcp_congestion_ops skep_old_cc = { .ssthresh = (void *)ss, .cong_avoid = (void *)ca, .undo_cwnd = (void *)uw, .name = "skep_old_cc" };
#ifdef WITH_LINK
SEC(".struct_ops.link") struct tcp_congestion_ops skep_link_cc = { .ssthresh = (void *)ss, .cong_avoid = (void *)ca, .undo_cwnd = (void *)uw, .name = "skep_link_cc" };
SEC("?.struct_ops") struct tcp_congestion_ops skep_optional_cc = { .ssthresh = (void *)ss, .cong_avoid = (void *)other, .undo_cwnd = (void *)uw, .name = "skep_optional" };
#endif
#ifdef WITH_LINKS
SEC(".struct_ops.link") struct tcp_congestion_ops skep_first_cc = { .ssthresh = (void *)ss, .cong_avoid = (void *)ca, .undo_cwnd = (void *)uw, .name = "skep_first_cc" };
SEC(".struct_ops.link") struct tcp_congestion_ops skep_second_cc = { .ssthresh = (void *)ss, .cong_avoid = (void *)ca, .undo_cwnd = (void *)uw, .name = "skep_second_cc" };
#endif
char _license[] SEC("license") = "GPL";
""")
        refused = self.skep("struct_ops", "register", source)
        need(refused.returncode == 0, "this kernel registers no struct_ops: " + refused.stderr.strip()[-200:])
        self.addCleanup(self.skep, "struct_ops", "unregister", "name", "skep_old_cc")
        self.assertRegex(refused.stdout, r"^registered skep_old_cc, map id \d+$")
        known = pathlib.Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
        self.assertIn("skep_old_cc", known)
        self.skep("struct_ops", "unregister", "name", "skep_old_cc", check=0)
        both = self.directory / "both.bpf.o"
        self.skep("compile", source, "-o", both, "--cflag=-DWITH_LINK", check=0)
        self.assertIn("add a directory in bpffs", self.skep("struct_ops", "register", both, check=2).stderr)
        pins = self.pins / "ops"
        self.skep("struct_ops", "register", both, pins, check=0)
        known = pathlib.Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
        self.assertLessEqual({"skep_old_cc", "skep_link_cc"}, set(known))
        self.assertNotIn("skep_optional", known)
        (pins / "skep_link_cc").unlink()
        self.skep("struct_ops", "unregister", "name", "skep_old_cc", check=0)
        deadline = time.monotonic() + 10
        while set(known) & {"skep_old_cc", "skep_link_cc"} and time.monotonic() < deadline:
            time.sleep(0.05)
            known = pathlib.Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
        self.assertFalse(set(known) & {"skep_old_cc", "skep_link_cc"})
        # All of an object or nothing: the second pin cannot be made.
        links = self.directory / "links.bpf.o"
        self.skep("compile", source, "-o", links, "--cflag=-DWITH_LINKS", check=0)
        half = self.pins / "half_ops"
        (half / "skep_second_cc").mkdir(parents=True)
        self.assertIn("pinned there already", self.skep("struct_ops", "register", links, half, check=2).stderr)
        self.assertEqual([one.name for one in half.iterdir()], ["skep_second_cc"])
        (half / "skep_second_cc").rmdir()
        mine = {"skep_old_cc", "skep_first_cc", "skep_second_cc"}
        deadline = time.monotonic() + 10
        while mine & set(known := pathlib.Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertFalse(mine & set(known))
        self.assertIn("no struct_ops map", self.skep("struct_ops", "register", self.write("none.bpf.c", "char _license[] __attribute__((section(\"license\"))) = \"GPL\";"), check=1).stderr)


class WithoutRights(Case):
    def test_versions_come_from_a_table(self):
        old, new = (json.loads(self.skep("feature", "probe", "--kernel", v, "-j", check=0).stdout) for v in ("5.4", "6.18"))
        self.assertFalse(old["map_types"]["have_ringbuf_map_type"])
        self.assertTrue(new["map_types"]["have_ringbuf_map_type"])
        self.assertIn("bpf_map_lookup_elem", old["helpers"]["any_available_helpers"])
        self.assertNotIn("bpf_loop", old["helpers"]["any_available_helpers"])
        self.assertIn("bpf_loop", new["helpers"]["any_available_helpers"])
        self.assertIn("such as 5.15", self.skep("feature", "probe", "--kernel", "new", check=2).stderr)
        self.assertIn("hash", self.skep("feature", "list_builtins", "map_types", check=0).stdout.split())

    def test_nobody_is_told_what_is_missing(self):
        need(os.geteuid() == 0, "not root: this test needs a second user")
        environment = dict(self.environment, XDG_RUNTIME_DIR="")
        for arguments in (("feature", "probe"), ("prog", "tracelog"), ("map", "create", "/sys/fs/bpf/x", "type", "hash", "key", "4", "value", "4", "entries", "1", "name", "x")):
            result = self.skep(*arguments, user="nobody", env=environment)
            self.assertNotEqual(result.returncode, 0, arguments)
            self.assertRegex(result.stderr, "CAP_BPF|CAP_SYS_ADMIN|not permitted|denied", arguments)
        listing = self.skep("prog", "show", user="nobody", env=environment, check=0)
        self.assertIn("CAP_SYS_ADMIN", listing.stderr)

    def test_tokens_are_listed_by_their_mounts(self):
        need(shutil.which("unshare") and shutil.which("mount"), "unshare and mount (util-linux): no mounts of our own")
        script = f"""set -e
mkdir lends
mount -t bpf -o delegate_cmds=map_create:prog_load,delegate_maps=any,delegate_progs=kprobe none lends
{os.environ["SKEP"]} token list -j
{os.environ["SKEP"]} token show
"""
        result = subprocess.run(["unshare", "-m", "bash", "-c", script], text=True, capture_output=True, cwd=self.directory, env=self.environment, timeout=60)
        need("not permitted" not in result.stderr and "mount:" not in result.stderr, "no bpffs that delegates (Linux 6.9): " + result.stderr)
        listed, _, text = result.stdout.partition("\n")
        (lends,) = [one for one in json.loads(listed) if one["token_info"] == str(self.directory / "lends")]
        self.assertEqual(list(lends), ["token_info", "allowed_cmds", "allowed_maps", "allowed_progs", "allowed_attachs"])
        self.assertEqual((sorted(lends["allowed_cmds"]), lends["allowed_maps"], lends["allowed_progs"], lends["allowed_attachs"]),
                         (["map_create", "prog_load"], ["any"], ["kprobe"], []))
        self.assertIn(f"token_info  {self.directory}/lends\n\tallowed_cmds:\n\t  map_create ", text)
        self.assertIn("show or list", self.skep("token", "nonsense", check=2).stderr)

    def with_capabilities(self, capabilities, *arguments):
        need(shutil.which("setpriv"), "setpriv (util-linux), which takes capabilities away")
        few = [f"--{kind}=-all,{capabilities}" for kind in ("inh-caps", "bounding-set")]
        result = subprocess.run(["setpriv", *few, os.environ["SKEP"], *arguments], text=True, capture_output=True, cwd=self.directory, env=self.environment, timeout=60)
        need("setpriv:" not in result.stderr, "this process may not drop capabilities: " + result.stderr)
        return result

    def test_the_capability_that_is_missing_is_named(self):
        need(os.geteuid() == 0, "not root: there are no capabilities to take away")
        source = self.write("rights.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int packet(struct xdp_md *ctx) { return XDP_PASS; }
SEC("raw_tracepoint/sys_enter") int call(void *ctx) { return 0; }
SEC("cgroup_skb/ingress") int group(struct __sk_buff *ctx) { return 1; }
char _license[] SEC("license") = "GPL";
""")
        self.skep("compile", source, "-o", self.directory / "rights.o", check=0)
        run = lambda program, *hook: ("run", "rights.o", "--backend", "kernel", "--program", program, *hook, "--", "true")
        for has, line, lacks, grant in (
                ("+bpf", run("packet", "--attach", "xdp:lo"), "NET_ADMIN", "cap_bpf,cap_net_admin"),
                ("+bpf,+net_admin,+dac_read_search", run("call"), "PERFMON", "cap_bpf,cap_perfmon,cap_net_admin"),
                ("+perfmon", run("call"), "BPF", "cap_bpf,cap_perfmon"),
                ("+bpf,+perfmon", ("prog", "show"), "SYS_ADMIN", None),
                ("+bpf,+perfmon", ("prog", "show", "id", "1"), "SYS_ADMIN", None),
                ("+bpf,+perfmon", ("map", "dump", "name", "none_of_ours"), "SYS_ADMIN", None),
                ("+bpf,+perfmon", ("prog", "top", "count", "1", "interval", "0.1"), "SYS_ADMIN", None),
                ("+bpf,+perfmon", ("feature", "probe"), "NET_ADMIN", "cap_bpf,cap_perfmon,cap_net_admin"),
                ("+bpf,+perfmon", ("net", "show"), "NET_ADMIN", "cap_bpf,cap_perfmon,cap_net_admin")):
            said = self.with_capabilities(has, *line).stderr
            self.assertIn(f"lacks CAP_{lacks}", said, (has, line))
            for other in {"BPF", "PERFMON", "NET_ADMIN", "SYS_ADMIN"} - {lacks}:
                self.assertNotIn(f"lacks CAP_{other}", said, (has, line))
            self.assertIn(f"`setcap {grant}+ep" if grant else "Run as root", said, (has, line))
            self.assertNotIn("security module", said, (has, line))
        self.assertEqual(self.with_capabilities("+bpf,+net_admin", *run("packet", "--attach", "xdp:nowhere0")).stderr,
                         'skep: program packet: xdp:nowhere0: there is no interface "nowhere0" in this network namespace\n')

    def test_what_one_made_may_be_pinned_without_the_right_to_list(self):
        need(os.geteuid() == 0, "not root: there are no capabilities to take away")
        need(os.path.ismount("/sys/fs/bpf") and os.access("/sys/fs/bpf", os.W_OK), "bpffs at /sys/fs/bpf")
        pins = pathlib.Path(f"/sys/fs/bpf/skep_few_{os.getpid()}")
        pins.mkdir()
        self.addCleanup(shutil.rmtree, pins, ignore_errors=True)
        source = self.write("few_pins.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
int seen;
SEC("tc") int first(struct __sk_buff *ctx) { seen++; return 0; }
SEC("xdp") int second(struct xdp_md *ctx) { return XDP_PASS; }
char _license[] SEC("license") = "GPL";
""")
        self.skep("compile", source, "-o", self.directory / "few_pins.o", check=0)
        capabilities = "+bpf,+net_admin"
        made = self.with_capabilities(capabilities, "prog", "loadall", "few_pins.o", pins / "programs", "pinmaps", pins / "maps")
        self.assertEqual((made.returncode, made.stderr), (0, ""))
        self.assertEqual(sorted(path.name for path in pins.glob("*/*")), ["few_pins_bss", "first", "second"])
        made = self.with_capabilities(capabilities, "map", "create", pins / "limits", "type", "hash", "key", "4", "value", "4", "entries", "1", "name", "limits")
        self.assertEqual((made.returncode, made.stderr, (pins / "limits").exists()), (0, "", True))

    def test_few_capabilities_are_enough_to_load(self):
        source = self.write("few.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("raw_tracepoint/sys_enter") int few(void *ctx) { return 0; }
char _license[] SEC("license") = "GPL";
""")
        self.skep("compile", source, "-o", self.directory / "few.o", check=0)
        result = self.with_capabilities("+bpf,+perfmon,+dac_read_search", "run", "few.o", "--backend", "kernel", "--", "true")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_numbers_that_make_no_sense_are_refused_in_few_words(self):
        for line, told in ((("opensnoop", "-d", "-1"), "'-1' is not a number of seconds above 0"), (("runqlat", "1e99"), "at most 1000000000"),
                           (("filetop", "-r", "0"), "'0' is not a number above 0"), (("profile", "-C", "-3"), "'-3' is not a number of 0 or more"),
                           (("opensnoop", "-p", "0"), "not a whole number from 1 to 4194304"), (("syscount", "-i", "nan"), "'nan' is not a number of seconds")):
            said = self.skep(*line, check=2).stderr
            self.assertIn(told, said)
            self.assertIn(f"(see `skep {line[0]} --help`)", said)
            self.assertLess(len(said), 200)

    def test_every_verb_has_help_with_an_example(self):
        verbs = re.findall(r"(?m)^  (\w+)  ", self.skep("--help", check=0).stdout)
        for wanted in ("prog", "map", "link", "btf", "diff", "cgroup", "perf", "net", "iter", "token", "feature"):
            self.assertIn(wanted, verbs)
        for verb in verbs:
            text = self.skep(verb, "--help", check=0).stdout
            self.assertRegex(text, "(?i)example", verb)


if __name__ == "__main__":
    main()
