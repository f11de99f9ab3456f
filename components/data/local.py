"""Find the files behind a local path: a file, a folder or a glob, none of them a way into what is no data."""

import glob
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from loopline.components.errors import AbsentError, InputError

#: Files of a folder or glob that are looked at. Whoever names / by mistake would wait for the whole disk.
MOST_FILES = 1_000_000
#: What the kernel says of this process, its environment among it, and what Kubernetes mounts for it to log in with.
_PRIVATE = tuple(map(Path, ("/proc", "/sys", "/run/secrets", "/var/run/secrets")))


def find_files(path: str) -> list[Path]:
    """Find the files behind a local path.

    Args:
        path: A file, a folder, of which all files below count, or a glob.

    Returns:
        At least one file, sorted.

    Raises:
        InputError: There is none, there are too many, one of them leads out of its folder, or is none of data.
    """
    place = Path(path)
    try:
        if place.is_file():
            return [_checked(place)]
        if place.is_dir():
            found = _inside(_walk(place), place)
        elif glob.has_magic(path):
            matches = glob.iglob(path, recursive=True)  # noqa: PTH207 - Path cannot glob from a root
            found = _inside(map(Path, matches), _root(place))
        else:
            raise AbsentError(f"There is no file at {path}: check the path and where the step runs.")
        files = list(itertools.islice(found, MOST_FILES + 1))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path!r} cannot be read ({getattr(error, 'strerror', '') or error}): check the path."
        ) from None
    if len(files) > MOST_FILES:
        raise InputError(f"There are more than {MOST_FILES:,} files at {path}: name a folder of data.")
    if not files:
        raise AbsentError(f"No file matches {path}: check the pattern and where the step runs.")
    return sorted(files)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, without following links to folders; hidden ones and markers are left out."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(("_", "."))]
        yield from (Path(parent, name) for name in names if not name.startswith(("_", ".")))


def _root(pattern: Path) -> Path:
    """Return the folder that a glob is looked for in: all before its first part with a wildcard."""
    parts = itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts)
    return Path(*parts)


def _inside(files: Iterable[Path], folder: Path) -> Iterator[Path]:
    """Yield what are files, each of which has to lie in the folder, whatever it is a link to."""
    root = folder.resolve()
    for number, file in enumerate(files):
        if number > 4 * MOST_FILES:
            raise InputError(f"There is no end of files in {folder}: name a folder of data.")
        if not file.is_file():
            continue
        if not file.resolve().is_relative_to(root):
            raise InputError(
                f"{file} is a link to {file.resolve()}, out of the folder {folder}: name that file itself, or copy it."
            )
        yield _checked(file)


def _checked(file: Path) -> Path:
    real = file.resolve()
    if any(real.is_relative_to(place) for place in _PRIVATE):
        raise InputError(f"{file} belongs to the system and is no table: name a file of data.")
    return file
