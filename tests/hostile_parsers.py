"""Hostile files and texts for what parses them, straight at the function that does."""

import gzip
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import yaml
from hostile_inputs import damaged, documents, texts
from hostile_runs import Target
from hostile_samples import FACTS
from hypothesis import strategies as st

from loopline.components.data.csv_format import CsvFormat
from loopline.components.data.ingest import ingest
from loopline.components.data.partition_plan import Plan
from loopline.components.data.partition_profile import PartitionProfile
from loopline.components.data.partition_rows import PartitionReport
from loopline.components.data.places import read_place
from loopline.components.data.schema import Schema
from loopline.components.data.sources import find_sources, is_private, safe_name
from loopline.components.data.tables import read_table
from loopline.components.delivery.config_repository import ConfigRepository, parse_sites
from loopline.components.delivery.credentials import load_credentials
from loopline.components.delivery.git import locate_repository
from loopline.components.delivery.golden import read_golden
from loopline.components.delivery.keys import load_keys
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.release import Release, read_release_env, read_site_env, write_release_env
from loopline.components.environment import environment
from loopline.components.metadata import EngineMetadata, SideMetadata
from loopline.components.model.card import manifest_card
from loopline.components.model.directory import read_manifest, read_release, verify_model
from loopline.components.model.predictor import load_predictor
from loopline.components.monitoring.evidence import read_evidence
from loopline.components.monitoring.reference import read_reference
from loopline.components.monitoring.scrape import parse_metrics, read_look
from loopline.components.monitoring.slo import read_capacity
from loopline.components.monitoring.summary import Summary
from loopline.components.monitoring.truth import Key
from loopline.components.monitoring.window import read_window
from loopline.components.parameters import parse_object, split_names
from loopline.components.registry.annotate import read_decision
from loopline.components.registry.record import read_metrics
from loopline.components.registry.versions import check_name
from loopline.components.training.space import read_space
from loopline.components.training.trials import list_parameter_sets


def targets(samples: Path) -> dict[str, Target]:
    """What is fed to each parser."""
    return {name: target for group in GROUPS.values() for name, target in group(samples).items()}


def _texts(samples: Path) -> dict[str, Target]:
    """Parsers of the text of a parameter."""
    pair = st.tuples(texts(), texts())
    calls = {
        "names": split_names,
        "objects": lambda text: parse_object(text, "values", "{}"),
        "csv parameter": CsvFormat.parse,
        "parameter sets": list_parameter_sets,
        "search space": lambda text: read_space("", text, 3),
        "image references": ImageReference.parse,
        "sites": parse_sites,
        "overlays": lambda text: ConfigRepository(None, text),
        "repositories": locate_repository,
        "data URIs": lambda text: (safe_name(text), is_private(text), find_sources(text)),
        "places": lambda text: read_place(text, "The log"),
        "capacities": read_capacity,
        "model names": check_name,
    }
    found = {name: Target(texts(), call, 80) for name, call in calls.items()}
    found["windows"] = Target(pair, lambda given: read_window(*given, 24.0), 80)
    return found


def _tables(samples: Path) -> dict[str, Target]:
    """Tables as they come in."""
    table = read_table(samples / "table.parquet").slice(0, 60)
    plain = io.BytesIO()
    pyarrow.csv.write_csv(table, plain)
    text = plain.getvalue()
    parquet = (samples / "table.parquet").read_bytes()
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.csv", text)
    packed = [gzip.compress(text), zipped.getvalue(), *(_packed(text, codec) for codec in ("zstd", "bz2"))]
    made = [
        text,
        text.decode().encode("utf-16"),
        b"a,b\n1,2\n",
        b'a;b\n"x";1,5\n',
        b"a\n" * 3,
        b"\xef\xbb\xbfa,b\r\n,\r\n",
    ]
    # Columns are named by strangers, too.
    names = st.lists(texts(), min_size=1, max_size=4).map(
        lambda names: ",".join(names).encode("utf-8", "replace") + b"\n1,2,3\n"
    )
    return {
        "CSV": Target(st.one_of(damaged(made), names), _ingest, 150),
        "packed CSV": Target(damaged(packed), _ingest, 80),
        "Parquet": Target(damaged([parquet]), _ingest, 80),
        "CSV with a parameter": Target(st.tuples(st.sampled_from(made), texts(), texts()), _ingest_with, 60),
    }


def _packed(data: bytes, codec: str) -> bytes:
    sink = io.BytesIO()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
        stream.flush()
        return sink.getvalue()


def _ingest(data: bytes) -> None:
    Path("table").write_bytes(data)
    ingest("table", "out.parquet")


def _ingest_with(given: tuple[bytes, str, str]) -> None:
    data, value, columns = given
    Path("table").write_bytes(data)
    ingest(
        "table",
        "out.parquet",
        columns=columns,
        csv=json.dumps({"delimiter": value[:1], "encoding": value, "null_values": [value]}),
    )


