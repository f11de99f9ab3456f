"""The configuration repository of this machine: a bare Git repository made from the template for clusters."""

import logging
import re
import shutil
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from loopline.components.delivery.git import default_repository, run_git
from loopline.components.environment import home
from loopline.components.errors import InputError
from loopline.pipelines.sites.ports import free_port

logger = logging.getLogger("loopline")

SITES = ("edge", "cloud", "datacenter")


def init_config_repository(path: str | Path = "", sites: Sequence[str] = SITES, branch: str = "main") -> str:
    """Make the configuration repository of this machine's sites, once.

    It is what a cluster's is, except that each site answers on a port of this machine.

    Args:
        path: Where; ``config-repo.git`` under ``LOOPLINE_HOME`` when empty.
        sites: The sites, of those that the template has.
        branch: The branch they follow.

    Returns:
        The path.

    Raises:
        InputError: The template has no such site, or something else is at the path.
    """
    path = Path(path or default_repository())
    if (path / "HEAD").is_file():
        return str(path)
    if path.exists() and any(path.iterdir()):
        raise InputError(f"{path} is not a bare Git repository: move it away, or name another with --repository.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".config-repo-") as folder:
        work, bare = Path(folder) / "work", Path(folder) / "bare.git"
        _write_template(work, sites)
        _commit_all(work, bare, branch)
        try:
            bare.replace(path)
        except OSError:
            if not (path / "HEAD").is_file():
                raise
            return str(path)  # another process was faster
    logger.info("made the configuration repository %s", path)
    return str(path)


def _write_template(work: Path, sites: Sequence[str]) -> None:
    with resources.as_file(resources.files("loopline.deploy") / "config-repo") as template:
        shutil.copytree(template, work)
    known = sorted(folder.name for folder in (work / "sites").iterdir())
    if unknown := [site for site in sites if site not in known]:
        raise InputError(f"There is no template for site {unknown[0]!r}: choose from {', '.join(known)}.")
    for site in known:
        if site not in sites:
            shutil.rmtree(work / "sites" / site)
    ports: set[int] = set()
    for site in sites:
        ports.add(port := free_port(ports))
        file = work / "sites" / site / "site.env"
        text = _set_value(file.read_text(encoding="utf-8"), "SERVICE_URL", f"http://127.0.0.1:{port}")
        text = _set_value(text, "LOOPLINE_TRAFFIC_URI", str(home() / "traffic"))
        file.write_text(text, encoding="utf-8")


def _set_value(text: str, name: str, value: str) -> str:
    line = f"{name}={value}"
    changed, count = re.subn(rf"(?m)^{name}=.*$", lambda _: line, text)
    return changed if count else f"{text.rstrip()}\n{line}\n"


def _commit_all(work: Path, bare: Path, branch: str) -> None:
    run_git(["init", "--quiet", "--bare", f"--initial-branch={branch}", str(bare)])
    inside = ["--git-dir", str(bare), "--work-tree", str(work)]
    run_git([*inside, "add", "--all", "--force", "."])
    run_git([*inside, "commit", "--quiet", "-m", "Begin with the template", "-m", "Nothing is promoted yet."])
    (bare / "index").unlink()
