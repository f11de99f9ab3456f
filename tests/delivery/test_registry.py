"""A real registry: logins, TLS, tokens, referrers, faults and intruders."""

import base64
import json
import socket
import threading
from pathlib import Path

import pytest
import requests
from delivery_registry import (
    PASSWORD,
    USER,
    Handler,
    proxy,
    run_registry,
    run_server,
    set_password,
    token_server,
    write_login,
)

from loopline.components.delivery import registry as registry_module
from loopline.components.delivery.build import build_image
from loopline.components.delivery.fetch import fetch_image, resolve
from loopline.components.delivery.oci import CONFIG, MANIFEST, Blob, Document, blob_descriptor
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.registry import Registry
from loopline.components.errors import InputError

EMPTY_CONFIG = b"{}"


def refused(model: Path, image: str) -> str:
    """Build into a registry that has to refuse; returns the one sentence."""
    with pytest.raises(InputError) as caught:
        build_image(model, image=image)
    assert "\n" not in str(caught.value) and PASSWORD not in str(caught.value)
    return str(caught.value)


def small_document(text: str, subject: Document | None = None) -> Document:
    layer = text.encode()
    return Document.build(
        MANIFEST,
        EMPTY_CONFIG,
        layer,
        config=blob_descriptor(CONFIG, EMPTY_CONFIG),
        layers=[blob_descriptor("text/plain", layer)],
        subject=subject.descriptor() if subject else None,
        artifactType="text/plain",
    )


def test_a_login_is_asked_for_and_a_wrong_or_expired_one_is_named(small_model, tmp_path, monkeypatch):
    with run_registry(tmp_path / "registry", login=True, memory=True) as running:
        image = running.image("models/late")
        assert f"Registry {running.host} wants a login and there is none for it" in refused(small_model, image)
        login = write_login(tmp_path / "auth.json", running.host)
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(login))
        pushed = build_image(small_model, image=image)
        fetch_image(pushed, tmp_path / "fetched")
        write_login(login, running.host, password="no longer")
        assert f"refuses the login in {login}: it is wrong or has expired" in refused(small_model, image)
        write_login(login, running.host)
        build_image(small_model, image=image)
        set_password(tmp_path / "registry", "a newer one")
        assert f"refuses the login in {login}: it is wrong or has expired" in refused(small_model, image)
        write_login(login, "other.example.com")
        assert "wants a login and there is none for it" in refused(small_model, image)


def test_tokens_are_fetched_and_a_refused_login_is_named(small_model, tmp_path, monkeypatch):
    folder = tmp_path / "registry"
    passwords = {USER: PASSWORD}
    with (
        run_server(token_server(folder, passwords)) as issuer,
        run_registry(folder, tokens=f"http://{issuer}", memory=True) as running,
    ):
        image = running.image("models/late")
        assert "wants a login and there is none for it" in refused(small_model, image)
        login = write_login(tmp_path / "auth.json", running.host)
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(login))
        fetch_image(build_image(small_model, image=image), tmp_path / "fetched")
        passwords[USER] = "a newer one"
        assert f"refuses the login in {login}: it is wrong or has expired" in refused(small_model, image)


def test_a_token_server_without_encryption_gets_no_login(tmp_path, monkeypatch):
    class Insecure(Handler):
        def do_GET(self):
            self.send(401, WWW_Authenticate='Bearer realm="http://tokens.example.com/token",service="models"')

    with run_server(Insecure) as host:
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(write_login(tmp_path / "auth.json", host)))
        with pytest.raises(InputError, match=r"token server without encryption \(tokens.example.com\)"):
            resolve(f"docker://{host}/models/late:v1")


def test_a_login_that_may_only_read_is_told_so(small_model, tmp_path, monkeypatch):
    folder = tmp_path / "registry"
    with (
        run_server(token_server(folder, {USER: PASSWORD}, rights="pull")) as issuer,
        run_registry(folder, tokens=f"http://{issuer}", memory=True) as running,
    ):
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(write_login(tmp_path / "auth.json", running.host)))
        message = refused(small_model, running.image("models/late"))
    assert f"Registry {running.host} does not let this login write to models/late" in message


@pytest.mark.parametrize(
    ("realm", "sentence"),
    [
        (
            "http://127.0.0.1:1/token",
            r"The token server 127.0.0.1:1 of registry .* cannot be asked \(Connection refused\)",
        ),
        ("http://[/token", "names no token server there could be"),
        ("http://{host}/token", "answered HTTP 200 without a token"),
    ],
)
def test_a_token_server_that_is_none_is_named(realm, sentence, tmp_path, monkeypatch):
    class Registry(Handler):
        def do_GET(self):
            if self.path.startswith("/token"):
                self.send(200, b"[]")
            else:
                challenge = f'Bearer realm="{realm.format(host=host)}",service="models"'
                self.send(401, WWW_Authenticate=challenge)

    with run_server(Registry) as host:
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(write_login(tmp_path / "auth.json", host)))
        with pytest.raises(InputError, match=sentence):
            resolve(f"docker://{host}/models/late:v1")


