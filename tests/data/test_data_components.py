"""Each component once through the local runner, as a pipeline runs it."""

import pyarrow.parquet as pq
import pytest
from kfp import compiler, components, dsl, local

from loopline.components import ingest_data, split_data, validate_data
from loopline.components.data.schema import Schema
from loopline.components.data.tables import file_digest


@dsl.pipeline
def prepare(uri: str, expectations: str):
    raw = ingest_data(uri=uri)
    first = validate_data(
        data=raw.outputs["data"], target="late", expectations=expectations, on_error="quarantine", min_rows=1
    )
    again = validate_data(data=raw.outputs["data"], schema=first.outputs["schema_out"], on_error="quarantine")
    split_data(data=again.outputs["valid"], method="stratified", column="late", seed=1)


@pytest.fixture
def run(tmp_path):
    """Run the compiled pipeline on a CSV and return the folder of its outputs."""
    source = tmp_path / "flights.csv"
    source.write_text("distance,carrier,late\n" + "".join(f"{i - 2},{'AU'[i % 2]}A,{i % 3 == 0}\n" for i in range(102)))
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "runs"))
    compiler.Compiler().compile(prepare, str(tmp_path / "prepare.yaml"))
    pipeline = components.load_component_from_file(str(tmp_path / "prepare.yaml"))
    pipeline(uri=str(source), expectations='{"distance": {"minimum": 0}}')
    (folder,) = (tmp_path / "runs").iterdir()
    return folder


def test_components_run_compiled_with_and_without_a_schema(run):
    raw, first, again, split = (
        run / name for name in ("ingest-data", "validate-data", "validate-data-2", "split-data")
    )
    assert pq.read_metadata(raw / "data").num_rows == 102
    for step in (first, again):
        assert pq.read_metadata(step / "valid").num_rows == 100
        assert pq.read_table(step / "quarantined")["distance"].to_pylist() == [-2, -1]
        assert "distance" in (step / "report").read_text()
        assert Schema.load(step / "schema_out").target == "late"
    # The optional schema was really used: inferred anew, the smallest distance would be -2.
    assert Schema.load(again / "schema_out") == Schema.load(first / "schema_out")
    assert [pq.read_metadata(split / side).num_rows for side in ("train", "validation", "test")] == [70, 10, 20]
    executed = (raw / "executor_output.json").read_text()
    assert file_digest(raw / "data") in executed
    assert '"rows": 102' in executed
