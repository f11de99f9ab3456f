"""How long to wait before something that failed is tried again."""


def backoff(limits: tuple[float, float], count: int) -> float:
    """Return how long to wait before the next try: twice as long each time.

    Args:
        limits: Seconds to wait the first time, and at most.
        count: How often it has failed, at least once.
    """
    first, most = limits
    return min(first * 2.0 ** min(count - 1, 30), most)
