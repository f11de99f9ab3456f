"""What Tekton does with an event and with a task, as far as a machine without a cluster can do it.

The filters are evaluated by cel-python with Triggers' own functions, written after its documentation
(https://tekton.dev/docs/triggers/cel_expressions/); GitHub's and GitLab's proofs of the secret likewise.
"""

import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
from urllib.parse import parse_qs, urlparse

import pytest
from deploy_sites import one

SECRETS = {"alertmanager": "of-alertmanager", "git": "of-git", "registry": "Bearer of-the-registry", "quay": "of-quay"}


def _evaluate(expression: str, body: dict, headers: dict, url: str) -> object:
    celpy = pytest.importorskip("celpy", reason="cel-python is not installed")
    canonical = {name.lower(): value for name, value in headers.items()}

    def compare_secret(text, key, name):
        assert str(name) == "loopline-webhooks"
        return celpy.celtypes.BoolType(hmac.compare_digest(str(text), SECRETS[str(key)]))

    def parse_url(text):
        query = {k: ",".join(v) for k, v in parse_qs(urlparse(str(text)).query).items()}
        return celpy.json_to_cel({"query": query})

    functions = {
        "canonical": lambda _, name: celpy.celtypes.StringType(canonical.get(str(name).lower(), "")),
        "compareSecret": compare_secret,
        "parseURL": parse_url,
        "split": lambda text, by: celpy.json_to_cel(str(text).split(str(by))),
    }
    environment = celpy.Environment()
    program = environment.program(environment.compile(expression), functions=functions)
    variables = {"body": body, "header": {name: [value] for name, value in headers.items()}, "requestURL": url}
    try:
        return program.evaluate({name: celpy.json_to_cel(value) for name, value in variables.items()})
    except celpy.CELEvalError:
        return False  # Triggers drops an event whose filter cannot be evaluated.


def _proven(interceptor: dict, body: dict, headers: dict) -> bool:
    """Whether GitHub or GitLab sent this, and it is of the kind that the trigger is for."""
    values = {p["name"]: p["value"] for p in interceptor["params"]}
    secret = SECRETS[values["secretRef"]["secretKey"]]
    if interceptor["ref"]["name"] == "github":
        signature = "sha256=" + hmac.new(secret.encode(), json.dumps(body).encode(), hashlib.sha256).hexdigest()
        proof, kind = headers.get("X-Hub-Signature-256") == signature, headers.get("X-GitHub-Event")
    else:
        proof, kind = headers.get("X-Gitlab-Token") == secret, headers.get("X-Gitlab-Event")
    return proof and kind in values["eventTypes"]


def _fill_in(text: str, extensions: dict[str, str]) -> str:
    return re.sub(r"\$\(extensions\.(\w+)\)", lambda found: extensions[found[1]], text)


def run_parameters(manifests: list[dict], body: dict, headers: dict, url: str = "http://el/") -> dict[str, dict]:
    """Return the parameters of the runs that an event makes, by trigger."""
    bindings = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "TriggerBinding"}
    started = {}
    for trigger in one(manifests, "EventListener")["spec"]["triggers"]:
        *provers, cel = trigger["interceptors"]
        values = {p["name"]: p["value"] for p in cel["params"]}
        if not all(_proven(p, body, headers) for p in provers) or not _evaluate(values["filter"], body, headers, url):
            continue
        extensions = {o["key"]: str(_evaluate(o["expression"], body, headers, url)) for o in values["overlays"]}
        params = [p for b in trigger["bindings"] for p in bindings[b["ref"]]["spec"]["params"]]
        started[trigger["name"]] = {p["name"]: _fill_in(p["value"], extensions) for p in params}
    return started


def run_task(task: dict, parameters: dict, result=None, folders: dict | None = None) -> subprocess.CompletedProcess:
    """Run a task's step: its command and words, with what Tekton puts in the place of the variables.

    Args:
        task: The task.
        parameters: What it is given.
        result: The file of its result.
        folders: What lies where it has its volumes, by the path there.
    """
    values = {p["name"]: p["default"] for p in task["spec"]["params"] if "default" in p} | parameters
    (step,) = task["spec"]["steps"]

    def fill_in(text: str) -> str:
        text = re.sub(r"\$\(params\.([\w-]+)\)", lambda found: values[found[1]], text)
        for path, folder in (folders or {}).items():
            text = text.replace(path, str(folder))
        return re.sub(r"\$\(results\.[\w-]+\.path\)", str(result), text)

    command = [fill_in(word) for word in [*step["command"], *step["args"]]]
    assert command[0] == "python"
    home = {entry["name"]: entry["value"] for entry in step["env"] if entry["name"] != "HOME"}
    return subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, env=os.environ | home)
