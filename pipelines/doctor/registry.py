"""The registry of model images: the logins, whether it answers and takes a push, and the keys that sign."""

import os
from collections.abc import Iterator

from loopline.components.delivery.credentials import load_credentials, login_hosts
from loopline.components.delivery.keys import load_keys
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.registry import Registry
from loopline.components.environment import home, home_is_kept
from loopline.components.errors import InputError
from loopline.pipelines.doctor.findings import PROBLEM, WARNING, Finding, failure, ok, skipped
from loopline.pipelines.doctor.network import contact
from loopline.pipelines.doctor.settings import Settings

_TITLE = "registry"


def check(settings: Settings) -> Iterator[Finding]:
    """Check the logins, the registry that is named, and the signing keys."""
    yield _logins()
    named = settings.registry or _of_connection()
    if named:
        yield from _registry(named, settings.read_only)
    else:
        yield skipped(
            _TITLE, "none named: needed only to deliver to a cluster; name one with --registry docker://HOST/NAME"
        )
    yield _keys()


def _of_connection() -> str:
    """Return the registry that a connection of OpenShift AI names in the environment."""
    host = os.environ.get("OCI_HOST", "").removeprefix("https://").strip("/")
    return f"docker://{host}" if host else ""


def _logins() -> Finding:
    try:
        hosts = login_hosts()
    except InputError as error:
        return failure("logins", error)
    if not hosts:
        return skipped("logins", "none: needed only for registries that ask for one; podman login HOST makes one")
    return ok("logins", ", ".join(f"{host} ({file})" for host, file in hosts.items()))


def _registry(named: str, read_only: bool) -> Iterator[Finding]:
    try:
        reference = read_reference(named)
    except InputError as error:
        yield failure(_TITLE, error)
        return
    if reference.kind != "registry":
        yield ok(_TITLE, f"{named} is a folder: no registry is needed")
        return
    registry, name = Registry(reference.location, reference.repository), f"{reference.location}/{reference.repository}"
    try:
        contact(f"{registry.address}/v2/", "--registry")
        login = load_credentials(reference.location, reference.repository)
        registry.get_manifest("loopline-doctor")
    except InputError as error:
        yield failure(_TITLE, error)
        return
    who = f"with the login in {login.source}" if login else "without a login"
    yield ok(_TITLE, f"{reference.location} answers {who}")
    if _is_host(named):
        yield skipped("push", "no repository named: --registry docker://HOST/NAME shows whether images may be pushed")
    elif read_only:
        yield skipped("push", "--read-only")
    else:
        yield _push(registry, name)


def read_reference(named: str) -> ImageReference:
    """Read which registry to look at.

    Args:
        named: ``docker://HOST/NAME``; without the name it gets one, to which nothing is pushed.

    Raises:
        InputError: It is none.
    """
    return ImageReference.parse(f"{named}/loopline-doctor" if _is_host(named) else named)


def _is_host(named: str) -> bool:
    return "/" not in named.removeprefix("docker://").removeprefix("oci://")


def _push(registry: Registry, name: str) -> Finding:
    try:
        registry.check_push()
    except InputError as error:
        return failure("push", error)
    return ok("push", f"may push to {name} (an upload was begun and given up)")


def _keys() -> Finding:
    named = [name for name in ("COSIGN_PRIVATE_KEY", "COSIGN_PUBLIC_KEY") if os.environ.get(name)]
    if not named and home_is_kept() and not (home() / "keys" / "cosign.key").exists():
        return skipped("signing key", "none: the first delivery makes one; COSIGN_PRIVATE_KEY names another")
    try:
        keys = load_keys()
    except InputError as error:
        return failure("signing key", error, PROBLEM if named else WARNING)
    where = ", ".join(named) or str(home() / "keys")
    if keys.private is None:
        return ok("signing key", f"verifies only ({where})")
    return ok("signing key", f"signs and verifies ({where})")
