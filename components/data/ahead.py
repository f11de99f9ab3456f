"""Do work on threads and hand the results out in order, no further ahead than the threads are busy."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item], workers: int, name: str) -> Iterator[Result]:
    """Call a function for each item, on threads.

    Args:
        function: What to call; it should let go of Python's lock most of the time.
        items: They are drawn one by one in the caller's thread, at most ``workers`` ahead of what was handed out.
        workers: How many threads.
        name: What to call them.

    Yields:
        The results, in the order of the items. What the function raises is raised here.
    """
    with ThreadPoolExecutor(workers, name) as pool:
        waiting: deque[Future] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
