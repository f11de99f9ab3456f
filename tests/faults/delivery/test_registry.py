"""Faults between the steps of delivery and a real registry with a login, over TLS where nothing has to look inside.

Each fault meets a whole build: base, model, list of contents, signatures and tag. However it ends, the next one is
whole, has the same digest, and leaves nothing twice.
"""

import base64
import contextlib
import itertools
import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import delivery_kill
import pytest
import requests
from delivery_faults import call_apart
from delivery_registry import PASSWORD, USER, run_registry, write_login
from faults_proxy import HttpProxy, TcpProxy
from promoted_images import PREDICATE

from loopline.components.delivery import registry as registry_module
from loopline.components.delivery.attestation import attest_tested, verify_tested
from loopline.components.delivery.build import build_image
from loopline.components.delivery.fetch import fetch_image, resolve
from loopline.components.errors import InputError, TemporaryError

_REPOSITORIES = itertools.count(1)
_BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """See in a second what otherwise takes minutes; what is waited for is written down."""
    monkeypatch.setattr(registry_module, "TIMEOUT_S", (2, 1))
    monkeypatch.setattr(registry_module, "BACKOFF_S", 0.01)
    monkeypatch.setattr(registry_module, "SETTLE_S", (0.0, 0.001))


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A registry over TLS with a login, and the folder with its certificate."""
    folder = tmp_path_factory.mktemp("secured")
    with run_registry(folder, login=True, tls=True, memory=True) as running:
        yield running, folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A registry with a login that keeps its images on disk, so that it can be away and come back."""
    with run_registry(tmp_path_factory.mktemp("plain"), login=True) as running:
        yield running


@pytest.fixture
def broken(secured, monkeypatch, tmp_path):
    """The first registry behind a proxy."""
    running, folder = secured
    with TcpProxy(f"https://{running.host}") as proxy:
        monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
        _log_in(monkeypatch, tmp_path, proxy.url)
        yield proxy


@pytest.fixture
def moody(plain, monkeypatch, tmp_path):
    """The second registry behind a proxy that knows HTTP."""
    with HttpProxy(f"http://{plain.host}") as proxy:
        _log_in(monkeypatch, tmp_path, proxy.url)
        yield proxy


def _log_in(monkeypatch, folder: Path, url: str) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(write_login(folder / "auth.json", urlsplit(url).netloc)))


def new_repository(proxy) -> str:
    return f"docker://{urlsplit(proxy.url).netloc}/models/late-{next(_REPOSITORIES)}"


def tags(proxy, image: str, verify=None) -> list[str]:
    """What a repository lists: one tag of the image, of its signatures, its list of contents and its test."""
    answer = requests.get(
        f"{proxy.url}/v2/{image.split('/', 3)[3]}/tags/list", headers={"Authorization": _BASIC}, verify=verify
    )
    return sorted(answer.json()["tags"]) if answer.status_code == 200 else []


def build_until_whole(model, image: str, base: str = "") -> tuple[list[str], str]:
    """Build as KFP does, which tries a failed step again; returns what failed and the image."""
    failed = []
    while True:
        try:
            return failed, build_image(model, image, base, version=3)
        except TemporaryError as error:
            failed.append(str(error))
            assert len(failed) <= 2


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """A base of hardly any bytes, for faults that do not need some on their way."""
    return delivery_kill.small_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def key_home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def keys(key_home, monkeypatch):
    monkeypatch.setenv("LOOPLINE_HOME", str(key_home))


@dataclass(frozen=True)
class Expected:
    """What a build that nothing disturbs leaves."""

    digest: str
    tags: list[str]

    def check(self, built: str, listed: list[str], folder: Path) -> None:
        """An image is that one, nothing is there twice, and a reader gets all of it."""
        assert (built.partition("@")[2], listed) == (self.digest, self.tags)
        assert fetch_image(built, folder).digest == self.digest


@pytest.fixture(scope="module")
def expected(small_model, key_home, plain):
    return _build_undisturbed(small_model, "", key_home, plain)


@pytest.fixture(scope="module")
def expected_light(small_model, light, key_home, plain):
    return _build_undisturbed(small_model, light, key_home, plain)


def _build_undisturbed(model, base: str, home: Path, running) -> Expected:
    with pytest.MonkeyPatch.context() as patch, TcpProxy(f"http://{running.host}") as proxy:
        patch.setenv("LOOPLINE_HOME", str(home))
        _log_in(patch, home, proxy.url)
        image = new_repository(proxy)
        return Expected(build_image(model, image, base, version=3).partition("@")[2], tags(proxy, image))


