"""The page about the traffic that was collected."""

from loopline.components.report import Report


def collect_page(found) -> Report:
    """Return the page."""
    return Report(f"Traffic of {found.name}", "")
