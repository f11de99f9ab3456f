"""Pipelines submitted: what is uploaded when, what is refused before, and what a faulty server does to it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pipeline_server import TOKEN, Fault

from loopline.components.errors import InputError
from loopline.pipelines.compile import compile_pipeline
from loopline.pipelines.launching import connection, submit
from loopline.pipelines.launching.package import Package
from loopline.pipelines.spec import compiled_folder
from loopline.pipelines.versions import version_content, version_name

COMPILED = (compiled_folder() / "training.yaml").read_text()
PARAMETERS = {"uri": "s3://bucket/flights/*.parquet", "target": "late", "name": "flights"}
WORDS = [word for name, value in PARAMETERS.items() for word in (f"--{name}", value)]
IMAGE = "registry.example.com/ml/loopline-step@sha256:" + "e" * 64


def test_a_version_is_uploaded_when_its_content_is_new(server, tmp_path):
    first, second = submit("training", PARAMETERS), submit("training", PARAMETERS | {"rounds": "5"})
    assert server.posted("/upload_version") == 1
    assert [len(held) for held in (server.pipelines, server.versions, server.experiments, server.runs)] == [1, 1, 1, 2]
    assert (
        server.versions[0]["display_name"]
        == version_name(version_content(COMPILED))
        == Package.find("training").version
    )
    assert "uploaded now" in first.version and "as the server holds it" in second.version
    assert server.runs[1]["runtime_config"]["parameters"] == PARAMETERS | {"rounds": 5}

    mine = tmp_path / "training.yaml"
    mine.write_text(COMPILED.replace("cpuLimit: 1.0", "cpuLimit: 2.0"))
    submit(mine, PARAMETERS)
    submit(mine, PARAMETERS)
    assert server.posted("/upload_version") == 2
    assert {v["pipeline_id"] for v in server.versions} == {"pipeline-0"}
    assert server.runs[3]["pipeline_version_reference"] == {
        "pipeline_id": "pipeline-0",
        "pipeline_version_id": "version-1",
    }


def test_what_is_uploaded_is_what_the_compiler_writes(server):
    submit("training", PARAMETERS, image=IMAGE)
    documents = list(yaml.safe_load_all(compile_pipeline("training", IMAGE)))
    assert server.versions[0]["pipeline_spec"] == {"pipeline_spec": documents[0], "platform_spec": documents[1]}


def test_the_step_image_comes_from_the_environment_too(server, loopline):
    done = loopline("submit", "training", *WORDS, "--detach", LOOPLINE_IMAGE=IMAGE)
    assert done.returncode == 0, done.stderr
    executors = server.spec_of(server.runs[0])["pipeline_spec"]["deploymentSpec"]["executors"].values()
    assert {executor["container"]["image"] for executor in executors} == {IMAGE}


def test_caching_can_be_left_out(server, loopline):
    done = loopline("submit", "--no-caching", "--detach", "--experiment", "nightly", "training", *WORDS)
    assert done.returncode == 0, done.stderr
    assert [e["display_name"] for e in server.experiments] == ["nightly"]
    tasks = server.spec_of(server.runs[0])["pipeline_spec"]["root"]["dag"]["tasks"]
    assert all(not task.get("cachingOptions") for task in tasks.values())
    cached = yaml.safe_load(COMPILED.split("---")[0])["root"]["dag"]["tasks"]
    assert any(task.get("cachingOptions") for task in cached.values()), "else this test says nothing"
    # Nothing else differs.
    for task in cached.values():
        task["cachingOptions"] = {}
    assert {name: {**task, "cachingOptions": {}} for name, task in tasks.items()} == cached


@pytest.mark.parametrize("name", [file.stem for file in compiled_folder().glob("*.yaml")])
def test_every_pipeline_can_be_submitted(server, name):
    """The server parses each with and without caching, as it parses what is imported by hand."""
    required = {p.name: "1" for p in Package.find(name).file.parameters if p.required}
    submit(name, required)
    submit(name, required, caching=False)
    assert len(server.runs) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("trainig", *WORDS), "There is no pipeline 'trainig': choose one of batch-scoring,"),
        (("training",), "Pipeline training needs 'name', 'target', 'uri'"),
        (("training", *WORDS, "--rounds", "many"), "Parameter 'rounds' is 'many' but must be an integer."),
        (("training", *WORDS, "--param", "colour=red"), "Pipeline training has no parameter 'colour'"),
        (("training", *WORDS, "--step-image", "registry.example.com/step"), "is not pinned"),
        (("mine.yaml", "--step-image", IMAGE), "The step image is set in mine.yaml itself"),
        (("empty.yaml",), "empty.yaml is not a compiled pipeline"),
        (("half.yaml",), "half.yaml is not a compiled pipeline"),
        (("odd.yaml", "--no-caching"), "odd.yaml is not a compiled pipeline"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_sent(server, loopline, tmp_path, words, sentence):
    (tmp_path / "mine.yaml").write_text(COMPILED)
    (tmp_path / "empty.yaml").write_text("a: 1\n")
    (tmp_path / "half.yaml").write_text(f"{COMPILED}\n---\na: b: c\n")
    (tmp_path / "odd.yaml").write_text("pipelineInfo: {name: a}\nroot: {}\ncomponents: 3\n")
    done = loopline("submit", *words)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert sentence in done.stderr
    assert server.asked == []


CALLS = [
    ("GET", "/pipelines"), ("POST", "/pipelines"), ("GET", "/versions"), ("POST", "/pipelines/upload_version"),
    ("GET", "/experiments"), ("POST", "/experiments"), ("GET", "/runs"), ("POST", "/runs"),
]  # fmt: skip


@pytest.mark.parametrize("taken", [False, True], ids=["not taken", "answer lost"])
@pytest.mark.parametrize(("method", "path"), CALLS, ids=lambda part: part)
def test_a_server_that_is_away_for_a_moment_gets_everything_once(server, method, path, taken):
    server.faults.append(Fault(method, path, taken=taken))
    submit("training", PARAMETERS)
    assert server.faults[0].times == 0, "the fault did not come about"
    assert [len(held) for held in (server.pipelines, server.versions, server.experiments, server.runs)] == [1, 1, 1, 1]


@pytest.mark.parametrize(("method", "path"), CALLS, ids=lambda part: part)
def test_a_server_that_stays_away_is_said_and_the_next_call_goes_on(server, monkeypatch, method, path):
    monkeypatch.setattr(connection, "PAUSES", (0.0, 0.0))
    server.faults.append(Fault(method, path, times=1000))
    with pytest.raises(InputError, match=r"refuses with 503 .*the database is away"):
        submit("training", PARAMETERS)
    server.faults.clear()
    assert server.runs == []
    submit("training", PARAMETERS)
    assert [len(held) for held in (server.pipelines, server.versions, server.experiments, server.runs)] == [1, 1, 1, 1]


@pytest.mark.parametrize("path", ["/pipelines", "/pipelines/upload_version", "/experiments"])
def test_of_two_at_once_both_run_the_one_version(server, path):
    """Somebody else's call comes in between the look and the making of each thing that has a name."""
    server.before["POST", path] = lambda: submit("training", PARAMETERS)
    submit("training", PARAMETERS)
    assert server.before == {}, "the other call did not come about"
    assert [len(held) for held in (server.pipelines, server.versions, server.experiments, server.runs)] == [1, 1, 1, 2]


