"""Where a quantized training table lies: in memory, or as pages on disk when it does not fit.

The pages are files in a folder of the temporary directory. The folder is locked while its process lives, so that the
next training can tell what a killed one left behind and remove it.
"""

import fcntl
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from loopline.components.errors import InputError
from loopline.components.memory import MemoryLimit
from loopline.components.training.plan import Plan

logger = logging.getLogger("loopline")

#: Measured with XGBoost 3.1: bytes that a value is held with, by row and by column, in a table without gaps and in one
#: with some, where it keeps no smaller numbers by row.
_DENSE, _GAPPY = 2.6, 5.6
#: Bytes that a row takes beside its values (label, weight, node) and for each class (gradient, score), and what a
#: process takes without any row.
_ROW, _CLASS, _PROCESS = 28, 16, 600 * 2**20
_PREFIX, _LOCK = "loopline-pages-", "lock"


def quantized_bytes(plan: Plan, rows: int) -> int:
    """Estimate what the quantized values of some rows take.

    Args:
        plan: What is learned from which columns.
        rows: How many rows.

    Returns:
        Bytes, in memory as on disk.
    """
    columns = plan.features.columns
    return int(rows * len(columns) * (_GAPPY if any(column.nullable for column in columns) else _DENSE))


def fits(plan: Plan, held_out: int, limit: MemoryLimit) -> bool:
    """Say whether a training table fits into memory quantized, and log why it is trained on where it is.

    Args:
        plan: What is learned from which columns and how many rows.
        held_out: Validation rows.
        limit: The most memory to use.

    Returns:
        Whether it fits.
    """
    rows = plan.rows + held_out
    values = quantized_bytes(plan, rows)
    others = rows * (_ROW + _CLASS * (len(plan.classes) if plan.task == "multiclass" else 1)) + _PROCESS
    needed = f"{(values + others) / 2**30:.1f} GiB to hold {rows:,} rows quantized"
    if values + others <= limit.bytes:
        logger.info("training in memory: about %s, of %s", needed, limit)
        return True
    logger.info("training from pages on disk: about %s, more than %s", needed, limit)
    if others > limit.bytes:
        logger.warning(
            "even so about %.1f GiB of memory are needed: give the step more or train on fewer rows", others / 2**30
        )
    return False


class PageFolder:
    """A folder for pages.

    Args:
        path: The folder.
        needed: Bytes that all pages will take, about.
    """

    def __init__(self, path: Path, needed: int):
        self.path = path
        self.needed = needed

    def check_room(self, size: int) -> None:
        """Refuse to go on without room for so many bytes: XGBoost ends the process when it cannot write a page.

        Args:
            size: Bytes about to be written.

        Raises:
            InputError: The disk has less room.
        """
        free = shutil.disk_usage(self.path).free
        if free < size:
            raise InputError(
                f"The disk is full at {self.path.parent} ({free / 2**20:,.0f} MB free): the pages of what does not fit "
                f"into memory take {self.needed / 2**20:,.0f} MB there; make room, or name another folder with TMPDIR."
            )


def pages_if_needed(plan: Plan, held_out: int, limit: MemoryLimit) -> AbstractContextManager[PageFolder | None]:
    """Return where a training table lies quantized, for a ``with`` block: a folder for pages, None for memory.

    Args:
        plan: What is learned from which columns and how many rows.
        held_out: Validation rows.
        limit: The most memory to use.

    Raises:
        InputError: Memory is too small, and so is the disk.
    """
    return nullcontext() if fits(plan, held_out, limit) else page_folder(plan, held_out)


@contextmanager
def page_folder(plan: Plan, held_out: int) -> Iterator[PageFolder]:
    """Make a folder for pages, which is gone when the block ends, well or not.

    Args:
        plan: What is learned from which columns and how many rows.
        held_out: Validation rows.

    Yields:
        The folder.

    Raises:
        InputError: The disk has too little room for the pages.
    """
    parent = Path(tempfile.gettempdir())
    _remove_abandoned(parent)
    # Under another name until it is locked, so that nobody takes it for abandoned.
    path = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=parent))
    try:
        with open(path / _LOCK, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            path = path.rename(path.with_name(path.name.removeprefix(".")))
            folder = PageFolder(path, quantized_bytes(plan, plan.rows + held_out))
            folder.check_room(folder.needed)
            yield folder
    finally:
        shutil.rmtree(path, ignore_errors=True)
        # After a failure XGBoost removes its files later than this, and warns that they are gone.
        warnings.filterwarnings("ignore", ".*external memory cache file", UserWarning)


def _remove_abandoned(parent: Path) -> None:
    """Remove the pages of processes that were killed: nobody holds their lock."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError), open(folder / _LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
