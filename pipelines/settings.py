"""What every task of a pipeline gets: resources, retries, caching and the secrets of its stage."""

from kfp import kubernetes
from kfp.dsl import PipelineTask

from loopline.components.cluster_secrets import MOUNTED, SECRETS


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
