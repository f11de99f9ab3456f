"""Hostile parameters and files through the door of each component: ``python -m loopline.components NAME ...``."""

import functools
import json
import os
import shutil
import sys
from pathlib import Path

from hostile_inputs import PIECES, TEXTS, words
from hostile_runs import SentenceError, Target
from hostile_samples import FACTS, FILES, WINDOW
from hypothesis import strategies as st

from loopline.components import STAGES
from loopline.components.command import main
from loopline.components.errors import InputError
from loopline.components.interface import Interface, Port, describe

#: Those that start something that takes seconds, whatever they are given: they get fewer inputs.
SLOW = {"test_model_image": 5, "probe_capacity": 10, "train_distributed": 10, "check_site": 10, "trigger_pipeline": 15}
#: Artifacts by the name of the port where that is not the name of their file.
_ALIKE = {"data": "train", "history": "train", "recent": "traffic", "profiles": "profile", "summaries": "summary",
"models": "model",
    "challenger": "model", "champion": "model"}  # fmt: skip
#: Ends within the test's patience, where the default would not.
_QUICK = {
    "rounds": 2, "trials": 2, "bootstrap": 50, "importance_repeats": 0, "deadline_s": 0.2, "budget_s": 1.0,
    "seconds": 0.2, "workers": 1, "most_rate": 5.0,
    "engine": "scipy", "name": "flights", "target": "late", "sites": "edge", "p99_ms": 250.0,
}  # fmt: skip


def targets(samples: Path) -> dict[str, Target]:
    """One target a component: up to three of its parameters and files are hostile, the others right."""
    return {
        name: Target(_calls(name, samples), functools.partial(_knock, name, samples), SLOW.get(name, 25))
        for name in STAGES
    }


def _calls(name: str, samples: Path) -> st.SearchStrategy[dict[str, object]]:
    interface = describe(name)
    ports = interface.inputs
    hostile = [st.tuples(st.just(port.name), _damage() if port.artifact else _values(port)) for port in ports]
    return st.lists(st.one_of(hostile), min_size=1, max_size=3).map(dict)


def _values(port: Port) -> st.SearchStrategy[str]:
    if port.type in ("Integer", "Float"):
        return st.sampled_from([text for text in TEXTS if len(text) < 60 and _is_word(text)]) | st.integers(-3, 3).map(
            str
        )
    return words()


def _is_word(text: str) -> bool:
    return "\0" not in text and text.encode("utf-8", "replace").decode() == text


def _damage() -> st.SearchStrategy[tuple]:
    """What is done to the copy of an artifact: nothing of it is left, or a piece of one of its files is another one."""
    kinds = st.sampled_from(("empty", "folder", "missing", "link", "other", "cut", "piece", "piece", "piece"))
    return st.tuples(kinds, st.integers(0, 50), st.floats(0, 1), st.sampled_from(PIECES))


def _knock(name: str, samples: Path, hostile: dict[str, object]) -> None:
    """Run a component; raises what it says where it refuses."""
    interface, facts = describe(name), json.loads((samples / FACTS).read_text())
    _begin(samples, facts)
    options = [name]
    for port in interface.inputs:
        value = hostile.get(port.name)
        if port.artifact:
            if port.required or value:
                options += [port.option, str(_copy(samples, port, value))]
        elif (value := _right(interface, port, facts) if value is None else value) is not None:
            options += [port.option, str(value)]
    for port in interface.outputs:
        options += [port.option, f"out/{port.name}"]
    _say(options)


def _begin(samples: Path, facts: dict) -> None:
    for place in ("in", "out", "home"):
        shutil.rmtree(place, ignore_errors=True)
    for place in ("in", "out", "home"):
        Path(place).mkdir()
    for file in ("mlflow.db",):
        shutil.copy(samples / "home" / file, Path("home") / file)
    os.environ["COSIGN_PRIVATE_KEY"] = facts["key"]


def _right(interface: Interface, port: Port, facts: dict) -> object:
    """Return a value that is right, or None for the default."""
    name = port.name
    if (name == "uri" and "window_start" in [other.name for other in interface.outputs]) or (
        interface.name == "summarize_traffic" and name == "uri"
    ):
        return facts["log"]
    if (interface.name == "decide_retraining" and name == "trigger") or (
        interface.name == "compare_models" and name == "engine"
    ):
        return None
    if name in facts:
        return f"oci:{Path('out/images').absolute()}" if interface.name == "build_model_image" else facts[name]
    if name in WINDOW:
        return WINDOW[name]
    return _QUICK.get(name)


def _copy(samples: Path, port: Port, damage: tuple | None) -> Path:
    """Return an artifact, damaged where that is wanted; right ones are not copied."""
    source = samples / FILES[_ALIKE.get(port.name, port.name)]
    if damage is None:
        return source
    kind, which, where, piece = damage
    place = Path("in") / port.name
    if kind == "empty":
        place.write_bytes(b"")
    elif kind == "folder":
        place.mkdir()
    elif kind == "link":
        place.symlink_to("/dev/null")
    elif kind == "other":
        files = [file for file in sorted(samples.iterdir()) if file.is_file()]
        shutil.copy(files[which % len(files)], place)
    elif kind != "missing":
        (shutil.copytree if source.is_dir() else shutil.copy)(source, place)
        files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
        _damage_file(files[which % len(files)], kind, where, piece)
    return place


def _damage_file(file: Path, kind: str, where: float, piece: bytes) -> None:
    data = file.read_bytes()
    at = int(where * len(data))
    file.write_bytes(data[:at] if kind == "cut" else data[:at] + piece + data[at + len(piece) :])


def _say(options: list[str]) -> None:
    """Run a command line in this process, and check all that it prints."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with open("said.txt", "w+b") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        try:
            status = main(options)
        except SystemExit as end:
            status = end.code
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in enumerate(kept, 1):
                os.dup2(copy, number)
                os.close(copy)
        said.seek(0)
        text = said.read().decode()
    if forged := [line for line in text.splitlines() if "\x1b" in line or line.startswith("loopline: all is well")]:
        raise SentenceError(f"what was given is obeyed by a terminal, or forges a line of the log: {forged}")
    if status:
        last = text.strip("\n").split("\n")[-1]
        if status not in (1, 2) or not last.startswith("loopline: "):
            raise SentenceError(f"ended with {status!r} and said {text[-500:]!r}")
        raise InputError(last.removeprefix("loopline: "))
