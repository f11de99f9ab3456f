"""Python, the packages that Loopline asks for, and its extras."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from loopline.pipelines.doctor.findings import Finding, ok, problem, skipped, warning
from loopline.pipelines.doctor.settings import Settings

#: What the serving runtime of OpenShift AI sets the version of: a model trained with others may not load there.
SERVED_BY = ("scikit-learn", "numpy", "xgboost-cpu", "pandas")
#: What each extra is needed for.
EXTRAS = {
    "serving": "needed to test model images and to serve models on this machine",
    "elyra": "needed only for the visual pipeline editor",
    "examples": "needed only for the flights of `loopline demo`",
}
_LICENSE = (
    "Business Source License 1.1: production use, and a scheduled monitor is one, needs a license from Seldon; "
    "engine=scipy gives the same verdicts without it"
)


def check(settings: Settings) -> Iterator[Finding]:
    """Check Python, the pinned packages and the extras."""
    yield _python()
    wanted = [Requirement(text) for text in requires("loopline") or ()]
    yield from _packages([r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})])
    for extra, purpose in EXTRAS.items():
        yield _extra(extra, purpose, _of_extra(wanted, extra))
    yield _drift(_of_extra(wanted, "drift"), settings.place.in_cluster)


def _python() -> Finding:
    wanted = metadata("loopline")["Requires-Python"]
    found = platform.python_version()
    if SpecifierSet(wanted).contains(found):
        return ok("Python", found)
    return problem("Python", f"{found}, and Loopline needs {wanted}", "Make an environment with Python 3.11 or 3.12.")


def _packages(wanted: list[Requirement]) -> Iterator[Finding]:
    wrong = _wrong(wanted)
    served = [r.name for r in wanted if r.name in SERVED_BY and r not in wrong]
    if wrong:
        seen = ", ".join(f"{r.name} {_version(r.name) or 'is missing'}" for r in wrong)
        yield problem("packages", f"not as Loopline asks for them: {seen}", f"Run {_install(wrong)}.")
    else:
        yield ok("packages", f"{len(wanted)} of {len(wanted)} as Loopline asks for them")
    if len(served) == len(SERVED_BY):
        versions = ", ".join(f"{name} {version(name)}" for name in served)
        yield ok("serving runtime", f"the same versions here: {versions}")
    else:
        different = [r for r in wrong if r.name in SERVED_BY]
        seen = ", ".join(f"{r.name} {_version(r.name) or 'none'} here, {_pin(r)} there" for r in different)
        yield problem(
            "serving runtime", f"a model trained here may not load where it is served: {seen}",
            f"Run {_install(different)}, and train again.",
        )  # fmt: skip


def _extra(name: str, purpose: str, wanted: list[Requirement]) -> Finding:
    wrong = _wrong(wanted)
    if not wrong:
        return ok(f"extra {name}", f"{wanted[0].name} {version(wanted[0].name)}")
    if all(_version(r.name) is None for r in wrong):
        missing = ", ".join(r.name for r in wrong)
        return skipped(f"extra {name}", f"not installed ({missing}): {purpose}; pip install 'loopline[{name}]'")
    seen = ", ".join(f"{r.name} {_version(r.name) or 'is missing'}" for r in wrong)
    return warning(f"extra {name}", f"not as Loopline asks for it ({seen}): {purpose}", f"Run {_install(wrong)}.")


def _drift(wanted: list[Requirement], in_cluster: bool) -> Finding:
    if _version("alibi-detect") is None:
        return skipped(
            "extra drift", "alibi-detect is not installed: needed only for engine=alibi; engine=scipy does the same"
        )
    if wrong := _wrong(wanted):
        seen = ", ".join(f"{r.name} {_version(r.name)}" for r in wrong)
        return warning("extra drift", f"not as Loopline asks for it ({seen})", f"Run {_install(wrong)}.")
    seen = f"alibi-detect {version('alibi-detect')}, {_LICENSE}"
    if in_cluster:
        return warning("extra drift", seen, "Run monitoring with engine=scipy, unless there is a license.")
    return ok("extra drift", seen)


def _of_extra(wanted: list[Requirement], extra: str) -> list[Requirement]:
    return [r for r in wanted if r.marker is not None and r.marker.evaluate({"extra": extra})]


def _wrong(wanted: list[Requirement]) -> list[Requirement]:
    def fits(requirement: Requirement) -> bool:
        found = _version(requirement.name)
        return found is not None and requirement.specifier.contains(found, prereleases=True)

    return [r for r in wanted if not fits(r)]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _pin(requirement: Requirement) -> str:
    return str(requirement.specifier).removeprefix("==")


def _install(wanted: list[Requirement]) -> str:
    return "`pip install " + " ".join(f"'{r.name}{r.specifier}'" for r in wanted) + "`"
