"""The exceptions a user is meant to read."""

import errno
import os
import re

from loopline.components.secrecy import hide

#: What the system says where there is no room, and where nobody may write or read; and of a disk that is gone.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_BROKEN = (errno.EIO, errno.ESTALE)


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence a person can act on: the problem, the offending value and what to do about it. The
    local runner and the command line show it without a traceback. No secret gets into it, even when a server's answer
    that it quotes holds one.

    Attributes:
        temporary: Whether the same may work in a moment.
    """

    temporary = False

    def __init__(self, message: str = ""):
        super().__init__(hide(str(message)))

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence, without a traceback."""
        return [f"{type(self).__name__}: {self}"]


class TemporaryError(InputError):
    """Something that is away for a moment, as far as anyone can tell: a server, the network."""

    temporary = True


class AbsentError(InputError):
    """There is nothing to read: no file, or no row in it; where more is to come, nothing yet."""


def explain(error: BaseException) -> InputError | None:
    """Return what a user is to read of an exception that a step ends with.

    Args:
        error: The exception.

    Returns:
        The exception itself where it is for users, one sentence where a disk or a folder is the reason; None for
        anything else.
    """
    if isinstance(error, InputError):
        return error
    if not isinstance(error, OSError):
        return None
    # Arrow's errors hold the whole story where others have the system's words.
    said = os.strerror(error.errno) if error.errno else ""
    quoted = re.search(r"'(/[^']+)'", str(error))
    place = error.filename or (quoted[1] if quoted else "")
    where = f" {place}" if place else ""
    if error.errno in _FULL:
        return InputError(
            f"The disk is full{' at' if where else ''}{where} ({said}): make room or give the step more storage."
        )
    if error.errno in _CLOSED:
        return InputError(
            f"{place or 'A file'} may not be used ({said}): check its permissions, and that outputs, LOOPLINE_HOME and "
            "TMPDIR are in folders that can be written."
        )
    if error.errno in _BROKEN:
        return TemporaryError(f"The disk failed{' at' if where else ''}{where} ({said}): run the step again.")
    if "No usable temporary directory" in str(error):
        return InputError("There is no folder for temporary files: name one that can be written with TMPDIR.")
    return None
