"""Where files are kept: a folder, or a bucket of S3 with a prefix."""

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from loopline.components.errors import InputError

#: Bytes of a file's or folder's name on the file systems of Linux.
_LONGEST = 255


class Bucket(NamedTuple):
    """A place in S3.

    Attributes:
        name: The bucket.
        prefix: What every key begins with, without slashes at its ends; may be empty.
    """

    name: str
    prefix: str


def read_place(uri: str, what: str, verb: str = "go to") -> Bucket | Path:
    """Read where files are kept; nothing is looked up or made.

    Args:
        uri: A folder, as a path or ``file://``, or ``s3://bucket/prefix``.
        what: What is kept there, for the message, such as ``The traffic log``.
        verb: What it cannot do elsewhere, for the message.

    Returns:
        The bucket, or the folder's absolute path.

    Raises:
        InputError: It is neither.
    """
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise InputError(f"{what} {uri!r} cannot be read: name a folder or s3://bucket/prefix.") from None
    if parts.scheme == "s3":
        if not parts.netloc:
            raise InputError(f"{what} {uri!r} names no bucket: write s3://bucket/prefix.")
        return Bucket(parts.netloc, parts.path.strip("/"))
    if parts.scheme not in ("", "file"):
        raise InputError(f"{what} cannot {verb} {parts.scheme}://: name a folder or s3://bucket/prefix.")
    return local_path(parts.path if parts.scheme else uri, what)


def local_path(text: str, what: str) -> Path:
    """Return an absolute path; ``~`` is the home of this user, ``~name`` that of another one.

    Args:
        text: The path.
        what: What is there, for the message.

    Raises:
        InputError: No file can be called so, or there is no such user.
    """
    try:
        if b"\0" in os.fsencode(text):
            raise ValueError("a NUL in it")
        if any(len(os.fsencode(part)) > _LONGEST for part in text.split("/")):
            raise ValueError(f"a part of it is longer than {_LONGEST} bytes")
        return Path(text).expanduser().absolute()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{what} {text!r} cannot be a path ({error}): name another one.") from None
