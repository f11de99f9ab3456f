"""The statistical tests behind one switch: alibi-detect, or the same tests from scipy and scikit-learn."""

from loopline.components.errors import InputError
from loopline.components.monitoring.engines.engine import ColumnTest, DomainTest, Engine, PairTest

ENGINES = ("alibi", "scipy")

__all__ = ["ENGINES", "ColumnTest", "DomainTest", "Engine", "PairTest", "open_engine"]


def open_engine(name: str) -> Engine:
    """Open the library that computes the tests.

    Args:
        name: ``alibi`` (alibi-detect; its import takes seconds and 300 MB) or ``scipy`` (scipy and scikit-learn).

    Raises:
        InputError: For another name, or when alibi-detect is not installed.
    """
    if name == "scipy":
        from loopline.components.monitoring.engines.scipy import ScipyEngine

        return ScipyEngine()
    if name == "alibi":
        from loopline.components.monitoring.engines.alibi import AlibiEngine

        return AlibiEngine()
    raise InputError(f"there is no drift engine {name!r}: choose from {', '.join(ENGINES)}")
