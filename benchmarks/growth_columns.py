"""What each step of training costs as columns grow."""

from benchmarks.growth import MEASURES, ROUNDS, measure_steps
from benchmarks.result import Curve

ROWS = 5_000


def run(columns: tuple[int, ...] = (10, 100, 1000), rows: int = ROWS, repeats: int = 5) -> list[Curve]:
    """Measure every step at every width, each in a process of its own.

    Args:
        columns: The widths, the smallest first.
        rows: Of every table.
        repeats: Runs of each; tables of a thousand columns or more are measured once, because what a feature is worth
            is asked for each of them, on all of them.
    """
    lines, files = measure_steps([(rows, count, 1 if count >= 1000 else repeats) for count in columns], "columns")
    title = f"{rows:,} rows of so many columns and a target, from CSV; {ROUNDS} trees, evaluation with importance"
    return [Curve(title, "columns", MEASURES, lines), Curve("The files", "columns", ("MB",), files)]
