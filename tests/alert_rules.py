"""Rules of Prometheus, read from the manifests and run by promtool."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from manifest_schemas import ROOT

#: Rules by where they apply: at a site, and beside the pipelines.
FILES = {
    "site": ROOT / "deploy" / "config-repo" / "base" / "alerts.yaml",
    "monitoring": ROOT / "deploy" / "openshift" / "components" / "watch" / "alerts.yaml",
}
_FIRING = 'group by (alertname) (ALERTS{alertstate="firing"})'


def need(*programs: str):
    """Skip the calling test where a program is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed (Debian: prometheus, prometheus-alertmanager)")


def groups(place: str, start: str = "") -> list[dict]:
    """Return the groups of rules that apply at a place and whose names start so."""
    manifests = yaml.safe_load_all(FILES[place].read_text())
    (found,) = (m for m in manifests if m["kind"] == "PrometheusRule")
    return [group for group in found["spec"]["groups"] if group["name"].startswith(start)]


def rules(place: str) -> list[dict]:
    """Return the rules that apply at a place."""
    return [rule for group in groups(place) for rule in group["rules"]]


def promtool(*words: str | Path) -> subprocess.CompletedProcess:
    """Run promtool."""
    need("promtool")
    return subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True)


def run_rules(folder: Path, chosen: list[dict], series: dict[str, str], expected: dict, step: str = "1m"):
    """Check what rules make of time series: promtool's unit tests.

    Args:
        folder: Where to write files.
        chosen: Groups of rules; the fewer, the faster.
        series: The values of each series, in promtool's notation.
        expected: promtool's tests, by their kind.
        step: The time from value to value, which is also that between evaluations.
    """
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": chosen}))
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": step, "input_series": inputs} | expected
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": step, "tests": [test]}
    (folder / "tests.yaml").write_text(yaml.safe_dump(document))
    done = promtool("test", "rules", folder / "tests.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def firing(expected: list[tuple[str, list[str]]]) -> dict:
    """Return a test that at each time these alerts fire, and no others."""

    def samples(alerts: list[str]) -> list[dict]:
        return [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts]

    tests = [{"expr": _FIRING, "eval_time": at, "exp_samples": samples(alerts)} for at, alerts in expected]
    return {"promql_expr_test": tests}
