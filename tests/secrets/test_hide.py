"""What is hidden in a text, and what stays as it is."""

import base64
import logging
from urllib.parse import quote, quote_plus

import pytest

from loopline.components import secrecy
from loopline.components.errors import InputError
from loopline.components.secrecy import hide, remember

PASSWORD = "p/w+ &x%1=longer"
FORMS = {
    "plain": str,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 behind a user": lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    "base64 behind another user": lambda text: base64.urlsafe_b64encode(f"admin:{text}".encode()).decode(),
    "quoted": lambda text: quote(text, safe=""),
    "quoted as a form": quote_plus,
    "every character quoted": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "in an address": lambda text: f"https://user:{quote(text, safe='')}@host/x",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_of_the_environment_is_hidden(form):
    text = f"it said {FORMS[form](PASSWORD)}, and more"
    shown = hide(text, {"MLFLOW_TRACKING_PASSWORD": PASSWORD})
    assert shown.startswith("it said ")
    assert shown.endswith((", and more", "***", "host/x, and more"))
    for piece in (PASSWORD, FORMS[form](PASSWORD)[:-2], "longer"):
        assert piece not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Basic dXNlcjpwYXNzd29yZDE=", "Authorization: Basic ***"),
        ("authorization: bearer eyJhbGciOiJ9.e30.x-y_z1", "authorization: bearer ***"),
        ("http://host/x?X-Amz-Signature=abc1&n=1", "http://host/x?X-Amz-Signature=***&n=1"),
        ("http://host/x?sv=1&sig=abc%3D", "http://host/x?sv=1&sig=***"),
        ("https://user:p@ss@host/x", "https://host/x"),
        ("Registry x wants Basic authentication: log in", "Registry x wants Basic authentication: log in"),
        ("docker://host/n@sha256:0123456789abcdef", "docker://host/n@sha256:0123456789abcdef"),
        ("the token of this account", "the token of this account"),
    ],
)
def test_logins_and_signatures_are_hidden_whoevers_they_are(text, shown):
    assert hide(text, {}) == shown


def test_secrets_of_other_kinds_are_known():
    environment = {
        "HTTPS_PROXY": "http://me:pr%40xypass@proxy:3128",
        "COSIGN_PRIVATE_KEY": "-----BEGIN KEY-----\nMIIBabcd\nefgh1234\n-----END KEY-----",
        "KF_PIPELINES_SA_TOKEN_PATH": "/var/run/token",
        "TOKENIZERS_PARALLELISM": "false",
        "SECRET_SERVICE_PORT": "8443",
    }
    shown = hide("pr@xypass pr%40xypass MIIBabcd efgh1234 /var/run/token false 8443", environment)
    assert shown == "*** *** *** *** /var/run/token false 8443"


def test_what_was_read_from_a_file_is_hidden(monkeypatch):
    monkeypatch.setattr(secrecy, "_read", set())
    assert hide("the word of a file", {}) == "the word of a file"
    assert remember("word of a") == "word of a"
    assert hide("the word of a file", {}) == "the *** file"


def test_messages_and_log_lines_are_hidden(monkeypatch, caplog):
    monkeypatch.setenv("GIT_PASSWORD", "hunter22")
    assert str(InputError("It said hunter22.")) == "It said ***."
    assert str(InputError()) == ""
    with caplog.at_level(logging.INFO, "loopline"):
        logging.getLogger("loopline").info("%s says %r", "git", "hunter22")
    assert "hunter22" not in caplog.text
    assert "git says '***'" in caplog.text
