"""Approval of an image by people: a statement signed with the key of an approver, who is not the one who built it."""

import datetime
import os
from collections.abc import Collection
from dataclasses import dataclass

from loopline.components.delivery.keys import Keys, load_public, load_signer, read_pem
from loopline.components.delivery.statements import Kind, attach_statement, find_statements
from loopline.components.delivery.store import Store, by_digest, open_store
from loopline.components.environment import home
from loopline.components.errors import InputError

#: PEM text or the path of a file: public keys, each with its owner's name in a comment before it.
APPROVERS, REQUIRED = "LOOPLINE_APPROVERS_KEYS", "LOOPLINE_REQUIRE_APPROVAL"
#: The same for an approver's own private key.
APPROVER = "LOOPLINE_APPROVER_KEY"
APPROVAL = Kind(
    type="https://loopline.dev/approval/v1",
    name="approval",
    missing="is not approved",
    foreign="let an approver approve it",
    copied="let an approver approve this one",
)
_BEGIN = "-----BEGIN PUBLIC KEY-----"
_GIVEN, _WITHDRAWN = "approved", "withdrawn"


@dataclass(frozen=True)
class Approver:
    """Somebody whose approval counts.

    Attributes:
        name: The owner of the key, as the list of keys says; empty when it does not.
        keys: The public key.
    """

    name: str
    keys: Keys


@dataclass(frozen=True)
class Approval:
    """An approval that counts.

    Attributes:
        approver: Who approved: the name in the list of keys, else the one in the statement.
        key: The digest of the key.
        reason: Why.
        time: When, as the approver's machine said.
    """

    approver: str
    key: str
    reason: str
    time: str

    def __str__(self) -> str:
        return f"{self.approver} (key {self.key[:19]})"


def is_required(asked: bool) -> bool:
    """Return whether a promotion needs an approval: because the run asks for one, or the namespace does."""
    return asked or os.environ.get(REQUIRED, "").strip().lower() in ("true", "1", "yes")


def load_approvers() -> list[Approver]:
    """Load the keys of those whose approval counts: ``LOOPLINE_APPROVERS_KEYS``, else ``keys/approvers.pub`` at home.

    Returns:
        The approvers; none when there is no list of keys.

    Raises:
        InputError: A key cannot be read or is of another kind.
    """
    value, file = os.environ.get(APPROVERS, ""), home() / "keys" / "approvers.pub"
    if not value and not file.is_file():
        return []
    text = read_pem(value or str(file), APPROVERS)
    before, *blocks = text.split(_BEGIN)
    if not blocks:
        raise InputError(
            f"{APPROVERS} holds no public key in PEM: write the approvers' public keys, one below another."
        )
    approvers = []
    for block in blocks:
        body, _, after = block.partition("-----END PUBLIC KEY-----")
        key = load_public(f"{_BEGIN}{body}-----END PUBLIC KEY-----\n".encode(), f"A key of {APPROVERS}")
        names = [line.lstrip("# ").strip() for line in before.splitlines() if line.strip().startswith("#")]
        approvers.append(Approver(names[-1] if names else "", Keys(None, key)))
        before = after
    return approvers


def approve(image: str, builder: Keys, key: str, approver: str, reason: str, model: str, withdraw: bool = False) -> str:
    """Attach an approval to an image, or take ours back.

    Args:
        image: The image by digest.
        builder: The key that images are built with, which must be another one.
        key: The approver's private key, PEM text or a path.
        approver: Who approves.
        reason: Why.
        model: The model in the image, for who reads the statement.
        withdraw: Take the approval of this key back.

    Returns:
        The digest of the approver's key.

    Raises:
        InputError: The key cannot be used or built the image, something is missing, or the approval cannot be stored.
    """
    reference, keys = by_digest(image), load_signer(key, APPROVER)
    reason, approver = " ".join(reason.split()), " ".join(approver.split())
    if not reason or not approver:
        raise InputError("An approval says who gives it and why: give a name and a reason.")
    approvers = load_approvers()
    if approvers and keys.fingerprint not in {one.keys.fingerprint for one in approvers}:
        raise InputError(
            f"The key {keys.fingerprint[:19]} is not among those of {APPROVERS}, so its approval would not count: use "
            "your own, or let it be added."
        )
    if keys.public == builder.public:
        raise InputError(
            f"The key {keys.fingerprint[:19]} is the one that images are built with: approve with another person's key."
        )
    store = open_store(reference)
    said = {"decision": _WITHDRAWN if withdraw else _GIVEN, "approver": approver, "reason": reason, "model": model}
    for _, predicate in find_statements(store, reference.digest, APPROVAL, [keys]):
        if {name: predicate.get(name) for name in said} == said:
            return keys.fingerprint  # said already, at its time
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    attach_statement(store, reference, APPROVAL, {**said, "time": time}, keys)
    return keys.fingerprint


def find_approvals(store: Store, digest: str, builder: Keys, approvers: Collection[Approver]) -> list[Approval]:
    """Return the approvals of an image that count.

    Args:
        store: Where its attestations are.
        digest: Its digest.
        builder: The key that images are built with.
        approvers: Whose approval counts.

    Returns:
        One for each key that approved and did not take it back.

    Raises:
        InputError: The builder's key is among the approvers', or a statement cannot be read.
    """
    names = {one.keys.fingerprint: one.name for one in approvers}
    if builder.fingerprint in names:
        raise InputError(
            f"The key {builder.fingerprint[:19]} that images are built with is among those of {APPROVERS}: whoever "
            "builds does not approve, leave it out."
        )
    found = {}
    for keys, predicate in find_statements(store, digest, APPROVAL, [one.keys for one in approvers]):
        if predicate.get("decision") == _GIVEN:
            key = keys.fingerprint
            said = {
                name: " ".join(str(predicate.get(name, "")).split())[:500] for name in ("approver", "reason", "time")
            }
            found[key] = Approval(names[key] or said["approver"], key, said["reason"], said["time"])
    return list(found.values())


def require_approval(image: str, found: Collection[Approval], approvers: Collection[Approver]) -> None:
    """Refuse an image that nobody approved.

    Args:
        image: The image by digest.
        found: Its approvals.
        approvers: Whose approval counts.

    Raises:
        InputError: There is no approval, or nobody whose approval would count.
    """
    if not approvers:
        raise InputError(
            f"The promotion needs an approval, and nobody is named to give one: put the approvers' public keys into "
            f"{APPROVERS}, on a cluster into the secret loopline-approvers."
        )
    if not found:
        who = ", ".join(one.name or one.keys.fingerprint[:19] for one in list(approvers)[:5])
        raise InputError(
            f"Image {image} is not approved: one of {who} approves it with `loopline approve {image} --reason ...`, "
            "then run this again, and it goes on from here."
        )
