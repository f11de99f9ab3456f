"""Real registries, each with something wrong; what the doctor says to do is done, and then it is right."""

import pytest
from delivery_registry import PASSWORD, USER, run_registry, run_server, token_server, write_login
from doctor_runs import doctor


def _uploads(folder) -> list:
    """Return what was uploaded and not canceled; the empty folders of what was, this registry keeps."""
    return list(folder.rglob("_uploads/*/data"))


def test_a_registry_without_login_takes_a_push_and_keeps_nothing(tmp_path):
    with run_registry(tmp_path / "registry") as registry:
        examined = doctor("registry", "--registry", registry.image("models/late"))
        assert examined.status == 0
        assert examined.of("registry")["seen"] == f"{registry.host} answers without a login"
        assert "an upload was begun and given up" in examined.of("push")["seen"]
        assert _uploads(registry.data) == []
        read_only = doctor("registry", "--read-only", "--registry", registry.image("models/late"))
        assert read_only.of("push") | {"area": ""} == {
            "area": "", "state": "skipped", "title": "push", "seen": "--read-only", "mend": "",
        }  # fmt: skip


def test_a_missing_and_a_wrong_login_are_mended_as_told(tmp_path):
    with run_registry(tmp_path / "registry", login=True) as registry:
        words = ("registry", "--registry", registry.image("models/late"))
        missing = doctor(*words)
        assert missing.of("registry")["state"] == "problem"
        assert "wants a login and there is none" in missing.of("registry")["seen"]
        assert "set REGISTRY_AUTH_FILE to the file with the login" in missing.of("registry")["mend"]
        login = write_login(tmp_path / "auth.json", registry.host, USER, "wrong-canary-password")
        wrong = doctor(*words, REGISTRY_AUTH_FILE=str(login))
        assert f"refuses the login in {login}" in wrong.of("registry")["seen"]
        assert "wrong-canary-password" not in wrong.output
        write_login(login, registry.host, USER, PASSWORD)
        right = doctor(*words, REGISTRY_AUTH_FILE=str(login))
        assert right.status == 0
        assert right.of("logins")["seen"] == f"{registry.host} ({login})"
        assert f"with the login in {login}" in right.of("registry")["seen"]
        assert right.of("push")["state"] == "ok"


def test_an_unknown_authority_is_mended_by_naming_it(tmp_path):
    with run_registry(tmp_path / "registry", tls=True) as registry:
        words = ("registry", "--registry", registry.image("models/late"))
        unknown = doctor(*words)
        assert "is not trusted" in unknown.of("registry")["seen"]
        assert "set SSL_CERT_FILE to a file" in unknown.of("registry")["mend"].replace("Set", "set")
        assert doctor(*words, SSL_CERT_FILE=str(tmp_path / "registry" / "ca.pem")).status == 0


@pytest.mark.parametrize(("rights", "state"), [("pull", "problem"), ("pull,push", "ok")])
def test_a_login_that_may_only_pull_is_told_from_one_that_may_push(tmp_path, rights, state):
    with (
        run_server(token_server(tmp_path / "registry", {USER: PASSWORD}, rights)) as tokens,
        run_registry(tmp_path / "registry", tokens=f"http://{tokens}") as registry,
    ):
        login = write_login(tmp_path / "auth.json", registry.host)
        examined = doctor("registry", "--registry", registry.image("models/late"), REGISTRY_AUTH_FILE=str(login))
        assert examined.of("registry")["state"] == "ok"
        push = examined.of("push")
        assert push["state"] == state
        if state == "problem":
            assert "does not let this login write to models/late" in push["seen"]
            assert "Give it the right, or use another login." in push["mend"]


def test_a_registry_named_by_a_connection_is_asked(tmp_path):
    with run_registry(tmp_path / "registry") as registry:
        examined = doctor("registry", OCI_HOST=registry.host)
        assert examined.of("registry")["state"] == "ok"
        assert "--registry docker://HOST/NAME" in examined.of("push")["seen"]


def test_a_registry_that_is_not_there_and_a_file_that_is_none():
    away = doctor("registry", "--registry", "docker://127.0.0.1:9/models/late")
    assert away.of("registry")["seen"] == "http://127.0.0.1:9 does not answer (nothing listens there)"
    assert "--registry" in away.of("registry")["mend"]
    missing = doctor("registry", REGISTRY_AUTH_FILE="/nowhere/auth.json")
    assert "REGISTRY_AUTH_FILE names /nowhere/auth.json" in missing.of("logins")["seen"]


def test_signing_keys(tmp_path):
    assert doctor("registry").of("signing key")["state"] == "skipped"
    assert not (tmp_path / "home").exists(), "looking made a key"
    lost = doctor("registry", COSIGN_PRIVATE_KEY="/nowhere/cosign.key")
    assert lost.of("signing key")["state"] == "problem"
    assert "give its path" in lost.of("signing key")["mend"].lower()
