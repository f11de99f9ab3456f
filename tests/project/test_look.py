"""Looking at a table: from wherever it is, no more of it than needed, and what its columns are."""

import errno
import functools
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from object_stores import running_store
from project_tables import as_csv, base, text
from project_training import train

from loopline.components.data import csv_blocks
from loopline.components.errors import InputError
from loopline.pipelines.project import create, look, splits
from loopline.pipelines.project.columns import is_named_like_an_id
from loopline.pipelines.project.create import create_project
from loopline.pipelines.project.plan import model_name


def test_s3_and_the_web_are_looked_at_where_they_are(tmp_path, monkeypatch):
    with running_store(monkeypatch, "own-data") as store:
        (tmp_path / "site").mkdir()
        file = as_csv(base())(tmp_path / "site")
        store.fput_object("own-data", "2026/table.csv", file)
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for number, uri in enumerate(
            ("s3://own-data/2026/*.csv", f"http://127.0.0.1:{server.server_port}/table.csv?format=csv")
        ):
            project = create_project(tmp_path / f"project-{number}", uri, "y")
            params = yaml.safe_load((project.folder / "params.yaml").read_text(encoding="utf-8"))
            assert params["uri"] == uri
            assert project.plan.look.rows == 300
        server.shutdown()
        server.server_close()


@pytest.fixture
def short_look(monkeypatch):
    """A look that ends after some rows, so that a small table takes the way of a large one."""
    monkeypatch.setattr(look, "LOOK_BYTES", 8000)
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 1000)


def test_of_a_table_too_large_to_read_nothing_is_promised(short_look, tmp_path):
    table = base(2000)
    table["color"][1500] = "a color that comes late"
    table["weight"][1600] = None
    project = create_project(tmp_path / "project", as_csv(table)(tmp_path), "y")
    said = str(project)
    assert not project.plan.look.whole
    assert f"the first {project.plan.look.rows} rows" in said
    assert f"only the first {project.plan.look.rows} rows were looked at" in said
    assert project.plan.rules == {"y": {"nullable": False, "categories": ["no", "yes"]}}
    params = yaml.safe_load((project.folder / "params.yaml").read_text(encoding="utf-8"))
    assert params["on_error"] == "quarantine"
    _, evaluation, sides = train(params, tmp_path)
    assert sum(side.num_rows for side in sides.values()) == 2000
    assert evaluation.rows == 400


def test_a_target_that_does_not_vary_in_what_was_read_says_so(short_look, tmp_path):
    table = {**base(2000), "y": ["a"] * 1900 + ["b"] * 100}
    with pytest.raises(InputError, match=r"the same in every row in the first \d+ rows"):
        create_project(tmp_path / "project", as_csv(table)(tmp_path), "y")


def test_a_sample_is_drawn_from_all_of_a_table(monkeypatch, tmp_path):
    monkeypatch.setattr(look, "SAMPLE_VALUES", 1000)
    project = create_project(tmp_path / "project", as_csv({"n": list(range(9000)), **base(9000)})(tmp_path), "y")
    numbers = np.asarray(project.plan.look.sample["n"])
    assert len(numbers) == 1000
    assert (np.diff(numbers) > 0).all()
    assert 4200 < numbers.mean() < 4800
    assert len(set(np.diff(numbers))) > 5, "rows at even distances would miss what comes in turns"
    assert project.plan.exclude == {"n": "numbers of the rows"}


def test_groups_are_found_by_a_part_of_their_values(monkeypatch, tmp_path):
    monkeypatch.setattr(splits, "_COUNTED_ROWS", 300)
    random = np.random.default_rng(1)
    table = {"shop_id": random.integers(0, 300, 3000).tolist(), **base(3000)}
    project = create_project(tmp_path / "project", as_csv(table)(tmp_path), "y")
    assert (project.plan.split.method, project.plan.split.column) == ("group", "shop_id")


@pytest.mark.parametrize("filled", [False, True])
def test_a_disk_that_is_full_leaves_nothing(filled, monkeypatch, tmp_path):
    if filled:
        (tmp_path / "project").mkdir()
    data = as_csv(base())(tmp_path)
    write_text = Path.write_text

    def full(path: Path, *words, **options):
        if path.name == "monitoring.yaml":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_text(path, *words, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match="The disk is full"):
        create_project(tmp_path / "project", data, "y")
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert found == (["project"] if filled else []) + ["table.csv"]


def test_an_interrupt_leaves_nothing(monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    data = as_csv(base())(tmp_path)
    monkeypatch.setattr(create, "explore_notebook", interrupted)
    with pytest.raises(KeyboardInterrupt):
        create_project(tmp_path / "project", data, "y")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_glob_stays_one_and_is_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for month in "12":
        (tmp_path / f"m{month}.csv").write_text(text(base(60, int(month))))
    project = create_project("project", "m?.csv", "y")
    assert project.plan.look.uri == str(tmp_path / "m?.csv")
    assert project.plan.look.rows == 120


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(
            (name, True)
            for name in ("id", "ID", "customer_id", "CustomerID", "order-key", "Unnamed: 0", "row number", "userId")
        ),
        *((name, True) for name in ("invoice_no", "Account Number", "index", "row_index", "number", "userId")),
        *((name, False) for name in ("num_words", "number_of_visits", "No. of rooms", "heat_index")),
        *((name, False) for name in ("width", "video", "monkey", "said", "candid", "population", "numbers", "x")),
    ],
)
def test_names_of_identifiers(name, expected):
    assert is_named_like_an_id(name) == expected


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("my-project", "my-project"),
        ("My Project!", "my-project"),
        ("\u00fcber", "uber"),
        ("\u4ef7", "model"),
        ("2026_q1", "2026-q1"),
    ],
)
def test_a_folder_names_the_model(folder, name):
    assert model_name(folder) == name
