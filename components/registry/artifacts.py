"""Files that a run in MLflow holds."""

from pathlib import Path

from loopline.components.registry.store import Store


def fetch_artifact(store: Store, run: str, name: str, folder: str | Path) -> Path:
    """Download a file of a run.

    MLflow's function for a run's files says of whatever went wrong, a full disk or a busy server, that the path is
    wrong; this asks where the files of the run are and fetches from there.

    Args:
        store: The open store.
        run: The run's identifier.
        name: The file's path in the run.
        folder: Where to put it.

    Returns:
        The file.
    """
    from mlflow.artifacts import download_artifacts

    root = store.client.get_run(run).info.artifact_uri
    return Path(download_artifacts(f"{root}/{name}", dst_path=str(folder), tracking_uri=store.uri))
