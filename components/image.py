"""The image of every step, named without KFP around."""

import os

VERSION = "0.1.0"

#: A name in the cluster's own registry. A compile-time choice: see deploy/README.md and ``loopline compile --image``.
DEFAULT_IMAGE = f"image-registry.openshift-image-registry.svc:5000/loopline/loopline-step:{VERSION}"


def step_image() -> str:
    """Return the container image of every step: ``LOOPLINE_IMAGE`` from the environment, else the default.

    Returns:
        An image reference with a tag or digest, e.g. ``registry.example.com/ml/loopline-step@sha256:...``.
    """
    return os.environ.get("LOOPLINE_IMAGE") or DEFAULT_IMAGE
