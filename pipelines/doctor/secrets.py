"""The secrets that the steps read: which there are and what keys they have. No value is shown or kept."""

import base64
import difflib
from collections.abc import Iterator

from loopline.components.errors import InputError
from loopline.pipelines.doctor.features import Compiled, values
from loopline.pipelines.doctor.findings import PROBLEM, WARNING, Finding, failure, ok, problem, skipped, warning
from loopline.pipelines.doctor.kubernetes_api import DeniedError, NoClusterError
from loopline.pipelines.doctor.settings import Settings

#: Keys of which one is of no use without the others.
_TOGETHER = {
    "loopline-s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "loopline-mlflow": ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
    "loopline-git": ("password",),
}
_PULL_SECRET, _PULL_KEY = "kubernetes.io/dockerconfigjson", ".dockerconfigjson"


def check(settings: Settings) -> Iterator[Finding]:
    """Check the secrets of the pipelines' namespace."""
    cluster = settings.cluster
    try:
        cluster.open()
        compiled = settings.read_compiled()
        for name in sorted({name for pipeline in compiled for name in pipeline.secrets}):
            readers = [pipeline.name for pipeline in compiled if name in pipeline.secrets]
            found = cluster.get(f"/api/v1/namespaces/{cluster.namespace}/secrets/{name}")
            if found is None:
                yield skipped(name, f"not set: read by {', '.join(readers)}")
            elif keys := _keys(compiled, name):
                yield _secret(name, found.get("data") or {}, keys, cluster.namespace)
            else:
                yield _pull_secret(name, found)
    except NoClusterError:
        yield skipped("secrets", "no cluster: needed only to run pipelines on one")
    except DeniedError:
        yield skipped("secrets", f"this account may not read the secrets of {cluster.namespace}")
    except InputError as error:
        yield failure("secrets", error, PROBLEM if settings.place.in_cluster else WARNING)


def _keys(compiled: list[Compiled], secret: str) -> list[str]:
    """Return the keys of a secret that any step reads into its environment; none where it is mounted as files."""
    read = "platforms.kubernetes.deploymentSpec.executors.*.secretAsEnv.*"
    entries = [entry for pipeline in compiled for entry in values(pipeline.platform, read)]
    return sorted({key for e in entries if e["secretName"] == secret for key in values(e, "keyToEnv.*.secretKey")})


def _pull_secret(name: str, found: dict) -> Finding:
    keys = sorted(found.get("data") or {})
    if found.get("type") == _PULL_SECRET and _PULL_KEY in keys:
        return ok(name, f"{_PULL_KEY}")
    return problem(
        name, f"it is of type {found.get('type')} with {', '.join(keys) or 'no key'}",
        f"Make it anew: `oc create secret docker-registry {name} --docker-server=HOST --docker-username=USER "
        "--docker-password=...`.",
    )  # fmt: skip


def _secret(name: str, data: dict[str, str], known: list[str], namespace: str) -> Finding:
    keys = sorted(data)
    edit = f"oc edit secret {name} -n {namespace}"
    missing = [key for key in _TOGETHER.get(name, ()) if key not in keys]
    if len(missing) == 1:
        return problem(
            name, f"{', '.join(keys) or 'no key'}: {missing[0]} is missing", f"Add the key {missing[0]}: `{edit}`."
        )
    if empty := [key for key in keys if not _text(data[key])]:
        return warning(name, f"empty: {', '.join(empty)}", f"Fill it or take it out: `{edit}`.")
    if broken := [key for key in keys if key in known and _ends_with_newline(data[key])]:
        return warning(
            name, f"ends with a line break, as `echo` writes it: {', '.join(broken)}",
            f"Make it anew with `printf %s` or --from-literal: `{edit}`.",
        )  # fmt: skip
    if unknown := [key for key in keys if key not in known]:
        close = {key: difflib.get_close_matches(key, known, n=1) for key in unknown}
        hints = [f"{key} (meant {match[0]}?)" if match else key for key, match in close.items()]
        if any(close.values()):
            return warning(name, f"no step reads {', '.join(hints)}", f"Rename the key: `{edit}`.")
        read = ", ".join(key for key in keys if key in known) or "no key that is read"
        return ok(name, f"{read}; not read: {', '.join(unknown)}")
    return ok(name, ", ".join(keys) or "no key")


def _text(value: str | None) -> bytes:
    return base64.b64decode(value or "")


def _ends_with_newline(value: str) -> bool:
    text = _text(value)
    # A key in PEM is a text of several lines.
    return text.endswith(b"\n") and text.count(b"\n") == 1
