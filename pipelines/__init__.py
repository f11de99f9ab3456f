"""The pipelines composed of the components, and what compiles, runs and launches them.

A name is imported when it is first used, so that this package is light.
"""

import importlib

#: What is used from Python, and the module it is in.
_HOMES = {
    "Run": "run",
    "run_pipeline": "engine",
    "schedule": "launching",
    "schedules": "launching",
    "submit": "launching",
}

__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
