"""Lets a command's fsync(2) and its like succeed without doing anything, for the first installation on an empty host.

dpkg syncs every file and each of its own records, some 1500 times for this program's packages. Before anything is in
service that protects nothing worth the wait: one sync at the end is enough, and a host that lost power in between is
installed anew. systemd-nspawn --suppress-sync= and eatmydata do the same.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable

_ARCHITECTURES = {  # AUDIT_ARCH_* of linux/audit.h, then the numbers of the calls
    "x86_64": (0xC000003E, {"fsync": 74, "fdatasync": 75, "sync": 162, "sync_file_range": 277, "syncfs": 306}),
    "aarch64": (0xC00000B7, {"fsync": 82, "fdatasync": 83, "sync": 81, "sync_file_range": 84, "syncfs": 267}),
}
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
_ALLOW, _SUCCEED = 0x7FFF0000, 0x00050000  # seccomp(2): SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO with errno 0
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2  # prctl(2)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def filter_for(machine: str) -> bytes:
    """The seccomp filter (struct sock_filter[]) for a machine as uname(2) names it; empty when we do not know it."""
    if machine not in _ARCHITECTURES:
        return b""
    architecture, calls = _ARCHITECTURES[machine]
    numbers = sorted(calls.values())
    steps = [(_LOAD, 0, 0, _ARCHITECTURE), (_JUMP_IF_EQUAL, 0, len(numbers) + 1, architecture), (_LOAD, 0, 0, _NUMBER)]
    steps += [(_JUMP_IF_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _SUCCEED)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def suppressor() -> Callable[[], None]:
    """What a child calls before exec. Where the kernel does not want the filter, syncs stay: slower, nothing else."""
    program = filter_for(os.uname().machine)
    call = ctypes.CDLL(None).prctl
    argument = _Program(len(program) // 8, program)

    def suppress() -> None:
        if program:
            call(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(argument), 0, 0)

    return suppress
