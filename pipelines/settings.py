"""What every task of a pipeline gets: resources, retries, caching and the secrets of its stage."""

from kfp import kubernetes
from kfp.dsl import PipelineTask

#: Secrets that a namespace may hold; each is optional, and each key becomes the environment variable of its name.
SECRETS = {
    "loopline-s3": (
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_S3_ENDPOINT", "AWS_ENDPOINT_URL",
        "AWS_DEFAULT_REGION", "AWS_REGION",
    ),
    "loopline-mlflow": (
        "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_AUTH", "MLFLOW_WORKSPACE", "MLFLOW_S3_ENDPOINT_URL",
    ),
}  # fmt: skip


def configure(
    task: PipelineTask,
    title: str,
    memory: str = "2Gi",
    cpu: str = "1",
    outside: bool = False,
    secret: str | tuple[str, ...] = (),
) -> PipelineTask:
    """Set what a task needs on a cluster.

    Args:
        task: The task.
        title: What the dashboard shows.
        memory: The most memory, e.g. ``2Gi``; half of it is requested.
        cpu: The most CPU, e.g. ``1``; half of it is requested.
        outside: Whether the task reads or changes something outside the pipeline. It is then never cached, since the
            same parameters can mean another result, and retried, since what is outside can be away for a moment.
        secret: The secret of ``SECRETS`` that the task reads, or several.

    Returns:
        The task.
    """
    task.set_display_name(title)
    task.set_cpu_request(f"{int(float(cpu) * 500)}m").set_cpu_limit(cpu)
    amount = int(memory.removesuffix("Gi"))
    task.set_memory_request(f"{amount * 512}Mi").set_memory_limit(memory)
    task.set_caching_options(not outside)
    if outside:
        task.set_retry(num_retries=2, backoff_duration="10s", backoff_factor=2.0, backoff_max_duration="60s")
    for name in (secret,) if isinstance(secret, str) else secret:
        # Optional holds for the secret and for each key of it.
        kubernetes.use_secret_as_env(task, name, {key: key for key in SECRETS[name]}, optional=True)
    return task
