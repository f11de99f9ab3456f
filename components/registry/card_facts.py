"""What a model card is made of: what was measured, what people stated, and what vouches for the image."""

from dataclasses import dataclass, field
from pathlib import Path

from loopline.components.data.schema import Schema
from loopline.components.documents import read_json
from loopline.components.errors import InputError
from loopline.components.model.directory import Manifest
from loopline.components.secrecy import without_credentials

#: What people say of a model; what is empty is not stated.
STATED = ("data_uri", "intended_use", "limits")
#: Characters of a statement: a card is read.
_MOST = 20_000


@dataclass(frozen=True)
class CardFacts:
    """What a model card is made of.

    Attributes:
        name: The registered model.
        version: Its version.
        manifest: The model's manifest.
        schema: Features and target.
        profile: What the training data looked like.
        evaluation: What ``evaluate_model`` measured; empty when unknown.
        verdict: What ``compare_models`` decided; empty when unknown.
        stated: What people said, by ``STATED``.
        run: The MLflow run of the version; empty when unknown.
        image: The model image by digest; empty while there is none.
        approvals: Who approved it, and why.
    """

    name: str
    version: int
    manifest: Manifest
    schema: Schema
    profile: dict
    evaluation: dict = field(default_factory=dict)
    verdict: dict = field(default_factory=dict)
    stated: dict = field(default_factory=dict)
    run: str = ""
    image: str = ""
    approvals: tuple[str, ...] = ()


def clean_statements(**given: str) -> dict[str, str]:
    """Return what was stated, without logins and signatures in addresses.

    Args:
        given: Text by ``STATED``.

    Raises:
        InputError: A text is longer than anybody reads.
    """
    stated = {name: text.strip() for name, text in given.items() if text.strip()}
    for name, text in stated.items():
        if len(text) > _MOST:
            raise InputError(f"{name} has {len(text):,} characters: say it in at most {_MOST:,}.")
    if "data_uri" in stated:
        address = without_credentials(stated["data_uri"])
        # What follows a web address may be a signature, which is as good as a login.
        stated["data_uri"] = address.partition("?")[0] if address.startswith(("http://", "https://")) else address
    return stated


def read_evaluation(path: str | Path) -> dict:
    """Read what ``evaluate_model`` measured.

    Args:
        path: The file of its ``metrics`` output.

    Raises:
        InputError: It is no evaluation.
    """
    return _read(path, "metrics", dict, "evaluation", "the metrics output of evaluate_model")


def read_verdict(path: str | Path) -> dict:
    """Read what ``compare_models`` decided.

    Args:
        path: The file of its ``verdict`` output.

    Raises:
        InputError: It is no verdict.
    """
    return _read(path, "verdict", str, "verdict", "the verdict output of compare_models")


def _read(path: str | Path, key: str, kind: type, what: str, advice: str) -> dict:
    """Read a document that has a value of some kind under a key."""
    try:
        document = read_json(path)
    except (OSError, ValueError):
        document = {}
    if not isinstance(document.get(key), kind):
        raise InputError(f"{path} is no {what}: pass {advice}.")
    return document