def test_a_token_server_gets_the_login_of_the_registry_and_no_other(tmp_path, monkeypatch):
    """The libraries below would let .netrc win."""
    seen = []

    class Registry(Handler):
        def do_GET(self):
            if self.path.startswith("/token"):
                seen.append(self.headers["Authorization"])
            self.send(401, WWW_Authenticate=f'Bearer realm="http://{host}/token",service="models"')

    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with run_server(Registry) as host:
        for login in (write_login(tmp_path / "auth.json", host), write_login(tmp_path / "none.json", "elsewhere")):
            monkeypatch.setenv("REGISTRY_AUTH_FILE", str(login))
            with pytest.raises(InputError, match="login"):
                resolve(f"docker://{host}/models/late:v1")
    assert seen == [f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}", None]


def test_only_a_known_authority_is_trusted_and_only_with_tls(small_model, tmp_path, monkeypatch):
    with run_registry(tmp_path / "registry", tls=True, login=True, memory=True) as running:
        image = running.image("models/late")
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(write_login(tmp_path / "auth.json", running.host)))
        assert f"The certificate of {running.host} is not trusted: set SSL_CERT_FILE" in refused(small_model, image)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "registry" / "ca.pem"))
        fetch_image(build_image(small_model, image=image), tmp_path / "fetched")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere.pem"))
        assert "the file that SSL_CERT_FILE names is missing" in refused(small_model, image)


def test_nothing_is_sent_where_a_registry_leads_out_of_tls(tmp_path, monkeypatch):
    """As one does behind a proxy that tells it the wrong scheme: the header is what such a proxy adds."""
    with run_registry(tmp_path / "registry", tls=True) as running:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "registry" / "ca.pem"))
        store, sent = Registry(running.host, "models/late"), []
        store._session.headers["X-Forwarded-Proto"] = "http"
        send = requests.Session.send
        monkeypatch.setattr(
            requests.Session, "send", lambda self, request, **k: sent.append(request.url) or send(self, request, **k)
        )
        with pytest.raises(InputError, match="leads to a connection without encryption"):
            store.push_blob(Blob.of(b"secret"))
    assert sent and all(address.startswith("https://") for address in sent)


def test_a_registry_without_tls_is_no_registry_elsewhere(small_model):
    with socket.create_server(("127.0.0.2", 0)) as server:
        host = f"127.0.0.2:{server.getsockname()[1]}"

        def answer():
            connection, _ = server.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=lambda: [answer() for _ in range(9)], daemon=True)
        thread.start()
        assert f"{host} does not speak TLS as it should" in refused(small_model, f"docker://{host}/a/b")


