"""Become what a step is on the strictest cluster, then run a command: a program.

    python confine.py FOLDER COMMAND...

The command runs as a random user of group 0 without an entry in /etc/passwd, without HOME and without capabilities,
which it cannot get back. Nothing can be written but /tmp, which is empty but for FOLDER, the step's own; not even
/dev/shm.

As root this takes the right to mount, and elsewhere user namespaces. Where the machine allows neither, as in many
containers, the command is the random user alone, who may write nowhere because of the files' owners: CONFINED in its
environment says which it is, ``mounts`` or ``user``. Everything here is from capabilities(7), mount_setattr(2) and
user_namespaces(7); it is what the runtimes of containers do.
"""

import ctypes
import os
import sys
from pathlib import Path

UID, GID = 1_000_680_000, 0
#: Of linux/sched.h, linux/mount.h, linux/prctl.h and linux/capability.h.
_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_NOSUID, _NODEV, _BIND, _RECURSIVE, _PRIVATE = 2, 4, 4096, 16384, 1 << 18
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _READ_ONLY = 442, -100, 0x8000, 1
_DROP_CAPABILITY, _NO_NEW_PRIVILEGES = 24, 38
_CAPABILITY_VERSION, _CAPABILITIES = 0x20080522, 64

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace")]


def main() -> None:
    """Confine this process and become the command."""
    folder, *command = sys.argv[1:]
    level = "mounts" if _enter_namespaces() else "user"
    if level == "mounts":
        _close_mounts(Path(folder))
    elif os.getuid() != 0:
        raise SystemExit("this machine lets nobody but root be another user, nor make namespaces")
    _drop_privileges()
    os.chdir("/tmp")
    for name in ("HOME", "USER", "LOGNAME"):
        os.environ.pop(name, None)
    os.environ |= {"CONFINED": level, "TMPDIR": "/tmp"}
    os.execvp(command[0], command)


def _enter_namespaces() -> bool:
    """Get mounts of this process's own; False where the machine does not allow it."""
    user, group = os.getuid(), os.getgid()
    if _libc.unshare(_NEW_MOUNTS if user == 0 else _NEW_MOUNTS | _NEW_USER):
        return False
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{UID} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{GID} {group} 1")
    return True


def _close_mounts(folder: Path) -> None:
    """Let nothing be written but /tmp and the folder."""
    _mount("none", "/", "", _RECURSIVE | _PRIVATE)
    kept = os.open(folder, os.O_PATH)
    _expose([Path(part) for part in (sys.base_prefix, sys.prefix, Path(__file__).parents[1])])
    _mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV, "mode=1777")
    folder.mkdir(parents=True, exist_ok=True)
    _mount(f"/proc/self/fd/{kept}", str(folder), "", _BIND | _RECURSIVE)
    os.close(kept)
    _set_read_only("/", _READ_ONLY, 0, _AT_RECURSIVE)
    for writable in ("/tmp", str(folder)):
        _set_read_only(writable, 0, _READ_ONLY, 0)


def _expose(needed: list[Path]) -> None:
    """Put what Python needs where the user finds it, when it is in a folder of root's alone."""
    closed = {path: next((p for p in reversed(path.parents) if not p.stat().st_mode & 1), None) for path in needed}
    for parent in {parent for parent in closed.values() if parent}:
        inside = {path: os.open(path, os.O_PATH) for path, found in closed.items() if found == parent}
        _mount("tmpfs", str(parent), "tmpfs", _NOSUID | _NODEV, "mode=755")
        for path, descriptor in inside.items():
            path.mkdir(parents=True, exist_ok=True)
            _mount(f"/proc/self/fd/{descriptor}", str(path), "", _BIND | _RECURSIVE)
            os.close(descriptor)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _check(_libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()), f"mount {target}")


def _set_read_only(target: str, to_set: int, to_clear: int, flags: int) -> None:
    wanted = _Attributes(to_set, to_clear, 0, 0)
    done = _libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, target.encode(), flags, ctypes.byref(wanted), ctypes.sizeof(wanted))
    _check(done, f"mount_setattr {target}")


def _drop_privileges() -> None:
    for capability in range(_CAPABILITIES):
        _libc.prctl(_DROP_CAPABILITY, capability, 0, 0, 0)  # the kernel knows fewer
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(GID, GID, GID)
        os.setresuid(UID, UID, UID)
    header, nothing = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    _check(_libc.capset(header, nothing), "capset")
    _check(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")


def _check(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
