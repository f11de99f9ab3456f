"""The steps that read or write S3 and HTTPS: what to run under a fault, and what has to be true after it."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from faults_steps import NONE, Ended, Fault
from faults_world import WINDOW, World
from minio import Minio
from monitoring_models import make_events, write_traffic

from loopline.components.data.tables import read_table
from loopline.components.environment import environment

BUCKET = "tables"


@dataclass(frozen=True)
class Services:
    """Where objects and files are.

    Attributes:
        world: Inputs.
        s3: The environment that leads to the store itself, past any proxy.
        client: A client of the store.
        files: The address of the file server itself, plain HTTP.
        certificate: A PEM file with key and certificate, to serve it over HTTPS.
        authority: The certificate alone, as a client trusts it.
    """

    world: World
    s3: dict[str, str]
    client: Minio
    files: str
    certificate: Path
    authority: Path


def fill(services: Services) -> None:
    """Put what the cases read into the store: a table in two files, and a traffic log."""
    client, world = services.client, services.world
    client.fput_object(BUCKET, "table.csv", str(world.table))
    for file in sorted(world.files.iterdir()):
        client.fput_object(BUCKET, f"files/{file.name}", str(file))
    client.fput_object(BUCKET, "partition.parquet", str(world.partition))
    with environment(services.s3):
        write_traffic(f"s3://{BUCKET}/log", world.out("train_xgboost", "model"), make_events(600, seed=5))


@dataclass
class Case:
    """One component with an output folder of its own, the same for each of its runs."""

    services: Services
    component: str
    number: int
    out: Path = field(init=False)
    inputs: dict = field(init=False)

    #: The variable that leads to the service, and whether the component writes objects.
    variable, writes = "AWS_S3_ENDPOINT", False

    def __post_init__(self):
        self.world = self.services.world
        self.out = self.world.folder / f"objects-{self.number}"
        self.inputs = self.prepare()

    def prepare(self) -> dict:
        """Return the inputs."""
        raise NotImplementedError

    def run(self, fault: Fault = NONE, url: str = "") -> Ended:
        """Run the component, past a proxy where its address is given."""
        variables = {**self.services.s3, **fault.variables}
        if url:
            variables["AWS_S3_ENDPOINT"] = url
        fault = Fault(fault.death, fault.calls, fault.file_bytes, fault.user, variables, fault.seconds)
        return self.world.steps.run(self.component, fault, out=self.out, **self.inputs)

    @property
    def url(self) -> str:
        """The address of the service itself."""
        return self.services.s3["AWS_S3_ENDPOINT"]

    def check(self, whole: bool, ended: Ended | None = None) -> None:
        """See that an output is whole or not there, and with ``whole`` that it is there."""
        for name, rows in self.expected.items():
            path = self.out / name
            if whole or path.exists():
                assert read_table(path).num_rows == rows

    expected = {}


class IngestS3(Case):
    expected = {"data": 1_500}

    def prepare(self):
        return {"uri": f"s3://{BUCKET}/table.csv"}


class IngestParquetS3(Case):
    expected = {"data": 1_500}

    def prepare(self):
        return {"uri": f"s3://{BUCKET}/files/*.parquet"}


class IngestHttps(Case):
    expected = {"data": 1_500}
    variable = ""

    def prepare(self):
        return {"uri": ""}

    def run(self, fault=NONE, url=""):
        self.inputs["uri"] = f"{url or self.services.files}/table.csv"
        fault = Fault(
            fault.death, fault.calls, fault.file_bytes, fault.user,
            {"SSL_CERT_FILE": str(self.services.authority), **fault.variables}, fault.seconds,
        )  # fmt: skip
        return self.world.steps.run(self.component, fault, out=self.out, **self.inputs)

    @property
    def url(self):
        return self.services.files


class ListPartitions(Case):
    def prepare(self):
        return {"uri": f"s3://{BUCKET}/files/*.parquet"}

    def check(self, whole, ended=None):
        if whole:
            assert len(json.loads(ended.value())) == 2


class DivideTable(ListPartitions):
    def prepare(self):
        return {"uri": f"s3://{BUCKET}/files"}


class ScorePartition(Case):
    """One object with every row, however often it was tried."""

    writes = True

    def prepare(self):
        self.place = f"scored/{self.number}"
        return {
            "model": self.world.out("train_xgboost", "model"), "uri": f"s3://{BUCKET}/partition.parquet",
            "output": f"s3://{BUCKET}/{self.place}",
        }  # fmt: skip

    def check(self, whole, ended=None):
        found = [one.object_name for one in self.services.client.list_objects(BUCKET, f"{self.place}/", recursive=True)]
        assert len(found) <= 1, "scored twice"
        for name in found:
            copy = self.world.folder / "scored.parquet"
            self.services.client.fget_object(BUCKET, name, str(copy))
            assert read_table(copy).num_rows == 500
        if whole:
            assert ended.value() == f"s3://{BUCKET}/{found[0]}"


class CollectTraffic(Case):
    expected = {"traffic": 600}

    def prepare(self):
        return {
            "model": self.world.out("train_xgboost", "model"), "name": self.world.NAME, "uri": f"s3://{BUCKET}/log",
            **WINDOW,
        }  # fmt: skip

    def check(self, whole, ended=None):
        super().check(whole, ended)
        if whole:
            assert ended.value() == "600"


class SummarizeTraffic(Case):
    def prepare(self):
        return {
            "model": self.world.out("train_xgboost", "model"), "name": self.world.NAME, "uri": f"s3://{BUCKET}/log",
            "window": f"{WINDOW['start']}/{WINDOW['end']}",
        }  # fmt: skip

    def check(self, whole, ended=None):
        if whole:
            assert ended.value() == "600"


CASES = {
    "ingest_data from S3": IngestS3,
    "ingest_data of Parquet from S3": IngestParquetS3,
    "ingest_data over HTTPS": IngestHttps,
    "divide_table of S3": DivideTable,
    "list_partitions of S3": ListPartitions,
    "score_partition from S3 to S3": ScorePartition,
    "collect_traffic from S3": CollectTraffic,
    "summarize_traffic from S3": SummarizeTraffic,
}
