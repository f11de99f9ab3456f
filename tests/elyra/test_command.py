"""Components as programs, as a person or an engine starts them: help, values, metadata, refusals, exit codes."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from kfp.dsl.types import artifact_types
from pipeline_server import pipeline_server

from loopline.components import STAGES
from loopline.components.command import main
from loopline.components.data.tables import read_table
from loopline.components.metadata import EngineMetadata

SETS = '{"max_depth": [4, 8]}'


def program(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "loopline.components", *words], capture_output=True, text=True, cwd=cwd
    )


@pytest.fixture(autouse=True)
def log_level():
    """The program logs more than other tests expect."""
    yield
    logging.getLogger("loopline").setLevel(logging.NOTSET)


@pytest.fixture
def ingested(bundled, tmp_path):
    assert main(["ingest_data", "--uri", str(bundled["wine"]), "--data", str(tmp_path / "data")]) == 0
    return tmp_path / "data"


def test_help_lists_the_components():
    done = program("--help")
    assert done.returncode == 0
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert listed == list(STAGES)
    assert "split_data           Split a table into training, validation and test rows;" in done.stdout


def test_help_of_a_component_explains_each_option(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train_xgboost", "--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "usage: python -m loopline.components train_xgboost --train PATH --validation PATH --schema PATH" in text
    assert "--train PATH Rows to learn from. (Dataset; required)" in text
    assert "--rounds VALUE Most boosting rounds. (an integer; default: 300)" in text
    assert "--metrics PATH Scores on the validation rows, and rounds kept. (Metrics; required)" in text
    assert 'e.g. {"max_depth": 6, "learning_rate": 0.1}. (text; default: \'{}\')' in text


def test_what_it_returns_is_printed_or_written(tmp_path):
    printed = program("list_trials", "--parameter-sets", SETS)
    assert json.loads(printed.stdout) == ['{"max_depth": 4}', '{"max_depth": 8}']
    assert printed.stderr == ""
    file = tmp_path / "new" / "trials"
    written = program("list_trials", "--parameter-sets", SETS, "--returns", str(file))
    assert written.stdout == ""
    assert file.read_text() + "\n" == printed.stdout


def test_metadata_lie_beside_an_artifact_and_reach_the_next_step(ingested, tmp_path):
    beside = ingested.with_name("data.metadata.json")
    rows = json.loads(beside.read_text())["rows"]
    assert rows == read_table(ingested).num_rows == 178
    words = ["split_data", "--data", str(ingested), "--test-size", "0.5", "--validation-size=0"]
    outputs = [word for name in ("train", "validation", "test") for word in (f"--{name}", str(tmp_path / name))]
    assert main([*words, *outputs]) == 0
    assert json.loads((tmp_path / "validation.metadata.json").read_text())["rows"] == 0


def test_metadata_of_an_earlier_run_do_not_stay(bundled, tmp_path):
    """HTML has none: what an artifact of before said there is not left for the next step."""
    stale = tmp_path / "page.html.metadata.json"
    stale.write_text('{"version": 7}')
    data = str(bundled["wine"])
    places = {"valid": "v", "quarantined": "q", "schema-out": "s", "report": "page.html"}
    outputs = [word for name, file in places.items() for word in (f"--{name}", str(tmp_path / file))]
    assert main(["validate_data", "--data", data, "--target", "target", *outputs]) == 0
    assert not stale.exists()


def test_metadata_that_are_none_are_refused(ingested, capsys):
    ingested.with_name("data.metadata.json").write_text("[1]")
    assert main(["split_data", "--data", str(ingested), "--train=a", "--validation=b", "--test=c"]) == 2
    assert "data.metadata.json is no JSON object of metadata" in capsys.readouterr().err


def test_the_engine_gets_the_metadata_where_it_wants_them(bundled, tmp_path, monkeypatch):
    """Names and addresses stay the engine's own; it mounts its bucket where the path lies."""
    monkeypatch.setattr(artifact_types, "_S3_LOCAL_MOUNT_PREFIX", f"{tmp_path}/")
    told = {
        "inputs": {"parameterValues": {"uri": "of no matter"}},
        "outputs": {
            "artifacts": {"data": {"artifacts": [{"name": "data-7", "uri": "s3://bucket/run/data", "metadata": {}}]}},
            "outputFile": str(tmp_path / "outputs.json"),
        },
    }
    place = tmp_path / "bucket" / "run" / "data"
    words = ["--uri", str(bundled["wine"]), "--data", str(place), "--executor-input", json.dumps(told)]
    assert main(["ingest_data", *words]) == 0
    assert [file.name for file in place.parent.iterdir()] == ["data"]
    [(name, entry)] = json.loads((tmp_path / "outputs.json").read_text())["artifacts"].items()
    [artifact] = entry["artifacts"]
    assert (name, artifact["name"], artifact["uri"]) == ("data", "data-7", "s3://bucket/run/data")
    assert artifact["metadata"]["rows"] == 178