def test_killed_after_the_upload_the_next_call_uploads_nothing(server, tmp_path):
    program = Path(sys.executable).with_name("loopline")
    words = [str(program), "submit", "training", *WORDS, "--detach"]
    process = subprocess.Popen(words, cwd=tmp_path, env=dict(os.environ), stdout=subprocess.DEVNULL)
    server.before["POST", "/experiments"] = process.kill
    assert process.wait(60) == -9
    assert (len(server.versions), server.runs) == (1, [])
    assert subprocess.run(words, cwd=tmp_path, capture_output=True).returncode == 0
    assert (server.posted("/upload_version"), len(server.runs)) == (1, 1)


def test_a_refusal_of_the_server_is_passed_on(server):
    server.forbidden = True
    with pytest.raises(InputError, match=r"refuses this account \(status 403\): bind it to the role"):
        submit("training", PARAMETERS)
    server.forbidden = False
    with pytest.raises(InputError, match=r"refuses with 400 .*exceed maximum size"):
        submit("training", PARAMETERS | {"expectations": "x" * 11_000})


def test_no_token_is_shown(server, loopline):
    done = loopline("submit", "training", *WORDS, "--detach")
    assert TOKEN not in done.stdout + done.stderr
    assert "It goes on by itself: `loopline follow run-0` looks at it." in done.stdout
