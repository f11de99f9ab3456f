"""The exceptions a user is meant to read."""

import errno
import os
import re

from loopline.components.secrecy import hide

#: What the system says where there is no room, and where nobody may write or read; and of a disk that is gone.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_BROKEN = (errno.EIO, errno.ESTALE)
#: Characters of a message that are shown from its beginning, and from its end where it says what to do.
_HEAD, _TAIL = 3000, 500


def plain(text: str) -> str:
    """Return a text as one printable line.

    What a message quotes may be a stranger's. A line break in it would begin a line of the log that nobody wrote, and a
    terminal would obey what begins with an escape character.

    Args:
        text: Any text.

    Returns:
        The text, what cannot be printed as Python writes it, such as ``\\n``; cut in the middle where it is endless.
    """
    if len(text) > _HEAD + _TAIL:
        text = f"{text[:_HEAD]} ... {text[-_TAIL:]}"
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence a person can act on: the problem, the offending value and what to do about it. The
    local runner and the command line show it without a traceback, in one line whatever it quotes. No secret gets into
    it, even when a server's answer that it quotes holds one.

    Attributes:
        temporary: Whether the same may work in a moment.
    """

    temporary = False

    def __init__(self, message: object = ""):
        super().__init__(plain(hide(str(message))))

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
    # That of a folder that is copied holds those of its files as text.
    number = error.errno or errno_in(str(error))
    # Arrow's errors hold the whole story where others have the system's words.
    said = os.strerror(number) if number else ""
    quoted = re.search(r"'(/[^']+)'", str(error))
    place = error.filename or (quoted[1] if quoted else "")
    where = f" {place}" if place else ""
    if number in _FULL:
        return InputError(
            f"The disk is full{' at' if where else ''}{where} ({said}): make room or give the step more storage."
        )
    if number in _CLOSED:
        return InputError(
            f"{place or 'A file'} may not be used ({said}): check its permissions, and that outputs, LOOPLINE_HOME and "
            "TMPDIR are in folders that can be written."
        )
    if number in _BROKEN:
        return TemporaryError(f"The disk failed{' at' if where else ''}{where} ({said}): run the step again.")
    if "No usable temporary directory" in str(error):
        return InputError("There is no folder for temporary files: name one that can be written with TMPDIR.")
    return None


def is_full(error: BaseException) -> bool:
    """Return whether an exception says that a disk has no more room, or a file may not grow."""
    return isinstance(error, OSError) and error.errno in _FULL


def errno_in(text: str) -> int:
    """Return the system's number of an error that a text quotes as Python writes it; 0 when there is none."""
    found = re.search(r"\[Errno (\d+)\]", text)
    return int(found[1]) if found else 0
