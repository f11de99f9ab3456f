"""Logins from the files that container tools write."""

import base64
import json
import os

import pytest

from loopline.components.delivery import credentials
from loopline.components.delivery.credentials import load_credentials
from loopline.components.errors import InputError

HOST = "registry.example.com:5000"


def auth(text: str) -> dict:
    return {"auth": base64.b64encode(text.encode()).decode()}


def write(path, content) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return str(path)


def test_files_are_read_in_order(tmp_path, monkeypatch):
    assert load_credentials(HOST, "a/b") is None
    order = []
    for name in ("home", "podman", "mounted", "docker", "named"):
        place = {
            "home": tmp_path / ".docker" / "config.json",
            "podman": tmp_path / "run" / "containers" / "auth.json",
            "mounted": tmp_path / "secret" / ".dockerconfigjson",
            "docker": tmp_path / "docker" / "config.json",
            "named": tmp_path / "named.json",
        }[name]
        write(place, {"auths": {HOST: auth(f"{name}:pass:word")}})
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
        monkeypatch.setattr(credentials, "MOUNTED", tmp_path / "secret" / ".dockerconfigjson")
        if name == "docker":
            monkeypatch.setenv("DOCKER_CONFIG", str(place.parent))
        if name == "named":
            monkeypatch.setenv("REGISTRY_AUTH_FILE", str(place))
        found = load_credentials(HOST, "a/b")
        order.append((found.user, found.password, found.source))
        assert order[-1] == (name, "pass:word", str(place))
    # A file without a login for the host leaves it to the next one.
    write(tmp_path / "named.json", {"auths": {"other.example.com": auth("a:b")}})
    assert load_credentials(HOST, "a/b").user == "docker"


@pytest.mark.parametrize(
    ("key", "host", "repository"),
    [
        (HOST, HOST, "a/b"),
        (f"https://{HOST}/v2/", HOST, "a/b"),
        (f"{HOST}/a", HOST, "a/b"),
        (f"{HOST}/a/b", HOST, "a/b"),
        ("https://index.docker.io/v1/", "docker.io", "a/b"),
        ("docker.io", "registry-1.docker.io", "a/b"),
    ],
)
def test_hosts_are_named_in_several_ways(key, host, repository, tmp_path, monkeypatch):
    monkeypatch.setenv("REGISTRY_AUTH_FILE", write(tmp_path / "auth.json", {"auths": {key: auth("user:secret")}}))
    assert load_credentials(host, repository).password == "secret"
    assert load_credentials("elsewhere.example.com", repository) is None


def test_the_most_specific_login_wins(tmp_path, monkeypatch):
    logins = {HOST: auth("host:1"), f"{HOST}/team": auth("team:2"), f"{HOST}/team/late": auth("late:3")}
    monkeypatch.setenv("REGISTRY_AUTH_FILE", write(tmp_path / "auth.json", {"auths": logins}))
    found = [load_credentials(HOST, name).user for name in ("other/late", "team/early", "team/late")]
    assert found == ["host", "team", "late"]


def test_user_and_token_are_read_and_never_shown(tmp_path, monkeypatch):
    logins = {HOST: {"username": "u", "password": "s3cret"}, "t.example.com": {"auth": "", "identitytoken": "t0ken"}}
    monkeypatch.setenv("REGISTRY_AUTH_FILE", write(tmp_path / "auth.json", {"auths": logins}))
    user, token = load_credentials(HOST, "a"), load_credentials("t.example.com", "a")
    assert (user.user, user.password, token.identity_token) == ("u", "s3cret", "t0ken")
    assert "s3cret" not in repr(user) and "t0ken" not in repr(token)


def test_a_helper_is_asked(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    helper = programs / "docker-credential-vault"
    helper.write_text('#!/bin/sh\nread host\necho "{\\"Username\\": \\"$1\\", \\"Secret\\": \\"of $host\\"}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    file = write(tmp_path / "auth.json", {"credHelpers": {HOST: "vault"}})
    monkeypatch.setenv("REGISTRY_AUTH_FILE", file)
    found = load_credentials(HOST, "a")
    assert (found.user, found.password, found.source) == ("get", f"of {HOST}", "docker-credential-vault")
    helper.write_text('#!/bin/sh\necho "{\\"Username\\": \\"<token>\\", \\"Secret\\": \\"refresh\\"}"\n')
    assert load_credentials(HOST, "a").identity_token == "refresh"
    helper.write_text("#!/bin/sh\nexit 1\n")
    assert load_credentials(HOST, "a") is None
    helper.unlink()
    with pytest.raises(InputError, match=r"docker-credential-vault, which .*auth.json names, does not work"):
        load_credentials(HOST, "a")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("not json", r"cannot be read \(JSONDecodeError\)"),
        ("[]", r"cannot be read \(it is no JSON object\)"),
        (f'{{"auths": {{"{HOST}": {{"auth": "%%%"}}}}}}', "is not base64 of user:password"),
        (f'{{"auths": {{"{HOST}": {{"auth": "\u00e9"}}}}}}', "is not base64 of user:password"),
        (f'{{"auths": {{"{HOST}": "secret"}}}}', "is not what container tools write"),
        (f'{{"auths": {{"{HOST}": {{"username": 1}}}}}}', "is not what container tools write"),
        ('{"auths": ["secret"]}', "auths and credHelpers are JSON objects"),
    ],
)
def test_a_file_that_is_no_login_is_named(text, sentence, tmp_path, monkeypatch):
    (tmp_path / "auth.json").write_text(text)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    with pytest.raises(InputError, match=sentence):
        load_credentials(HOST, "a")


def test_a_named_file_has_to_be_there(monkeypatch):
    monkeypatch.setenv("REGISTRY_AUTH_FILE", "/nowhere/auth.json")
    with pytest.raises(InputError, match=r"REGISTRY_AUTH_FILE names /nowhere/auth.json, which is not a file"):
        load_credentials(HOST, "a")
