"""One short life of a model, whose files are the samples that hostile inputs are made of."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

from config_repositories import make_repository
from monitoring_models import FEATURES, START, make_events, make_model, write_traffic
from promoted_images import PREDICATE, make_key

from loopline.components.command import main
from loopline.components.data.partitions import divide_table
from loopline.components.data.tables import write_table
from loopline.components.delivery.attestation import attest_tested
from loopline.components.delivery.build import build_image
from loopline.components.environment import environment
from loopline.components.interface import describe

WINDOW = {"start": START.isoformat(), "end": (START + timedelta(hours=2)).isoformat()}
#: Values that the life had, by name, in a file of the folder.
FACTS = "facts.json"
#: The file of each output that other components take in.
FILES = {
    "train": "train.parquet", "validation": "validation.parquet", "test": "test.parquet", "model": "model",
    "schema": "schema.json",
    "metrics": "metrics.json", "report": "report.html", "profile": "profile", "plan": "plan.json",
    "prepared": "prepared", "traffic": "traffic.parquet",
    "counts": "counts.json", "drift": "drift.json", "performance": "performance.json", "service": "service.json",
    "summary": "summary.npz",
    "decision": "decision.json", "ran": "ran.json", "verdict": "verdict.json",
}  # fmt: skip


def make_samples(folder: Path) -> None:
    """Write the samples; takes some seconds.

    Args:
        folder: Where to; ``home`` in it becomes their LOOPLINE_HOME.
    """
    facts = {"uri": str(folder / "tables"), "log": str(folder / "log"), "key": make_key()}
    with environment({"LOOPLINE_HOME": str(folder / "home"), "COSIGN_PRIVATE_KEY": facts["key"]}):
        model = make_model(folder / "made", rows=400)
        shutil.copytree(model, folder / "model")
        events = make_events(400, seed=3).select([*FEATURES, "late"])
        write_table(folder / "table.parquet", events)
        (folder / "tables").mkdir()
        write_table(folder / "tables" / "one.parquet", events)
        write_table(folder / "truth.parquet", write_traffic(folder / "log", model, make_events(400, seed=5)))
        (folder / "schema.json").write_bytes((folder / "made" / "schema.json").read_bytes())
        _train_and_judge(folder)
        facts["partition"] = _prepare_in_partitions(folder)
        facts["window"] = "/".join(WINDOW.values())
        _watch(folder, facts)
        facts["worker"] = _search(folder)
        facts["image"] = build_image(model, f"oci:{folder / 'images'}", version=1)
        attest_tested(facts["image"], PREDICATE)
        facts["repository"] = str(make_repository(folder))
    (folder / FACTS).write_text(json.dumps(facts))


def _train_and_judge(folder: Path) -> None:
    run(folder, "split_data", data=folder / "table.parquet")
    run(folder, "train_sklearn", model=folder / "linear", metrics=folder / "linear.json", name="flights")
    run(folder, "evaluate_model", bootstrap=0, importance_repeats=0)
    both = {"challenger": folder / "model", "champion": folder / "model"}
    run(folder, "compare_models", bootstrap=50, report=folder / "compared.html", **both)
    run(folder, "register_model", name="flights")
    run(folder, "promote_model", name="flights", version=1)


def _prepare_in_partitions(folder: Path) -> str:
    [partition] = divide_table(str(folder / "tables"))
    given = {"uri": folder / "tables", "partition": partition}
    run(folder, "profile_partition", target="late", **given)
    run(
        folder,
        "merge_profiles",
        uri=given["uri"],
        target="late",
        profiles=folder / "profile",
        schema_out=folder / "merged.json",
    )
    run(folder, "prepare_partition", **given)
    return partition


def _watch(folder: Path, facts: dict) -> None:
    log = {"name": "flights", "uri": facts["log"]}
    run(folder, "collect_traffic", truth=folder / "truth.parquet", **log, **WINDOW)
    run(folder, "detect_drift", engine="scipy")
    run(folder, "measure_performance")
    run(folder, "summarize_traffic", window=facts["window"], counts=folder / "piece.json", **log)
    run(folder, "check_service", name="flights", targets="edge=http://127.0.0.1:9", **WINDOW)
    run(folder, "decide_retraining", name="flights")


def _search(folder: Path) -> str:
    run(folder, "plan_sweep", name="flights", trials=2, workers=1, returns=folder / "workers.json")
    [worker] = json.loads((folder / "workers.json").read_text())
    run(folder, "run_trials", worker=worker, trials=2, rounds=2)
    return worker


def run(folder: Path, component: str, **given: object) -> None:
    """Run a component; artifacts that are not given are those of the folder."""
    words = [component]
    for port in describe(component).ports:
        value = given.get(port.name.replace("Output", "returns"))
        if value is None and port.artifact and port.required:
            value = folder / FILES.get(port.name, f"{port.name}.out")
        if value is not None:
            words += [port.option, str(value)]
    assert main(words) == 0, words