def _documents(samples: Path) -> dict[str, Target]:
    """JSON and other documents between steps."""
    files = {name: samples / f"{name}.json" for name in ("counts", "drift", "performance", "service")}

    def evidence(name: str) -> Callable:
        def read(path: Path) -> None:
            read_evidence(**{**files, name: path})

        return read

    def report(path: Path) -> None:
        Path("prepared").mkdir(exist_ok=True)
        shutil.copy(path, "prepared/report.json")
        PartitionReport.load("prepared")

    loads = {
        "schema.json": Schema.load,
        "merged.json": Schema.load,
        "profile": PartitionProfile.load,
        "plan.json": Plan.load,
        "prepared/report.json": report,
        "decision.json": read_decision,
        "metrics.json": read_metrics,
        **{f"{name}.json": evidence(name) for name in files},
    }
    found = {f"{name} document": _document(samples / name, load) for name, load in loads.items()}
    found["summary of traffic"] = Target(damaged([(samples / "summary.npz").read_bytes()]), _file(Summary.load), 60)
    found["metadata beside"] = _document(samples / "train.parquet.metadata.json", _beside)
    executor = {
        "inputs": {"artifacts": {"a": {"artifacts": [{"uri": "/a", "metadata": {}}]}}},
        "outputs": {"outputFile": "o", "artifacts": {}},
    }
    found["executor input"] = Target(
        documents([executor]).map(lambda data: data.decode("utf-8", "replace")), EngineMetadata, 60
    )
    return found


def _document(sample: Path, load: Callable) -> Target:
    return Target(documents([json.loads(sample.read_text())]), _file(load), 60)


def _file(load: Callable) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        Path("document").write_bytes(data)
        return load(Path("document"))

    return read


def _beside(path: Path) -> None:
    shutil.copy(path, "table.metadata.json")
    SideMetadata().read("table")


def _models(samples: Path) -> dict[str, Target]:
    """Model directories with one damaged file."""
    model = samples / "model"

    def use(path: Path) -> None:
        read_manifest(path).__repr__()
        manifest_card(read_manifest(path)).markup()
        read_release(path)
        read_golden(path)
        read_reference(path)
        load_predictor(path).predict(read_golden(path).rows)
        verify_model(path)

    def damage(name: str, call: Callable) -> Callable[[bytes], None]:
        def read(data: bytes) -> None:
            _copy_model(model)
            Path("model", name).write_bytes(data)
            call(Path("model"))

        return read

    found = {}
    for name in ("loopline.json", "schema.json", "reference-profile.json", "model-settings.json"):
        inputs = documents([json.loads((model / name).read_text())])
        found[f"model with another {name}"] = Target(inputs, damage(name, use), 60)
    for name in ("golden.parquet", "reference-rows.parquet", "model.onnx"):
        found[f"model with another {name}"] = Target(damaged([(model / name).read_bytes()]), damage(name, use), 30)
    manifest = documents([json.loads((model / "loopline.json").read_text())])
    found["verified model"] = Target(manifest, damage("loopline.json", verify_model), 60)
    release = documents([{"name": "flights", "version": 1, "model_digest": "sha256:" + "0" * 64}])
    found["release in a model"] = Target(release, damage("release.json", read_release), 40)
    return found


def _copy_model(model: Path) -> None:
    shutil.rmtree("model", ignore_errors=True)
    Path("model").mkdir()
    for file in model.iterdir():
        os.link(file, Path("model", file.name))
    for file in Path("model").iterdir():  # a link would be written through
        data = file.read_bytes()
        file.unlink()
        file.write_bytes(data)


def _settings(samples: Path) -> dict[str, Target]:
    """What a configuration repository, a machine or another server says of itself."""
    release = b"# what the site serves\nMODEL_NAME=flights\nMODEL_VERSION=1\nMODEL_IMAGE=\nCANARY=no\n"
    image = json.loads((samples / FACTS).read_text())["image"]
    release = [
        release,
        release.replace(b"IMAGE=", b"IMAGE=" + image.encode()),
        b"SERVICE_URL=http://127.0.0.1:9\r\nA=b\r\n",
    ]
    lines = damaged(release).map(lambda data: data.decode("utf-8", "replace"))
    logins = {
        "auths": {"127.0.0.1:5000": {"auth": "dTpw"}, "a.example/b": {"identitytoken": "t"}},
        "credsStore": "none",
        "credHelpers": {"c": "d"},
    }
    key = json.loads((samples / FACTS).read_text())["key"].encode()
    metrics = (
        b'# HELP x\nrest_server_requests_total{method="POST",path="/v2",status_code="200"} 4.0\nx_bucket{le="+Inf"} 2\n'
    )
    return {
        "release.env": Target(lines, read_release_env, 80),
        "site.env": Target(lines, read_site_env, 80),
        "edits of release.env": Target(st.tuples(lines, texts()), _edit_release, 80),
        "logins": Target(documents([logins]), _file(_log_in), 60),
        "keys": Target(damaged([key]), _load_key, 60),
        "metrics of a server": Target(
            damaged([metrics]), lambda data: read_look(parse_metrics(data.decode("utf-8", "replace")), 1.0), 80
        ),
        "keys of the truth": Target(texts(), lambda text: Key.read(text, _layout(samples)), 40),
    }