def test_the_function_gets_the_addresses_of_the_engine(tmp_path, monkeypatch):
    """Whoever lets other machines read an artifact needs to know where it is for them."""
    monkeypatch.setattr(artifact_types, "_S3_LOCAL_MOUNT_PREFIX", f"{tmp_path}/")
    entry = {"artifacts": [{"name": "model-7", "uri": "s3://bucket/run/model", "metadata": {"digest": "d"}}]}
    told = {"inputs": {"artifacts": {"model": entry}}, "outputs": {"artifacts": {}, "outputFile": str(tmp_path / "o")}}
    known = EngineMetadata(json.dumps(told))
    place = tmp_path / "bucket" / "run" / "model"
    assert (known.address(place), known.read(place)) == ("s3://bucket/run/model", {"digest": "d"})
    assert known.address(tmp_path / "other") == str(tmp_path / "other")


def test_values_may_be_empty_and_begin_with_a_dash(tmp_path):
    file, data = tmp_path / "odd.csv", tmp_path / "data"
    file.write_text("a,--b\n1,2\n3,4\n")
    words = ["ingest_data", "--uri", str(file), "--columns", "--b", "--csv", "", "--data", str(data)]
    assert main(words) == 0
    assert read_table(data).to_pydict() == {"--b": [2, 4]}


def test_a_placeholder_that_no_engine_filled_in_counts_as_empty():
    """Else each run would be one and the same event, which starts a pipeline once."""
    done = program("trigger_pipeline", "--event", "{{$.pipeline_job_uuid}}")
    assert done.returncode == 0
    assert "--event is {{$.pipeline_job_uuid}}, which the engine did not fill in: it counts as empty" in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["fit"], "There is no component 'fit': `python -m loopline.components --help` lists them."),
        (["split-data"], "There is no component 'split-data': did you mean 'split_data'?"),
        (["list_trials"], "the following arguments are required: --parameter-sets"),
        (["list_trials", "--parameter-sets", SETS, "--seed", "1"], "unrecognized arguments: --seed=1"),
        (["list_trials", "--parameter-sets"], "expected one argument"),
        (["list_trials", "--parameter-sets", "["], "The parameter sets '[' are not JSON"),
        (["list_partitions", "--uri", ".", "--most", "few"], "--most is 'few' and must be an integer."),
        (["list_partitions", "--uri", ".", "--most", "1.5"], "--most is '1.5' and must be an integer."),
        (["list_partitions", "--uri", "nowhere/*.csv"], "nowhere/*.csv"),
        (["split_data", "--data=x", "--train=a", "--validation=b", "--test=c"], "--data 'x' does not exist: give"),
        (["list_trials", "--parameter-sets", SETS, "--executor-input", "{}"], "is not the executor input"),
        (["list_trials", "--parameter-sets", SETS, "--secrets", "mine"], "There is no secret 'mine': name one of"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_one_sentence(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("loopline: ") and sentence in said[0]
    assert list(tmp_path.iterdir()) == []


def test_json_may_have_single_quotes(capsys):
    """Elyra's dialog takes no double ones."""
    assert main(["list_trials", "--parameter-sets", "{'max_depth': [4], 'grow_policy': ['lossguide']}"]) == 0
    assert json.loads(capsys.readouterr().out) == ['{"grow_policy": "lossguide", "max_depth": 4}']
    assert main(["list_trials", "--parameter-sets", "{'max_depth\": [4]}"]) == 2
    assert "are not JSON" in capsys.readouterr().err


def test_a_boolean_is_true_or_false(bundled, tmp_path, capsys):
    parts = [f"--{name}={bundled['wine']}" for name in ("train", "validation", "schema")]
    words = ["train_sklearn", *parts, f"--model={tmp_path}/m", f"--metrics={tmp_path}/s"]
    assert main([*words, "--allow-pickle", "yes"]) == 2
    assert "--allow-pickle is 'yes' and must be true or false." in capsys.readouterr().err


def test_what_is_away_for_now_is_another_status(tmp_path, monkeypatch, capsys):
    """An engine may try again; nothing that was given is wrong."""
    with pipeline_server(tmp_path) as (_, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
    assert main(["trigger_pipeline", "--pipeline", "training"]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_a_step_that_fails_ends_with_one_and_its_traceback(tmp_path):
    """Where the output should go is a folder: nobody's input, and no sentence of ours."""
    (tmp_path / "in.csv").write_text("a\n1\n")
    done = program("ingest_data", "--uri", "in.csv", "--data", "/proc/nothing/data", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