@pytest.mark.parametrize(
    ("fault", "order"),
    [
        ("cut at once", {"cut": {"up": 1, "times": 1}}),
        ("cut while a layer is sent", {"cut": {"up": 400_000, "times": 1}}),
        ("answers cut", {"cut": {"down": 3_000, "times": 1}}),
        ("cut again and again", {"cut": {"down": 2_500, "times": 4}}),
        ("a layer gets stuck", {"stall": {"up": 400_000, "times": 1}}),
        ("an answer gets stuck", {"stall": {"down": 3_000, "times": 1}}),
        ("a slow line", {"slow": {"rate": 4_000_000}}),
    ],
)
def test_a_build_over_a_broken_line_is_whole(fault, order, broken, secured, expected, small_model, tmp_path):
    image, [(name, options)] = new_repository(broken), order.items()
    getattr(broken, name)(**options)
    failed, built = build_until_whole(small_model, image)
    assert broken.connections > options.get("times", 0)
    broken.heal()
    expected.check(built, tags(broken, image, secured[1] / "ca.pem"), tmp_path / "fetched")
    assert all("try again" in sentence and "\n" not in sentence for sentence in failed)


@pytest.mark.parametrize(("status", "method"), [(429, "POST"), (500, "PUT"), (503, "HEAD|GET")])
def test_a_registry_that_is_busy_is_left_alone_for_as_long_as_it_says(
    status, method, moody, expected_light, small_model, light, tmp_path, monkeypatch
):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    image = new_repository(moody)
    moody.answer(status, times=2, method=method, path="/v2/models/", retry_after="7")
    failed, built = build_until_whole(small_model, image, light)
    assert (moody.met, failed) == (2, [])
    assert sum(seconds == 7 for seconds in waited) == 2
    expected_light.check(built, tags(moody, image), tmp_path / "fetched")


@pytest.mark.parametrize(
    ("method", "retry_after"), [("HEAD|GET", "86400"), ("POST", "Fri, 31 Dec 2999 23:59:59 GMT"), ("POST", "soon")]
)
def test_a_registry_that_wants_to_be_left_alone_for_a_day_does_not_hold_up_a_step(
    method, retry_after, moody, small_model, light, monkeypatch
):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    moody.answer(503, method=method, path="/v2/models/", retry_after=retry_after)
    with pytest.raises(TemporaryError, match="HTTP 503"):
        build_image(small_model, new_repository(moody), light, version=3)
    assert sum(waited) <= 4 * registry_module.PATIENCE_S
    assert (max(waited) == registry_module.PATIENCE_S) == (retry_after != "soon")


def test_a_registry_that_reads_what_another_build_is_writing_is_asked_again(
    moody, expected_light, small_model, light, tmp_path
):
    """Debian's keeps its links in files that are empty for a moment while they are written, and then says this."""
    said = {"code": "DIGEST_INVALID", "message": "provided digest did not match uploaded content"}
    image = new_repository(moody)
    moody.answer(400, times=2, method="PUT", path="/manifests/", body=json.dumps({"errors": [said]}).encode())
    failed, built = build_until_whole(small_model, image, light)
    assert (moody.met, failed) == (2, [])
    expected_light.check(built, tags(moody, image), tmp_path / "fetched")


@pytest.mark.parametrize("times", [1, 3])
def test_writes_whose_answers_are_lost_are_done_once(times, moody, expected_light, small_model, light, tmp_path):
    image = new_repository(moody)
    moody.lose(times=times, method="POST|PUT")
    _, built = build_until_whole(small_model, image, light)
    assert moody.met == times
    expected_light.check(built, tags(moody, image), tmp_path / "fetched")


def test_an_answer_that_is_half_there_is_not_taken_for_a_whole_one(moody, expected_light, small_model, light, tmp_path):
    image = new_repository(moody)
    built = build_image(small_model, image, light, version=3)
    folder = tmp_path / "fetched"
    for path, times in (("manifests/", 2), ("blobs/", 1)):  # the first asks for a login, and that answer is halved, too
        moody.halve(times=times, method="GET", path=path)
        with pytest.raises(TemporaryError, match=r"broke after [\d,]+ bytes"):
            fetch_image(built, folder)
        assert moody.met == times
        assert list(tmp_path.glob("*fetch*")) == []
    expected_light.check(built, tags(moody, image), folder)


