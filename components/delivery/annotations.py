"""What an image says of the model in it, as OCI annotations.

Source of the standard ones: https://github.com/opencontainers/image-spec, annotations.md.
"""

from loopline.components.model.directory import Manifest

TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
CREATED = "org.opencontainers.image.created"
REVISION = "org.opencontainers.image.revision"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
MODEL_NAME = "dev.loopline.model.name"
MODEL_VERSION = "dev.loopline.model.version"
MODEL_DIGEST = "dev.loopline.model.digest"
DATA_DIGEST = "dev.loopline.data.digest"
MLFLOW_RUN = "dev.loopline.mlflow.run"

#: The time of models that do not say theirs.
EPOCH = "1970-01-01T00:00:00+00:00"


def created(manifest: Manifest) -> str:
    """Return when the model was trained: the image's time, too, so that it is the same whenever it is built."""
    return manifest.provenance.get("created") or EPOCH


def image_annotations(manifest: Manifest, version: int, mlflow_run: str, base_name: str, base_digest: str) -> dict:
    """Describe the model in an image.

    Args:
        manifest: The model's manifest.
        version: Its registered version; 0 when it is not registered.
        mlflow_run: The MLflow run of that version; empty when unknown.
        base_name: The image below.
        base_digest: Its digest.

    Returns:
        Annotations, those that are not known left out.
    """
    values = {
        TITLE: manifest.name,
        VERSION: str(version),
        CREATED: created(manifest),
        REVISION: manifest.provenance.get("code_version"),
        BASE_NAME: base_name,
        BASE_DIGEST: base_digest,
        MODEL_NAME: manifest.name,
        MODEL_VERSION: str(version),
        MODEL_DIGEST: manifest.digest,
        DATA_DIGEST: manifest.provenance.get("data_digest"),
        MLFLOW_RUN: mlflow_run,
    }
    return {name: value for name, value in values.items() if value}
