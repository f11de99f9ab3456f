"""Call something in a process of its own that lacks what most processes have: room on the disk, rights, this day."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from loopline.components.errors import InputError

#: A user that nobody knows, who owns nothing.
ANYONE = 1_000_680_000
#: From ``linux/sched.h``.
_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000


def call_apart(
    call: Callable[[], object],
    file_bytes: int = 0,
    disk: tuple[Path, int] | None = None,
    anyone: bool = False,
    clock_s: float = 0.0,
) -> tuple[str, str]:
    """Call a function in a fork.

    Args:
        call: The function.
        file_bytes: The longest file that it may write; a longer one ends in EFBIG, as on a full disk. 0 for any.
        disk: A folder and the bytes of a file system that this process sees in its place, empty; the test is skipped
            where the machine allows none. None for no such thing.
        anyone: Be a user who owns nothing, without capabilities; the tests have to run as root.
        clock_s: By how much the clock of this process is wrong, seconds.

    Returns:
        ``returned`` and what it returned, ``refused`` or ``away`` and its sentence for users, or ``raised`` and a
        traceback.
    """
    if disk and subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine allows no mount namespaces")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            kind, said = _be_another(call, file_bytes, disk, anyone, clock_s)
            sys.stderr.flush()
            os.write(writing, f"{kind} {said}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as stream:
        kind, _, said = stream.read().partition(" ")
    os.waitpid(child, 0)
    return kind, said


def let_in(*places: Path) -> None:
    """Let every user read files and folders of a test, whose own folders pytest closes."""
    for place in places:
        for folder in place.absolute().parents:
            if folder.stat().st_uid == os.getuid() and folder.is_relative_to(tempfile.gettempdir()):
                folder.chmod(folder.stat().st_mode | 0o055)
        for file in (place, *place.rglob("*")):
            file.chmod(file.stat().st_mode | (0o055 if file.is_dir() else 0o044))


def _be_another(call, file_bytes: int, disk, anyone: bool, clock_s: float) -> tuple[str, str]:
    if file_bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    if disk:
        _mount(*disk)
    if anyone:
        os.setgroups([])
        os.setgid(ANYONE)
        os.setuid(ANYONE)
    if clock_s:
        right = time.time
        time.time = lambda: right() + clock_s
    try:
        return "returned", str(call())
    except InputError as error:
        return "away" if error.temporary else "refused", str(error)
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        return "raised", traceback.format_exc()


def _mount(folder: Path, size: int) -> None:
    """Mount a small file system that only this process and its children see."""
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if libc.unshare(_NEW_USER | _NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    if libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, f"size={size}".encode()):
        raise OSError(ctypes.get_errno(), "mount")