def test_a_fetch_over_a_broken_line_leaves_nothing(broken, expected, small_model, tmp_path):
    built, folder = build_image(small_model, new_repository(broken), version=3), tmp_path / "fetched"
    for order in (lambda: broken.cut(down=500_000), lambda: broken.stall(down=500_000)):
        order()
        with pytest.raises(TemporaryError, match="try again"):
            fetch_image(built, folder)
        assert list(tmp_path.glob("*fetch*")) == []
    broken.heal()
    assert fetch_image(built, folder).digest == expected.digest


def test_a_registry_that_goes_away_and_comes_back(plain, monkeypatch, expected, small_model, tmp_path):
    """It is killed while a layer is on its way, and its data are those of its disk when it comes back."""
    with TcpProxy(f"http://{plain.host}") as proxy:
        _log_in(monkeypatch, tmp_path, proxy.url)
        image = new_repository(proxy)
        proxy.stall(up=400_000)
        killer = threading.Timer(0.3, plain.down)
        killer.start()
        try:
            with pytest.raises(TemporaryError) as error:
                build_image(small_model, image, version=3)
            killer.join()
            proxy.heal()
            with pytest.raises(TemporaryError, match=r"cannot be reached|failed 3 times"):
                resolve(f"{image}:v3")
        finally:
            killer.join()
            plain.up()
        assert "\n" not in str(error.value)
        assert tags(proxy, image) == []
        built = build_image(small_model, image, version=3)
        expected.check(built, tags(proxy, image), tmp_path / "fetched")


def test_two_builds_at_once_are_one_image(plain, expected_light, small_model, light, tmp_path, monkeypatch):
    monkeypatch.setattr(registry_module, "SETTLE_S", (0.05, 0.15))
    with TcpProxy(f"http://{plain.host}") as proxy:
        _log_in(monkeypatch, tmp_path, proxy.url)
        image, found = new_repository(proxy), []
        builders = [
            threading.Thread(
                target=lambda: found.append(call_apart(lambda: build_image(small_model, image, light, version=3)))
            )
            for _ in range(2)
        ]
        for builder in builders:
            builder.start()
        for builder in builders:
            builder.join()
        assert [kind for kind, _ in found] == ["returned"] * 2, found
        assert found[0] == found[1]
        expected_light.check(found[0][1], tags(proxy, image), tmp_path / "fetched")


def test_a_test_result_whose_answer_is_lost_is_attached_once(moody, small_model, light):
    image = new_repository(moody)
    built = build_image(small_model, image, light, version=3)
    before = tags(moody, image)
    moody.lose(times=2, method="PUT", path="manifests")
    for _ in range(2):
        with contextlib.suppress(TemporaryError):
            attest_tested(built, PREDICATE)
    assert moody.met == 2
    attest_tested(built, PREDICATE)
    assert sorted(tags(moody, image)) == sorted(before)
    [attested] = [tag for tag in before if tag.endswith(".att")]
    host, name = urlsplit(moody.url).netloc, image.split("/", 3)[3]
    headers = {"Authorization": _BASIC, "Accept": "application/vnd.oci.image.manifest.v1+json"}
    attached = requests.get(f"http://{host}/v2/{name}/manifests/{attested}", headers=headers).json()
    assert len(attached["layers"]) == 2  # where the image comes from, and one result


@pytest.mark.parametrize("kind", ["layout", "registry"])
def test_a_test_result_killed_at_any_call_is_attached_by_the_next(kind, moody, small_model, light, tmp_path):
    died, deaths = True, 0
    while died:
        image = f"oci:{tmp_path}/layout-{deaths}" if kind == "layout" else new_repository(moody)
        built = build_image(small_model, image, light, version=3)
        child = os.fork()
        if not child:
            delivery_kill.die_after(deaths, tmp_path / "call")
            attest_tested(built, PREDICATE)
            os._exit(0)
        died = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        # Half a result is none.
        if (tmp_path / "call").read_text() == "nothing":
            with pytest.raises(InputError, match="test"):
                verify_tested(built)
        attest_tested(built, PREDICATE)
        assert verify_tested(built)["result"] == "PASSED"
        deaths += died
    assert deaths >= 3, "it was killed where it matters"


@pytest.mark.parametrize("clock_s", [-10 * 365 * 86_400, 10 * 365 * 86_400])
def test_a_wrong_clock_changes_nothing(clock_s, moody, expected_light, small_model, light, tmp_path):
    image = new_repository(moody)
    kind, built = call_apart(lambda: build_image(small_model, image, light, version=3), clock_s=clock_s)
    assert kind == "returned", built
    expected_light.check(built, tags(moody, image), tmp_path / "fetched")
