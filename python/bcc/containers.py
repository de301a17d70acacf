# Filters by control group or mount namespace, which several tools offer.
_NO_FILTER = "static inline int _cgroup_filter() { return 0; }\n"
_CGROUP = """
BPF_TABLE_PINNED("hash", u64, u64, cgroupset, 1024, "{path}");
static inline int _cgroup_filter() {{
    u64 cgroup = bpf_get_current_cgroup_id();
    return cgroupset.lookup(&cgroup) == 0;
}}
"""
# What the field is in is private to the kernel, so the way to it is told here.
_MOUNT_NAMESPACE = """
#include <linux/sched.h>
#include <linux/nsproxy.h>
#include <linux/mount.h>
#include <linux/ns_common.h>
struct mnt_namespace {{ {members} struct ns_common ns; }};
BPF_TABLE_PINNED("hash", u64, u32, mount_ns_set, 1024, "{path}");
static inline int _mntns_filter() {{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    u64 ns_id = task->nsproxy->mnt_ns->ns.inum;
    return mount_ns_set.lookup(&ns_id) == 0;
}}
"""
_NO_MOUNT_FILTER = "static inline int _mntns_filter() { return 0; }\n"


def _cgroup_filter(path):
    return _CGROUP.format(path=path) if path else _NO_FILTER


def _mntns_filter(path):
    if not path:
        return _NO_MOUNT_FILTER
    from bcc import BPF
    # Since 5.11 nothing stands in front of `ns`.
    members = "" if BPF.kernel_struct_has_field(b"mnt_namespace", b"count") != 1 else "atomic_t count;"
    return _MOUNT_NAMESPACE.format(path=path, members=members)


def filter_by_containers(args):
    """C text with container_should_be_filtered(), as the options --cgroupmap and --mntnsmap ask."""
    return (_cgroup_filter(getattr(args, "cgroupmap", None)) + _mntns_filter(getattr(args, "mntnsmap", None)) +
            "static inline int container_should_be_filtered() { return _cgroup_filter() || _mntns_filter(); }\n")
