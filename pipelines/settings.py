"""What every task of a pipeline gets: resources, retries, caching and the secrets of its stage."""

from kfp import kubernetes
from kfp.dsl import PipelineTask

#: Secrets that a namespace may hold; each is optional, and so is each key, which becomes an environment variable.
SECRETS = {
    "loopline-s3": {
        name: name
        for name in (
            "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_S3_ENDPOINT", "AWS_ENDPOINT_URL",
            "AWS_DEFAULT_REGION", "AWS_REGION",
        )
    },
    "loopline-mlflow": {
        name: name
        for name in (
            "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD",
            "MLFLOW_TRACKING_AUTH", "MLFLOW_WORKSPACE", "MLFLOW_S3_ENDPOINT_URL",
        )
    },
    # As `cosign generate-key-pair k8s://NAMESPACE/loopline-signing` makes it.
    "loopline-signing": {
        "cosign.key": "COSIGN_PRIVATE_KEY", "cosign.password": "COSIGN_PASSWORD", "cosign.pub": "COSIGN_PUBLIC_KEY",
    },
    # Of type kubernetes.io/basic-auth; the other two where the host's name does not tell which service it is.
    "loopline-git": {
        "username": "GIT_USERNAME", "password": "GIT_PASSWORD", "provider": "GIT_PROVIDER", "api-url": "GIT_API_URL",
    },
    "loopline-sites": {"token": "LOOPLINE_SITE_TOKEN"},
    # Where the sites' metrics are kept, and where the verdict's gauges go.
    "loopline-prometheus": {
        "url": "PROMETHEUS_URL", "token": "PROMETHEUS_TOKEN", "pushgateway-url": "PROMETHEUS_PUSHGATEWAY_URL",
    },
}  # fmt: skip

#: Secrets that are files, and the folder where a task finds them. A registry's is a kubernetes.io/dockerconfigjson.
MOUNTED = {"loopline-registry": "/var/run/secrets/loopline/registry"}


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
        secret: The secret of ``SECRETS`` or ``MOUNTED`` that the task reads, or several; ``name/key`` for one key.

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
    for entry in (secret,) if isinstance(secret, str) else secret:
        name, _, only = entry.partition("/")
        if name in MOUNTED:
            kubernetes.use_secret_as_volume(task, name, MOUNTED[name], optional=True)
        else:
            # Optional holds for the secret and for each key of it.
            keys = {key: variable for key, variable in SECRETS[name].items() if only in ("", key)}
            kubernetes.use_secret_as_env(task, name, keys, optional=True)
    return task
