"""The local engine: what a person sees while a run goes well, and when it does not."""

import builtins
import importlib
import io
import pkgutil
import re
from pathlib import Path

import pytest
from kfp import compiler, dsl

from loopline import components
from loopline.components.errors import InputError
from loopline.components.step import step
from loopline.pipelines.engine import run_pipeline
from loopline.pipelines.progress import PASSING, Progress, StepFailed, failure_of


@step
def say(text: str) -> str:
    """Say something.

    Args:
        text: What to say; "boom" fails, "refuse" is refused, "away" and "forbidden" are what a Git server may be.

    Returns:
        The text.
    """
    import logging

    from loopline.components.errors import InputError

    logging.getLogger("loopline").info("saying %s", text)
    logging.getLogger("other").info("noise")
    if text == "boom":
        raise RuntimeError("the roof fell in")
    if text == "refuse":
        raise InputError("Text 'refuse' cannot be said: say something else.")
    if text in ("away", "forbidden"):
        from loopline.components.delivery.git_failures import AwayError, GitError

        raise {"away": AwayError, "forbidden": GitError}[text](f"The repository is {text}: try again.")
    return text


@dsl.pipeline(name="speech")
def speech(text: str = "hello", count: int = 1):
    """Say something once.

    Args:
        text: What to say.
        count: Not used.
    """
    task = say(text=text)
    task.set_retry(num_retries=2, backoff_duration="0s")


@pytest.fixture
def speech_yaml(tmp_path):
    file = tmp_path / "speech.yaml"
    compiler.Compiler().compile(speech, str(file))
    return file


def test_progress_shows_steps_and_their_own_words(speech_yaml):
    seen = io.StringIO()
    run = run_pipeline(speech_yaml, {}, Progress(seen))
    lines = seen.getvalue().splitlines()
    assert "say ..." in lines[0]
    assert lines[1].strip() == "saying hello"
    assert "say done in" in lines[2]
    assert len(lines) == 3
    assert "noise" in (run.folder / "run.log").read_text()


def test_a_parameter_reaches_its_step_letter_by_letter(speech_yaml):
    text = 'lib/python3.11/my "data", gr\u00f6\u00dfer.csv'
    seen = io.StringIO()
    run_pipeline(speech_yaml, {"text": text}, Progress(seen))
    assert f"saying {text}\n" in seen.getvalue()


def test_a_failing_step_shows_its_own_traceback(speech_yaml):
    before = builtins.print
    with pytest.raises(StepFailed) as caught:
        run_pipeline(speech_yaml, {"text": "boom"})
    assert caught.value.step.startswith("say")
    assert caught.value.message == "RuntimeError: the roof fell in"
    assert 'raise RuntimeError("the roof fell in")' in caught.value.traceback
    assert "kfp/dsl/executor" not in caught.value.traceback
    assert builtins.print is before


def test_a_refusal_is_one_sentence_and_is_not_retried(speech_yaml):
    seen = io.StringIO()
    with pytest.raises(StepFailed) as caught:
        run_pipeline(speech_yaml, {"text": "refuse"}, Progress(seen))
    assert caught.value.refused
    assert caught.value.message == "Text 'refuse' cannot be said: say something else."
    assert caught.value.traceback == ""
    assert seen.getvalue().count("failed after") == 1


@pytest.mark.parametrize(("text", "tries"), [("away", 3), ("forbidden", 1)])
def test_what_a_service_does_is_one_sentence_and_retried_where_it_may_pass(speech_yaml, text, tries):
    seen = io.StringIO()
    with pytest.raises(StepFailed) as caught:
        run_pipeline(speech_yaml, {"text": text}, Progress(seen))
    assert (caught.value.message, caught.value.traceback) == (f"The repository is {text}: try again.", "")
    assert caught.value.refused == (tries == 1)
    assert seen.getvalue().count("failed after") == tries


def test_errors_that_may_pass_are_known_by_their_name():
    """The engine reads what a step printed: the class's name is all that it knows of an error."""
    for module in pkgutil.walk_packages(components.__path__, "loopline.components."):
        source = Path(module.module_finder.path, f"{module.name.rpartition('.')[2]}.py")
        if source.is_file() and re.search(r"(?m)^class \w+Error\(", source.read_text()):
            importlib.import_module(module.name)
    found, kinds = [InputError], set()
    while found:
        kind = found.pop()
        found += kind.__subclasses__()
        if kind.__module__.startswith("loopline.components."):
            kinds.add(kind)
    assert {kind.__name__ for kind in kinds if kind.temporary} == PASSING and len(kinds) > 8
    assert not {kind.__name__ for kind in kinds if not kind.temporary} & PASSING


def test_another_failure_is_retried(speech_yaml):
    seen = io.StringIO()
    with pytest.raises(StepFailed):
        run_pipeline(speech_yaml, {"text": "boom"}, Progress(seen))
    assert seen.getvalue().count("failed after") == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"txt": "x"}, "Pipeline speech has no parameter 'txt': did you mean 'text'?"),
        ({"count": "many"}, "Parameter 'count' is 'many' but must be an integer."),
        ({"count": "1.5"}, "Parameter 'count' is '1.5' but must be an integer."),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(speech_yaml, arguments, sentence, tmp_path):
    with pytest.raises(InputError) as caught:
        run_pipeline(speech_yaml, arguments)
    assert str(caught.value) == sentence
    assert not (tmp_path / "home").exists()


def test_a_killed_step_is_said_to_be_killed():
    failure = failure_of("train", ["some output\n"], -9)
    assert "-9" in failure.message
    assert "memory" in failure.message
