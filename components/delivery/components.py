"""Components of the delivery stage: a model into an image, the image tested, its digest to the sites through Git."""

from kfp.dsl import HTML, Input, Model, Output

from loopline.components.step import step


@step
def build_model_image(
    model: Input[Model],
    image: str = "",
    base: str = "",
    version: int = 0,
    mlflow_run: str = "",
    pipeline_run: str = "",
) -> str:
    """Put a model into a signed OCI image that KServe mounts, without a container engine and without privileges.

    The model directory lies under /models as it is, in a layer over the base image. The same model and version give
    the same digest. A list of what is in it (CycloneDX), a signature and its provenance (SLSA), which cosign verifies,
    are attached. Credentials come from a dockerconfigjson file, the key from COSIGN_PRIVATE_KEY, certificate
    authorities from SSL_CERT_FILE.

    Args:
        model: The model directory.
        image: Where to: docker://host/name[:tag] for a registry, oci:/folder for an OCI layout; a layout under
            LOOPLINE_HOME when empty.
        base: The image below the model by digest, with a shell in it; the small one that comes with Loopline when
            empty.
        version: The registered version, found_version of load_model; 0 when it is not registered.
        mlflow_run: The MLflow run of the version, for the promotion's commit; empty when unknown.
        pipeline_run: The pipeline run, for the provenance; empty when unknown.

    Returns:
        The image by digest: oci://host/name@sha256:... or oci:/folder@sha256:....

    Raises:
        InputError: The reference, key or credentials cannot be used, or the registry refuses.
    """
    from loopline.components.delivery.build import build_image

    return build_image(model.path, image, base, version, mlflow_run, pipeline_run)


@step
def test_model_image(report: Output[HTML], image: str, p99_ms: float = 250.0, memory_mb: float = 1024.0) -> str:
    """Test an image as the sites will run it: pull, verify, serve, replay the golden predictions, try to break it.

    The real model server loads what was pulled by digest. It must answer the golden inputs as the model did at
    training, over REST and gRPC, refuse malformed requests and stay within the budgets. A signed test result is then
    attached to the image; without it no site takes the image.

    Args:
        report: What was tested, as a page.
        image: The image by digest, what build_model_image returned.
        p99_ms: Highest 99th percentile of the latency of one row, in milliseconds.
        memory_mb: Highest memory of the server, in MB (2**20 bytes).

    Returns:
        The image by digest.

    Raises:
        InputError: The image cannot be pulled or verified, or a check failed; the message names it.
    """
    from loopline.components.delivery.image_test import test_image

    return test_image(image, report.path, p99_ms, memory_mb)


@step
def promote_to_site(
    image: str,
    sites: str,
    repository: str = "",
    branch: str = "main",
    overlay: str = "sites/{site}",
    mode: str = "direct",
    pipeline_run: str = "",
    require_approval: bool = False,
) -> str:
    """Write an image's digest into the overlays of some sites, as one commit to the configuration repository.

    Only an image that is signed, tested and of known provenance is promoted. Where the sites name it already, nothing
    is committed.

    Args:
        image: The image by digest, what test_model_image returned.
        sites: Comma-separated names; nothing is done when empty.
        repository: URL or path of the Git repository; the one of this machine's own sites when empty.
        branch: The branch that the sites follow.
        overlay: The folder of a site in the repository.
        mode: direct, or pull-request to leave the decision to people (GitHub, GitLab, Gitea).
        pipeline_run: The pipeline run to note in the commit; empty when unknown.
        require_approval: Whether somebody must have approved the image with loopline approve. The keys that count come
            from LOOPLINE_APPROVERS_KEYS.

    Returns:
        The commit; empty when there was nothing to change.

    Raises:
        InputError: The image is unsigned, untested, of unknown provenance or not approved, a site or the repository
            does not exist, or Git refuses.
    """
    from loopline.components.delivery.promotion import promote

    return promote(repository, sites, image, branch, overlay, mode, pipeline_run, require_approval)


@step
def check_site(
    image: str,
    sites: str,
    repository: str = "",
    commit: str = "",
    branch: str = "main",
    overlay: str = "sites/{site}",
    deadline_s: float = 300.0,
) -> str:
    """Wait until some sites answer with an image's model and its golden predictions; put them back if they do not.

    Args:
        image: The image by digest.
        sites: Comma-separated names; nothing is done when empty.
        repository: URL or path of the Git repository; the one of this machine's own sites when empty.
        commit: The promotion to revert if a site does not follow, what promote_to_site returned; empty for none.
        branch: The branch that the sites follow.
        overlay: The folder of a site in the repository.
        deadline_s: How long to wait, in seconds.

    Returns:
        The sites that answer as they should, comma-separated.

    Raises:
        InputError: A site does not; its overlay names again what it named before.
    """
    from loopline.components.delivery.site_check import check

    return check(repository, sites, image, commit, branch, overlay, deadline_s)


@step
def rollback_site(
    sites: str,
    repository: str = "",
    branch: str = "main",
    overlay: str = "sites/{site}",
    reason: str = "",
    pipeline_run: str = "",
) -> str:
    """Put some sites back to the image they named before, as one commit to the configuration repository.

    Args:
        sites: Comma-separated names.
        repository: URL or path of the Git repository; the one of this machine's own sites when empty.
        branch: The branch that the sites follow.
        overlay: The folder of a site in the repository.
        reason: Why, for the commit.
        pipeline_run: The pipeline run to note in the commit, so that a step tried again does not go back further; empty
            when unknown.

    Returns:
        The image that the sites name now.

    Raises:
        InputError: There is nothing before, the sites would differ, or Git refuses.
    """
    from loopline.components.delivery.rollback import rollback

    return rollback(repository, sites, branch, overlay, reason, pipeline_run)
