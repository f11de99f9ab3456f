"""Delivery: from a registered model to a tested image to every site, wave by wave; and back."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML

from loopline.components import (
    build_model_image,
    check_site,
    load_model,
    promote_to_site,
    rollback_site,
    test_model_image,
    update_model_card,
)
from loopline.components.image import step_image
from loopline.pipelines.settings import configure


class DeliveryOutputs(NamedTuple):
    """What a delivery hands on.

    Attributes:
        image: The image by digest.
        version: The registered version in it.
        report: What was tested.
    """

    image: str
    version: int
    report: HTML


#: To sign an image or a test result takes the private key, to read and verify one the public key alone.
_SIGN = ("loopline-registry", "loopline-signing")
_VERIFY = ("loopline-registry", "loopline-signing/cosign.pub")
_PROMOTE = (*_VERIFY, "loopline-approvers", "loopline-git")


@dsl.pipeline(name="delivery", display_name="Loopline: deliver a model to the sites")
def delivery(
    name: str,
    repository: str = "",
    image: str = "",
    wave_1: str = "edge",
    wave_2: str = "cloud",
    wave_3: str = "datacenter",
    alias: str = "champion",
    model_version: int = 0,
    base: str = "",
    branch: str = "main",
    overlay: str = "sites/{site}",
    mode: str = "direct",
    require_approval: bool = False,
    p99_ms: float = 250.0,
    memory_mb: float = 1024.0,
    deadline_s: float = 300.0,
) -> DeliveryOutputs:
    """Put the champion into an image, test the image, promote it to the sites through Git, one wave after the other.

    A wave begins when every site of the wave before answers with the new model; a site that does not is put back, and
    the delivery ends there.

    Args:
        name: The registered model.
        repository: URL or path of the configuration repository; the one of this machine's own sites when empty.
        image: Where to push: docker://host/name for a registry, oci:/folder for an OCI layout; a layout under
            LOOPLINE_HOME when empty.
        wave_1: The sites that get the model first, comma-separated: the canary.
        wave_2: The sites after them; may be empty.
        wave_3: The sites after those; may be empty.
        alias: Which version to deliver: champion, challenger, previous or any other alias.
        model_version: The version to deliver, instead of the alias; 0 to go by the alias.
        base: The image below the model by digest; the small one that comes with Loopline when empty.
        branch: The branch that the sites follow.
        overlay: The folder of a site in the repository.
        mode: direct, or pull-request to leave the decision to people.
        require_approval: Stop before the first wave until somebody has approved the image with loopline approve.
        p99_ms: Highest 99th percentile of the latency of one row, in milliseconds.
        memory_mb: Highest memory of the server, in MB.
        deadline_s: How long the sites of a wave may take to follow, in seconds.
    """
    loaded = load_model(name=name, alias=alias, version=model_version)
    configure(loaded, "Load model", outside=True, secret=("loopline-mlflow", "loopline-s3"))
    built = build_model_image(
        model=loaded.outputs["model"], image=image, base=base, version=loaded.outputs["found_version"],
        mlflow_run=loaded.outputs["found_run"], pipeline_run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
    )  # fmt: skip
    configure(built, "Build model image", outside=True, secret=_SIGN)
    built.set_env_variable("LOOPLINE_IMAGE", step_image())  # which the pod does not know, and the provenance names
    tested = test_model_image(image=built.output, p99_ms=p99_ms, memory_mb=memory_mb)
    configure(tested, "Test model image", outside=True, secret=_SIGN, cpu="2")
    before = None
    for number, sites in enumerate((wave_1, wave_2, wave_3), start=1):
        promoted = promote_to_site(
            image=tested.outputs["Output"], sites=sites, repository=repository, branch=branch, overlay=overlay,
            mode=mode, pipeline_run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER, require_approval=require_approval,
        )  # fmt: skip
        configure(promoted, f"Promote to wave {number}", outside=True, secret=_PROMOTE)
        if before is not None:
            promoted.after(before)
        before = check_site(
            image=tested.outputs["Output"], sites=sites, repository=repository, commit=promoted.output, branch=branch,
            overlay=overlay, deadline_s=deadline_s,
        )  # fmt: skip
        configure(before, f"Check wave {number}", outside=True, secret=(*_VERIFY, "loopline-git", "loopline-sites"))
    described = update_model_card(
        model=loaded.outputs["model"], name=name, version=loaded.outputs["found_version"],
        image=tested.outputs["Output"],
    )  # fmt: skip
    secrets = (*_VERIFY, "loopline-approvers", "loopline-mlflow", "loopline-s3")
    configure(described, "Update model card", outside=True, secret=secrets).after(before)
    return DeliveryOutputs(tested.outputs["Output"], loaded.outputs["found_version"], tested.outputs["report"])


@dsl.pipeline(name="rollback", display_name="Loopline: roll sites back")
def rollback(
    sites: str,
    repository: str = "",
    branch: str = "main",
    overlay: str = "sites/{site}",
    reason: str = "",
    deadline_s: float = 300.0,
) -> str:
    """Put sites back to the image they had before, through Git, and wait until they answer with it.

    Args:
        sites: Comma-separated names.
        repository: URL or path of the configuration repository; the one of this machine's own sites when empty.
        branch: The branch that the sites follow.
        overlay: The folder of a site in the repository.
        reason: Why, for the commit.
        deadline_s: How long the sites may take to follow, in seconds.
    """
    back = rollback_site(
        sites=sites, repository=repository, branch=branch, overlay=overlay, reason=reason,
        pipeline_run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
    )  # fmt: skip
    configure(back, "Roll back", outside=True, secret="loopline-git")
    checked = check_site(
        image=back.output, sites=sites, repository=repository, branch=branch, overlay=overlay, deadline_s=deadline_s
    )
    configure(checked, "Check sites", outside=True, secret=(*_VERIFY, "loopline-git", "loopline-sites"))
    return back.output
