"""Which calls of the Linux kernel a foreign program is refused, as a filter that the kernel itself runs (seccomp).

Namespaces keep a program from what is outside of them, and limits of a process bound what is counted to it. This closes
what is left: memory that is counted to nobody (System V), namespaces of its own with mounts without a limit, sockets of
kinds that no network namespace holds (vsock), signals, keys, and large parts of the kernel that no such program needs.
Where neither namespaces nor bubblewrap work it is what keeps a program from the network and from other processes.
"""

from __future__ import annotations

import errno
import platform
import struct
import sys

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Numbers on x86_64 and on aarch64; None where there is no such call.
_CALLS: dict[str, tuple[int | None, int | None]] = {
    # Other processes
    "fork": (57, None), "vfork": (58, None), "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "kcmp": (312, 272), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "move_pages": (279, 239), "migrate_pages": (256, 238),
    # The network
    "socket": (41, 198), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # Namespaces and mounts
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    # Memory and kernel objects that are counted to nobody, or outlive the process
    "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    # What has no use here but to be attacked
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "fanotify_init": (300, 262),
    "personality": (135, 92), "acct": (163, 89), "swapon": (167, 224), "quotactl": (179, 60), "syslog": (103, 116),
}  # fmt: skip
# `clone` would start a process or a thread; of `clone3` a filter cannot see what it would.
_CLONE, _CLONE3 = (56, 220), (435, 435)
# fcntl and ioctl that have a signal sent to whom the caller names.
_OWNERS = {"fcntl": ((72, 25), (8, 15)), "ioctl": ((16, 29), (0x8901, 0x8902))}

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _FAIL, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _SECOND = 0, 4, 24  # places in struct seccomp_data; of arguments the lower half
_X32 = 0x40000000


def refusing() -> bytes | None:
    """The filter of this machine, as an array of struct sock_filter; None where there is none for it."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _ARCHITECTURES:
        return None
    here = 0 if machine == "x86_64" else 1
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        # Calls of another architecture have other numbers: 32-bit ones on x86_64.
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if here == 0:
        code += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    for numbers in _CALLS.values():
        if (number := numbers[here]) is not None:
            code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _FAIL | errno.EPERM)]
    code += [(_EQUAL, 0, 1, _CLONE[here]), (_RETURN, 0, 0, _FAIL | errno.EAGAIN)]
    code += [(_EQUAL, 0, 1, _CLONE3[here]), (_RETURN, 0, 0, _FAIL | errno.ENOSYS)]
    for numbers_of, commands in _OWNERS.values():
        code += [(_EQUAL, 0, 2 + 2 * len(commands), numbers_of[here]), (_LOAD, 0, 0, _SECOND)]
        for command in commands:
            code += [(_EQUAL, 0, 1, command), (_RETURN, 0, 0, _FAIL | errno.EPERM)]
        code.append((_RETURN, 0, 0, _ALLOW))
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *one) for one in code)