def _layout(samples: Path):
    from loopline.components.monitoring.parts import Layout

    return Layout.of(samples / "model")


def _edit_release(given: tuple[str, str]) -> None:
    text, name = given
    edited = write_release_env(text, Release(name, 7, "oci:/images@sha256:" + "1" * 64))
    # What was written has to be read as it was meant.
    assert read_release_env(edited) == Release(name, 7, "oci:/images@sha256:" + "1" * 64)


def _log_in(path: Path) -> None:
    with environment({"REGISTRY_AUTH_FILE": str(path), "PATH": ""}):
        load_credentials("127.0.0.1:5000", "models/late")


def _load_key(data: bytes) -> None:
    Path("key.pem").write_bytes(data)
    with environment({"COSIGN_PRIVATE_KEY": "key.pem", "COSIGN_PUBLIC_KEY": ""}):
        load_keys().fingerprint.encode()


def _pipelines(samples: Path) -> dict[str, Target]:
    """Parameters of pipelines, files of them, compiled pipelines, schedules."""
    from loopline.components.arguments import TYPES, convert_value
    from loopline.deploy.start_run import read_parameters_file
    from loopline.pipelines.commands.arguments import _read_file
    from loopline.pipelines.launching.package import Package
    from loopline.pipelines.launching.timing import Timing
    from loopline.pipelines.replay.timeline import Timeline
    from loopline.pipelines.spec import PipelineFile, compiled_folder, compiled_names

    plain = yaml.safe_dump(
        {
            "uri": "a.csv",
            "target": "late",
            "params": {"max_depth": 3},
            "features": ["a", "b"],
            "rounds": 5,
            "day": "2026-01-01",
        }
    ).encode()
    tagged = [
        b"!!python/object/apply:os.system [touch x]",
        b"a: !!python/name:os.system",
        b"a: &a [*a]",
        b"a: !include /etc/passwd",
        _laughs(),
        b"a: " + b"[" * 3000,
        b"? [a]\n: b",
        b"1: 2",
        b"- a",
        b"a: .nan",
    ]
    yamls = damaged([plain, *tagged]) | st.sampled_from(tagged)
    compiled = (compiled_folder() / "capacity.yaml").read_bytes()
    values = st.one_of(
        texts(),
        st.integers(),
        st.floats(),
        st.none(),
        st.booleans(),
        st.lists(texts(), max_size=3),
        st.dictionaries(texts(), texts(), max_size=3),
    )

    def convert(given: tuple) -> None:
        pipeline, name, value = given
        file = PipelineFile.find(pipeline)
        known = [parameter.name for parameter in file.parameters]
        file.convert({known[name % len(known)]: value} | ({value: 1} if isinstance(value, str) else {}))

    def expand(path: Path) -> None:
        for value in _read_file(str(path)).values():
            convert_value("x", "STRING", value)

    def package(data: bytes) -> None:
        Path("pipeline.yaml").write_bytes(data)
        Package.find("pipeline.yaml", caching=False).version.encode()

    return {
        "parameters of pipelines": Target(
            st.tuples(st.sampled_from(compiled_names()), st.integers(0, 40), values), convert, 150
        ),
        "values of parameters": Target(
            st.tuples(st.sampled_from(sorted(TYPES)), values), lambda given: convert_value("x", *given), 100
        ),
        "files of parameters": Target(yamls, _file(expand), 100),
        "parameters of an event": Target(yamls, _file(read_parameters_file), 60),
        "compiled pipelines": Target(damaged([compiled]), package, 30),
        "schedules": Target(
            st.one_of(
                texts(),
                st.lists(
                    st.sampled_from(
                        ("0", "*", "*/0", "1-99", "1,2", "L", "?", "31", "2", "mon", "-1", "1/2/3", "9" * 30)
                    ),
                    min_size=6,
                    max_size=6,
                ).map(" ".join),
            ),
            lambda text: Timing.read(cron=text),
            100,
        ),
        "intervals": Target(texts(), lambda text: Timing.read(every=text), 60),
        "timelines": Target(documents([{"months": [], "name": "a"}]), _file(Timeline.load), 40),
    }


def _laughs() -> bytes:
    """Some hundred bytes that expand to a billion lists."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    return "\n".join(lines).encode()


GROUPS = {
    "texts of parameters": _texts,
    "tables": _tables,
    "documents between steps": _documents,
    "model directories": _models,
    "settings": _settings,
    "parameters of pipelines": _pipelines,
}
