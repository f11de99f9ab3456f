"""A run that a cell starts: its steps below the cell, its artifacts for the cells after, what went wrong in a word."""

import nbformat
import pytest
from kfp import compiler, dsl
from kfp.dsl import HTML, Metrics, Output
from nbclient import NotebookClient

from loopline.components.errors import InputError
from loopline.components.step import step
from loopline.pipelines import run_pipeline


@step
def count_words(text: str, metrics: Output[Metrics], report: Output[HTML]) -> int:
    """Count words.

    Args:
        text: What to count; "refuse" is refused, "boom" fails.
        metrics: How many there are.
        report: The same as a page.

    Returns:
        The same.
    """
    import logging
    from pathlib import Path

    from loopline.components.errors import InputError

    logging.getLogger("loopline").info("counting <%s>", text)
    if text == "refuse":
        raise InputError("Text 'refuse' cannot be counted: count something else.")
    if text == "boom":
        raise RuntimeError("the roof fell in")
    metrics.log_metric("words", len(text.split()))
    Path(report.path).write_text(f"<title>{len(text.split())} words</title>")
    return len(text.split())


@dsl.pipeline(name="counting")
def counting(text: str = "one two three") -> int:
    """Count words, twice.

    Args:
        text: What to count.
    """
    first = count_words(text=text)
    return count_words(text=text).after(first).outputs["Output"]


@pytest.fixture
def yaml(tmp_path):
    file = tmp_path / "counting.yaml"
    compiler.Compiler().compile(counting, str(file))
    return file


@pytest.fixture
def shown(tmp_path, yaml):
    """Return what cells show, run one after the other."""

    def run(*cells: str) -> list[list]:
        sources = ["from loopline.pipelines import run_pipeline", *cells]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, timeout=120, allow_errors=True, resources=resources).execute()
        return [cell.outputs for cell in notebook.cells[1:]]

    return run


def test_every_artifact_of_every_step_is_at_hand(yaml):
    run = run_pipeline(yaml, {"text": "to be or not"})
    assert run.outputs == {"Output": 4}
    for name in ("count-words", "count-words-2"):
        metrics = run.artifact(name, "metrics")
        assert (metrics.schema_title, metrics.metadata) == ("system.Metrics", {"words": 4})
        assert "4 words" in run.report(name).path.read_text()
        assert run.artifact(name, "report").path.startswith(str(run.folder))


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda run: run.artifact("count-word", "metrics"), "no step 'count-word': did you mean 'count-words'?"),
        (lambda run: run.artifact("train", "metrics"), "no step 'train': choose from count-words, count-words-2."),
        (lambda run: run.artifact("count-words", "Output"), "wrote no 'Output': choose from"),
        (lambda run: run.report("count-words-3"), "no report of 'count-words-3': did you mean 'count-words-2'?"),
    ],
)
def test_what_a_run_does_not_have_is_said(yaml, ask, sentence):
    run = run_pipeline(yaml, {})
    with pytest.raises(InputError) as caught:
        ask(run)
    assert sentence in str(caught.value)


def test_a_cell_shows_the_steps_in_one_table(shown, yaml):
    steps, run = shown(f"run = run_pipeline({str(yaml)!r}, {{}})", "run")
    assert [output.output_type for output in steps] == ["display_data"]
    table = steps[0].data["text/html"]
    assert table.count(">done<") == 2
    assert ">running<" not in table
    assert "counting &lt;one two three&gt;" in table
    assert "counting-" in run[0].data["text/html"]
    assert "Report of count-words-2" in run[0].data["text/html"]


def test_a_refusal_is_one_sentence_and_no_traceback(shown, yaml):
    wrong, refused = shown(
        f"run_pipeline({str(yaml)!r}, {{'txt': 'x'}})", f"run_pipeline({str(yaml)!r}, {{'text': 'refuse'}})"
    )
    sentence = "InputError: Pipeline counting has no parameter 'txt': did you mean 'text'?"
    assert [output.traceback for output in wrong] == [[sentence]]
    table, error = refused
    assert ">failed<" in table.data["text/html"]
    assert error.traceback == ["StepFailed: count-words: Text 'refuse' cannot be counted: count something else."]


def test_a_failing_step_shows_its_own_traceback_alone(shown, yaml):
    (_, error), = shown(f"run_pipeline({str(yaml)!r}, {{'text': 'boom'}})")  # fmt: skip
    text = "\n".join(error.traceback)
    assert 'raise RuntimeError("the roof fell in")' in text
    assert "engine.py" not in text and "kfp" not in text
    assert error.traceback[-1].startswith("StepFailed: count-words")
    assert error.traceback[-1].endswith(": RuntimeError: the roof fell in")
