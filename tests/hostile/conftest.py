"""The samples that all hostile inputs are made of, and the count of the inputs at the end of a run."""

import pytest
from hostile_samples import make_samples


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """The files of one short life of a model. Read only."""
    folder = tmp_path_factory.mktemp("samples")
    make_samples(folder)
    return folder


def pytest_terminal_summary(terminalreporter):
    """Say how many inputs were fed."""
    found = [report.user_properties for report in terminalreporter.stats.get("passed", []) if report.user_properties]
    fed, refused, fuzzed = (
        sum(value for entry in found for key, value in entry if key == name) for name in ("fed", "refused", "fuzzed")
    )
    if fed:
        terminalreporter.write_line(
            f"{fed:,} hostile inputs: {refused:,} refused in one sentence, {fed - refused:,} taken as they are, "
            "no traceback, none that hangs"
        )
    if fuzzed:
        terminalreporter.write_line(f"{fuzzed:,} inputs by coverage: no traceback, none that hangs")
