"""Hostile answers of other servers, over HTTP, to what asks them: registries, model servers, Prometheus, Git services.

One server of this machine answers whatever it is told to; the clients are real, and so are their connections.
"""

import functools
import gzip
import http.server
import json
import threading
from pathlib import Path

from hostile_inputs import damaged, documents, texts
from hostile_runs import Target
from hostile_samples import FACTS
from hypothesis import strategies as st

from loopline.components.data.s3 import find_objects
from loopline.components.delivery import git_hosting, registry
from loopline.components.delivery.attestation import verify_tested
from loopline.components.delivery.base import open_base
from loopline.components.delivery.fetch import fetch_image
from loopline.components.delivery.git_hosting import open_hosting
from loopline.components.delivery.golden import read_golden
from loopline.components.delivery.inference import call_rest, predict_rest
from loopline.components.delivery.layout import Layout
from loopline.components.delivery.oci import CONFIG, INDEX, LAYER, MANIFEST, Blob, Document, blob_descriptor, digest_of
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.registry import Registry
from loopline.components.delivery.signing import sign, verify
from loopline.components.delivery.store import read_blob
from loopline.components.environment import environment
from loopline.components.monitoring.prometheus import Prometheus
from loopline.components.monitoring.scrape import scrape
from loopline.components.pipeline_server import _reason

TAR_GZIP = f"{LAYER}+gzip"
#: What is answered next: status, headers and body.
_NEXT: list = [200, {}, b""]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if length := int(self.headers.get("Content-Length") or 0):
            self.rfile.read(length)
        status, headers, body = _NEXT
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_PUT = do_HEAD = do_DELETE = do_GET

    def log_message(self, *_) -> None:
        pass


@functools.cache
def _server() -> str:
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    return f"127.0.0.1:{running.server_port}"


def targets(samples: Path) -> dict[str, Target]:
    """What is answered to each client."""
    registry.SETTLE_S, registry.BACKOFF_S, registry.ATTEMPTS = (0.0, 0.0), 0.0, 1
    git_hosting.PAUSE_S = 0.0
    golden = read_golden(samples / "model").slice(0, 2)
    return {**_registries(), **_images(samples), **_servers(golden), **_services()}


def _answers(samples: list, statuses: tuple = (200, 200, 200, 400, 401, 403, 404, 418)) -> st.SearchStrategy[tuple]:
    headers = st.dictionaries(st.sampled_from(("WWW-Authenticate", "Link", "Location", "Content-Type",
    "Docker-Content-Digest", "Retry-After")),
        st.one_of(_header(), st.sampled_from(('Bearer realm="http://[", service="a"',
        'Bearer realm="https://127.0.0.1:1/t"', "Basic", "Bearer", "</v2/>; rel=next", "<http://[>; rel=next"))),
        max_size=2)  # fmt: skip
    return st.tuples(st.sampled_from(statuses), headers, documents(samples))


def _header() -> st.SearchStrategy[str]:
    return texts().map(lambda text: "".join(one for one in text if " " <= one < "\x7f")[:200])


def _asking(ask) -> object:
    def call(answer: tuple) -> None:
        _NEXT[:] = answer
        ask()

    return call


def _registries() -> dict[str, Target]:
    digest = "sha256:" + "1" * 64
    one = {"mediaType": MANIFEST, "digest": digest, "size": 4, "annotations": {}, "platform": {"os": "linux"}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [one],
        "annotations": {"a": "b"},
        "layers": [one],
        "config": one,
    }
    error = {"errors": [{"code": "DENIED", "message": "no"}]}

    def store() -> Registry:
        return Registry(_server(), "models/late")

    return {
        "manifest of a registry": Target(
            _answers([manifest, error]), _asking(lambda: store().get_manifest("latest")), 60
        ),
        "referrers of a registry": Target(_answers([manifest, error]), _asking(lambda: store().referrers(digest)), 60),
        "base image of a registry": Target(
            _answers([manifest, error]), _asking(lambda: open_base(f"docker://{_server()}/a@{digest_of(_NEXT[2])}")), 60
        ),
        "push to a registry": Target(
            _answers([error], (200, 201, 202, 400, 401, 403, 404)),
            _asking(lambda: store().push_manifest(Document.build(MANIFEST))),
            60,
        ),
    }


