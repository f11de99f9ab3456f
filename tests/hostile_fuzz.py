"""Fuzz what parses documents by coverage, with atheris: ``python hostile_fuzz.py TARGET SAMPLES SECONDS``.

Hypothesis damages whole documents without looking at the code; atheris looks which bytes lead to code that was not met
yet. It fits where Loopline's own code decides by the bytes: not where they go to Arrow, ONNX or a server at once.
"""

import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

#: By name, the module whose ``targets`` has it; each takes bytes or text.
TARGETS = {
    "schema.json document": "hostile_parsers",
    "profile document": "hostile_parsers",
    "plan.json document": "hostile_parsers",
    "decision.json document": "hostile_parsers",
    "verified model": "hostile_parsers",
    "release.env": "hostile_parsers",
    "site.env": "hostile_parsers",
    "metrics of a server": "hostile_parsers",
    "files of parameters": "hostile_parsers",
    "index of an image": "hostile_peers",
    "manifest of an image": "hostile_peers",
}
#: What shows that a traceback would be seen.
BROKEN = "a parser that breaks"
_SEEDS = 20
#: Seconds and MB that one input may take.
_LIMITS = ("-timeout=20", "-rss_limit_mb=4000")


def main(name: str, samples: str, seconds: str) -> None:
    """Fuzz one target; the process ends with a status other than 0 where one input ends in a traceback."""
    import atheris  # here, since the tests read the names of the targets in a process that is not to be instrumented

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(include=["loopline"]):
        from hostile_runs import Target, check_sentence
        from hypothesis import strategies as st

        if name == BROKEN:
            target = Target(st.just(b"{}"), lambda data: data[:1] != b"{" or 1 / (len(data) - 3))
        else:
            module = __import__(TARGETS[name])
            target = module.targets(Path(samples))[name]
    from loopline.components.errors import InputError

    folder = tempfile.mkdtemp(prefix="hostile-", dir=os.environ.get("TMPDIR"))
    seeds = Path(folder, "seeds")
    seeds.mkdir()
    drawn = [target.inputs.example() for _ in range(_SEEDS)]
    for number, one in enumerate(drawn):
        (seeds / str(number)).write_bytes(one if isinstance(one, bytes) else one.encode("utf-8", "replace"))
    is_text = isinstance(drawn[0], str)
    os.chdir(folder)
    os.environ["LOOPLINE_HOME"] = f"{folder}/home"

    def feed(data: bytes) -> None:
        try:
            target.call(data.decode("utf-8", "replace") if is_text else data)
        except InputError as error:
            check_sentence(str(error))

    atheris.Setup([sys.argv[0], *_LIMITS, f"-max_total_time={seconds}", str(seeds)], feed)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
