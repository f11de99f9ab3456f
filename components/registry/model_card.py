"""Write the model card of a registered version, and keep it with the version."""

import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loopline.components.data.schema import Schema
from loopline.components.documents import read_json, write_document
from loopline.components.errors import InputError
from loopline.components.model.directory import verify_model
from loopline.components.registry.artifacts import fetch_artifact
from loopline.components.registry.card_facts import STATED, CardFacts, clean_statements, read_evaluation, read_verdict
from loopline.components.registry.card_render import CARD_HINT, card_markdown, card_page, card_summary
from loopline.components.registry.card_sections import card_sections
from loopline.components.registry.store import Store, open_store
from loopline.components.registry.versions import (
    CHAMPION,
    DIGEST_TAG,
    check_name,
    find_aliases,
    find_version,
    tag_version,
)

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

#: Where a run has the card, and the files in there.
FOLDER = "model-card"
PAGE, TEXT, FACTS = "card.html", "card.md", "facts.json"
#: Tags of a version with what the delivery adds to its card.
IMAGE_TAG, APPROVED_TAG = "loopline.image", "loopline.approved_by"
#: Characters of a description and of a tag that every MLflow takes.
_DESCRIPTION, _TAG = 5000, 5000

logger = logging.getLogger("loopline")


@dataclass(frozen=True)
class Sources:
    """What a card is written from, beside the model; what is empty is taken from the card that is there.

    Attributes:
        metrics: The JSON that ``evaluate_model`` wrote.
        verdict: The JSON that ``compare_models`` wrote.
        data_uri: Where the data came from.
        intended_use: What the model is for.
        limits: What it is not for, and where it is known to fail.
        image: The model image by digest.
    """

    metrics: str = ""
    verdict: str = ""
    data_uri: str = ""
    intended_use: str = ""
    limits: str = ""
    image: str = ""


def write_card(
    model: str | Path, name: str, version: int, page: str | Path, text: str | Path, sources: Sources
) -> None:
    """Write the card of a version as a page and as Markdown, into files and into the version's run.

    Args:
        model: The model directory of the version.
        name: The registered model.
        version: Its version.
        page: The HTML file to write.
        text: The Markdown file to write.
        sources: What else it is written from.

    Raises:
        InputError: There is no such version, it holds another model, an input cannot be used, the image is not one
            that sites may be given, or MLflow cannot be reached or refuses.
    """
    check_name(name)
    manifest = verify_model(model)
    stated = clean_statements(**{one: getattr(sources, one) for one in STATED})
    evaluation = read_evaluation(sources.metrics) if sources.metrics else {}
    verdict = read_verdict(sources.verdict) if sources.verdict else {}
    approvals = _approvals(sources.image, manifest.digest)
    with open_store() as store:
        found = find_version(store, name, version)
        if found is None or found.tags.get(DIGEST_TAG) != manifest.digest:
            held = "is not registered" if found is None else f"holds {found.tags.get(DIGEST_TAG, 'another model')}"
            raise InputError(f"Version {version} of {name!r} {held}: give the model that register_model took.")
        known = _read_facts(store, found)
        facts = CardFacts(
            name=name,
            version=version,
            manifest=manifest,
            schema=Schema.load(Path(model) / "schema.json"),
            profile=json.loads((Path(model) / "reference-profile.json").read_text(encoding="utf-8")),
            evaluation=evaluation or known.get("evaluation") or {},
            verdict=verdict or known.get("verdict") or {},
            stated={**_stated_of_champion(store, name), **(known.get("stated") or {}), **stated},
            run=found.run_id or "",
            image=sources.image or known.get("image") or "",
            approvals=tuple(approvals if sources.image else known.get("approvals") or ()),
        )
        _write(facts, Path(page), Path(text))
        _keep(store, facts, found, Path(page), Path(text))
    logger.info("card of version %d of %s, approved by %s", version, name, ", ".join(facts.approvals) or "nobody")


def _approvals(image: str, digest: str) -> list[str]:
    """Return who approved an image of a model, as far as approvers are named here."""
    if not image:
        return []
    from loopline.components.delivery.admission import admit
    from loopline.components.delivery.provenance import MODEL, dependency

    admitted = admit(image)
    if dependency(admitted.provenance, MODEL) != digest:
        raise InputError(f"Image {image} holds another model than the one whose card is to be written: give its own.")
    return [f"{one}, {one.time}: {one.reason}" for one in admitted.approvals]


def _write(facts: CardFacts, page: Path, text: Path) -> None:
    try:
        sections = card_sections(facts)
    except (LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"The evaluation or verdict of {facts.name} version {facts.version} has another form ({error!r}): pass the "
            "outputs of evaluate_model and compare_models of this release."
        ) from None
    card_page(facts, sections).write(page)
    text.parent.mkdir(parents=True, exist_ok=True)
    text.write_text(card_markdown(facts, sections), encoding="utf-8")


def _keep(store: Store, facts: CardFacts, version: "ModelVersion", page: Path, text: Path) -> None:
    """Put the card, and what a later one is written from, into the version's run, and the summary at the version."""
    client, number = store.client, str(facts.version)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / PAGE).write_bytes(page.read_bytes())
        (Path(folder) / TEXT).write_bytes(text.read_bytes())
        write_document(
            Path(folder) / FACTS,
            {
                "evaluation": facts.evaluation,
                "verdict": facts.verdict,
                "stated": facts.stated,
                "image": facts.image,
                "approvals": facts.approvals,
            },
        )
        client.log_artifacts(facts.run, folder, FOLDER)
    # What a person wrote there stays.
    if not (description := version.description) or CARD_HINT in description:
        client.update_model_version(facts.name, number, card_summary(facts, _DESCRIPTION))
    for tag, value in ((IMAGE_TAG, facts.image), (APPROVED_TAG, "; ".join(facts.approvals))):
        if value:
            tag_version(store, facts.name, facts.version, tag, value[:_TAG])


def _read_facts(store: Store, version: "ModelVersion") -> dict:
    """Return what the card that is there was written from; nothing when there is none."""
    if not version.run_id:
        return {}
    files = {one.path for one in store.client.list_artifacts(version.run_id, FOLDER)}
    if f"{FOLDER}/{FACTS}" not in files:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = fetch_artifact(store, version.run_id, f"{FOLDER}/{FACTS}", folder)
        try:
            return read_json(path)
        except ValueError:
            raise InputError(
                f"{FOLDER}/{FACTS} of MLflow run {version.run_id} was changed: delete it, it is written anew."
            ) from None


def _stated_of_champion(store: Store, name: str) -> dict[str, str]:
    """Return what people said of the champion, but for its data: what a model is for outlives a retraining."""
    number = (find_aliases(store, name) or {}).get(CHAMPION)
    champion = find_version(store, name, number) if number else None
    stated = (_read_facts(store, champion).get("stated") or {}) if champion else {}
    return {one: text for one, text in stated.items() if one != "data_uri"}