def _images(samples: Path) -> dict[str, Target]:
    """Documents of an image that are consistent, signed, and not what they should be."""
    facts = json.loads((samples / FACTS).read_text())
    reference = ImageReference.parse(facts["image"])
    store = Layout(reference.location)
    index = store.get_manifest(reference.digest)
    manifest = store.get_manifest(index.content["manifests"][0]["digest"])

    def push(data: bytes, kind: str, *blobs: bytes) -> tuple[Layout, Document]:
        place = Layout(Path("images").absolute())
        for name in ("blobs/sha256",):
            Path("images", name).mkdir(parents=True, exist_ok=True)
        for blob in (samples / "images" / "blobs" / "sha256").iterdir():
            target = Path("images/blobs/sha256", blob.name)
            if not target.exists():
                target.symlink_to(blob)
        document = Document(kind, data, blobs)
        place.push_manifest(document, "made")
        return place, document

    def use(document: Document) -> None:
        image = f"oci:{Path('images').absolute()}@{document.digest}"
        with environment({"COSIGN_PRIVATE_KEY": facts["key"]}):
            sign(image)
            verify(image)
            open_base(image)
            fetch_image(image, "fetched")

    def with_index(data: bytes) -> None:
        use(push(data, INDEX)[1])

    def with_manifest(data: bytes) -> None:
        _, changed = push(data, MANIFEST)
        entry = {**index.content["manifests"][0], "digest": changed.digest, "size": len(data)}
        use(push(json.dumps({**index.content, "manifests": [entry]}).encode(), INDEX)[1])

    def with_attestation(data: bytes) -> None:
        push(index.data, INDEX)
        place = Layout(Path("images").absolute())
        place.push_manifest(Document(MANIFEST, data), f"sha256-{index.digest.removeprefix('sha256:')}.att")
        with environment({"COSIGN_PRIVATE_KEY": facts["key"]}):
            verify_tested(f"oci:{Path('images').absolute()}@{index.digest}")

    def with_layout(data: bytes) -> None:
        push(index.data, INDEX)
        Path("images/index.json").write_bytes(data)
        use(index)

    def with_layer(data: bytes) -> None:
        place, _ = push(index.data, INDEX)
        place.push_blob(Blob.of(data))
        config = json.loads(read_blob(place, manifest.content["config"]))
        config["rootfs"]["diff_ids"][-2] = digest_of(data)
        config = json.dumps(config).encode()
        layers = [
            *manifest.content["layers"][:-2],
            blob_descriptor(TAR_GZIP if data[:2] == b"\x1f\x8b" else LAYER, data),
        ]
        layers.append(manifest.content["layers"][-1])
        content = {**manifest.content, "config": blob_descriptor(CONFIG, config), "layers": layers}
        place.push_blob(Blob.of(config))
        with_manifest(json.dumps(content).encode())

    with store.open_blob(manifest.content["layers"][-2]) as stream:
        tar = b"".join(stream.chunks())
    attestation = store.get_manifest(f"sha256-{index.digest.removeprefix('sha256:')}.att")
    return {
        "index of an image": Target(documents([index.content]), with_index, 40),
        "manifest of an image": Target(documents([manifest.content]), with_manifest, 40),
        "layer of an image": Target(damaged([tar, gzip.compress(tar, 1)]), with_layer, 60),
        "attestation of an image": Target(documents([attestation.content]), with_attestation, 40),
        "index of a layout": Target(
            documents([json.loads((samples / "images" / "index.json").read_text())]), with_layout, 40
        ),
    }


def _servers(golden) -> dict[str, Target]:
    said = {
        "model_name": "flights", "model_version": "1", "id": "a", "parameters": {"model_digest": "sha256:1"},
        "outputs": [{"name": "probabilities", "shape": [2, 2], "datatype": "FP32", "data": [0.1, 0.9, 0.2, 0.8]}],
    }  # fmt: skip
    series = {"metric": {"site": "edge"}, "values": [[1.0, "2"], [2.0, "NaN"]]}
    matrix = {"status": "success", "data": {"resultType": "matrix", "result": [series]}}
    return {
        "answers of a model server": Target(
            _answers([said, {"error": "no"}]),
            _asking(lambda: predict_rest(f"http://{_server()}", golden.model, golden.rows, golden.features)),
            80,
        ),
        "metadata of a model server": Target(
            _answers([said, {"error": "no"}]), _asking(lambda: call_rest(f"http://{_server()}", "/v2")), 40
        ),
        "answers of Prometheus": Target(
            _answers([matrix, {"status": "error"}]),
            _asking(lambda: Prometheus(f"http://{_server()}").query_range("up", 0, 1, 1)),
            80,
        ),
        "metrics over HTTP": Target(_answers(["a 1"]), _asking(lambda: scrape(f"http://{_server()}/metrics")), 40),
        "refusals of the pipeline server": Target(
            documents([{"error": "a", "message": "b"}]), lambda body: _reason(body.decode("utf-8", "replace")), 60
        ),
    }


def _services() -> dict[str, Target]:
    pull = {
        "html_url": "https://a/b",
        "number": 1,
        "web_url": "c",
        "head": {"ref": "x"},
        "base": {"ref": "main"},
        "message": "no",
        "errors": [{"message": "m"}],
    }

    def find(provider: str) -> None:
        with environment({"GIT_PROVIDER": provider, "GIT_PASSWORD": "token", "GIT_API_URL": f"http://{_server()}"}):
            open_hosting("https://git.example/a/b.git").find("head", "main")

    listing = b"<ListBucketResult><Name>b</Name><Contents><Key>a.csv</Key><Size>4</Size></Contents></ListBucketResult>"

    def look() -> None:
        with environment(
            {"AWS_S3_ENDPOINT": f"http://{_server()}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        ):
            find_objects("s3://bucket/folder/")

    xml = st.tuples(
        st.sampled_from((200, 400, 403, 404)),
        st.just({"Content-Type": "application/xml"}),
        damaged([listing, b"<Error><Code>NoSuchKey</Code></Error>"]),
    )
    found = {
        f"answers of {provider}": Target(_answers([[pull], pull]), _asking(functools.partial(find, provider)), 40)
        for provider in ("github", "gitlab", "gitea")
    }
    return {**found, "answers of S3": Target(xml, _asking(look), 60)}