@pytest.mark.parametrize(
    ("host", "reason"),
    [("127.0.0.1:1", "Connection refused"), ("no-such-host.invalid", "Name or service not known")],
)
def test_a_registry_that_is_not_there_is_named(host, reason, small_model, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    message = refused(small_model, f"docker://{host}/models/late")
    assert f"Registry {host} cannot be reached ({reason}): check the reference" in message


def test_a_missing_tag_and_a_missing_image_are_told_apart_from_errors(registry, tmp_path):
    with pytest.raises(InputError, match=r"There is no image docker://.*:v9 in"):
        resolve(registry.image("models/none:v9"))
    missing = registry.image("models/none@sha256:" + "0" * 64)
    with pytest.raises(InputError, match=r"There is no image sha256:0000"):
        fetch_image(missing, tmp_path / "fetched")


def test_referrers_are_listed_under_the_tag_of_their_subject(registry):
    store = Registry(registry.host, "listed")
    subject = small_document("subject")
    store.push_manifest(subject)
    assert store.referrers(subject.digest) == []
    first, second = (small_document(text, subject) for text in ("first", "second"))
    for document in (first, second, first):
        store.push_manifest(document)
    listed = store.referrers(subject.digest)
    assert [entry["digest"] for entry in listed] == [first.digest, second.digest]
    assert {entry["artifactType"] for entry in listed} == {"text/plain"}
    tag = subject.digest.replace(":", "-")
    headers = {"Accept": "application/vnd.oci.image.index.v1+json"}
    index = requests.get(f"http://{registry.host}/v2/listed/manifests/{tag}", headers=headers, timeout=5)
    assert index.json()["manifests"] == listed


def test_referrers_attached_at_once_are_all_listed(registry):
    subject = small_document("crowded")
    Registry(registry.host, "crowded").push_manifest(subject)
    documents = [small_document(f"referrer {number}", subject) for number in range(6)]
    start, problems = threading.Barrier(len(documents)), []

    def attach(document: Document) -> None:
        store = Registry(registry.host, "crowded")
        start.wait()
        try:
            store.push_manifest(document)
        except InputError as error:
            problems.append(str(error))

    threads = [threading.Thread(target=attach, args=(document,)) for document in documents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listed = {entry["digest"] for entry in Registry(registry.host, "crowded").referrers(subject.digest)}
    assert problems == [] and listed == {document.digest for document in documents}


def test_a_registry_that_lists_referrers_itself_is_asked(registry):
    """Debian's registry cannot: a proxy before it answers that one request, in two pages."""
    subject = small_document("paged")
    listed = [small_document(text, subject).descriptor() for text in ("first", "second")]

    def answer(request: Handler) -> bool:
        if "/referrers/" not in request.path:
            return False
        page = int("page=2" in request.path)
        headers = {} if page else {"Link": f'</v2/paged/referrers/{subject.digest}?page=2>; rel="next"'}
        request.send(200, json.dumps({"manifests": [listed[page]]}).encode(), **headers)
        return True

    with run_server(proxy(registry.host, answer)) as host:
        store = Registry(host, "paged")
        store.push_manifest(subject)
        store.push_manifest(small_document("first", subject))
        assert store.referrers(subject.digest) == listed
    assert Registry(registry.host, "paged").referrers(subject.digest) == []


def test_an_upload_that_breaks_is_sent_again(registry, monkeypatch):
    monkeypatch.setattr(registry_module, "SETTLE_S", (0.0, 0.01))
    faults = {"PUT": 1, "POST": 1}

    def answer(request: Handler) -> bool:
        if "/blobs/uploads/" in request.path and faults.get(request.command):
            faults[request.command] -= 1
            request.send(503, b'{"errors": [{"code": "UNAVAILABLE", "message": "later"}]}')
            return True
        return False

    blob = Blob.of(b"x" * 3_000_000)
    with run_server(proxy(registry.host, answer)) as host:
        store = Registry(host, "broken")
        store.push_blob(blob)
        assert faults == {"PUT": 0, "POST": 0} and store.has_blob(blob.digest)
        faults["POST"] = 99
        with pytest.raises(InputError, match=r"failed 3 times \(HTTP 503 \(UNAVAILABLE: later\)\): try again later"):
            store.push_blob(Blob.of(b"another"))
        assert not store.has_blob(Blob.of(b"another").digest)


def test_a_right_that_is_missing_is_named(registry, small_model):
    def answer(request: Handler) -> bool:
        if request.command != "POST":
            return False
        request.send(403, b'{"errors": [{"code": "DENIED", "message": "read only"}]}')
        return True

    with run_server(proxy(registry.host, answer)) as host:
        message = refused(small_model, f"docker://{host}/models/late")
    assert f"Registry {host} does not let this login write to models/late (DENIED: read only)" in message


def test_a_registry_that_answers_something_else_is_caught(registry, small_model, tmp_path):
    image = build_image(small_model, image=registry.image("models/swapped"), version=1)
    other = build_image(small_model, image=registry.image("models/swapped"), version=2)
    digests = [ImageReference.parse(one).digest for one in (image, other)]

    def answer(request: Handler) -> bool:
        request.path = request.path.replace(*digests)
        return False

    with (
        run_server(proxy(registry.host, answer)) as host,
        pytest.raises(InputError, match=f"answers {digests[1]} when it is asked for {digests[0]}: the image was tam"),
    ):
        fetch_image(f"oci://{host}/models/swapped@{digests[0]}", tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_a_tag_that_is_moved_does_not_move_the_image(registry, small_model, tmp_path):
    first = build_image(small_model, image=registry.image("models/moved"), version=1)
    second = build_image(small_model, image=registry.image("models/moved:v1"), version=2)
    assert resolve(registry.image("models/moved:v1")) == second != first
    assert fetch_image(first, tmp_path / "first").version == 1
    both = registry.image("models/moved:v1@" + ImageReference.parse(first).digest)
    assert fetch_image(both, tmp_path / "both").version == 1
    with pytest.raises(InputError, match="is not named by digest"):
        fetch_image(registry.image("models/moved:v1"), tmp_path / "tag")


def test_a_changed_byte_in_the_registry_is_found(small_model, tmp_path):
    with run_registry(tmp_path / "registry") as running:
        image = build_image(small_model, image=running.image("models/changed"), version=1)
        store = Registry(running.host, "models/changed")
        index = store.get_manifest(ImageReference.parse(image).digest)
        document = store.get_manifest(index.content["manifests"][0]["digest"])
        for descriptor in (
            *document.content["layers"],
            document.content["config"],
            document.descriptor(),
            index.descriptor(),
        ):
            blob = running.blob(descriptor["digest"])
            original = blob.read_bytes()
            changed = bytearray(original)
            changed[len(changed) // 2] ^= 1
            blob.write_bytes(changed)
            with pytest.raises(InputError) as caught:
                fetch_image(image, tmp_path / "fetched")
            message = str(caught.value)
            # The registry notices itself when it is a manifest that was changed.
            assert "tampered with" in message or "answered HTTP" in message or "is not a JSON object" in message, (
                message
            )
            assert not (tmp_path / "fetched").exists() and not list(tmp_path.glob(".fetched*"))
            blob.write_bytes(original)
        fetch_image(image, tmp_path / "fetched")
