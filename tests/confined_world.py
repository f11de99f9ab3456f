"""Run every node of the palette in a process that was confined (see confine.py): a program.

Arguments: a folder, a table to train on, and a file. Writes a line of JSON for each component: what went wrong, what
its node printed, and where it tried to write.
"""

import json
import sys
import traceback
from pathlib import Path

import elyra_nodes
from elyra_world import World
from forked_steps import Steps, forked_steps
from import_budget import ALLOWED

from loopline.components import STAGES


def run(steps: Steps, folder: Path, table: Path, told) -> None:
    """Run each component's node."""
    done = []

    def start(words: list[str], variables: dict[str, str]):
        done.append(steps.start(words, variables))
        return done[-1]

    elyra_nodes.start = start
    world = World(folder, table, {})
    for component in STAGES:
        done.clear()
        try:
            getattr(world, component)
            error = ""
        except Exception:
            error = traceback.format_exc()
        printed = "".join(step.stdout + step.stderr for step in done)
        written = sorted({path for step in done for path in step.writes})
        json.dump({"component": component, "error": error, "printed": printed, "written": written}, told)
        told.write("\n")
    world.close()
    left = sorted(str(path) for path in Path("/tmp").iterdir() if path not in folder.parents)
    json.dump({"component": "", "left": left}, told)


def main() -> None:
    """Run the world with what is on the command line."""
    modules = sorted({name for names in ALLOWED.values() for name in names.split()})
    with forked_steps(modules) as forked, open(sys.argv[3], "w", encoding="utf-8") as told:
        run(forked, Path(sys.argv[1]), Path(sys.argv[2]), told)


if __name__ == "__main__":
    main()
