"""What a check found: one line of the doctor's report."""

import re
from dataclasses import dataclass

OK, WARNING, PROBLEM, SKIPPED = "ok", "warning", "problem", "skipped"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        state: ``ok``, ``warning`` (it works, for now or not for everything), ``problem`` (something will fail) or
            ``skipped`` (not looked at; ``seen`` says why).
        title: What was looked at, in a few words.
        seen: What was seen.
        mend: What to do about it, one imperative sentence; empty where nothing is to be done.
    """

    state: str
    title: str
    seen: str
    mend: str = ""


def ok(title: str, seen: str) -> Finding:
    """Return the finding that something works."""
    return Finding(OK, title, seen)


def warning(title: str, seen: str, mend: str) -> Finding:
    """Return the finding that something works, for now or not for everything."""
    return Finding(WARNING, title, seen, mend)


def problem(title: str, seen: str, mend: str) -> Finding:
    """Return the finding that something will fail."""
    return Finding(PROBLEM, title, seen, mend)


def skipped(title: str, reason: str) -> Finding:
    """Return the finding that something was not looked at."""
    return Finding(SKIPPED, title, reason)


def failure(title: str, error: Exception, state: str = PROBLEM, mend: str = "") -> Finding:
    """Turn the sentence of an error into a finding.

    Args:
        title: What was looked at.
        error: An error whose message ends with what to do, behind a colon, as those of ``InputError`` do.
        state: The finding's state.
        mend: What to do, instead of what the message says.
    """
    seen, advice = _split(str(error))
    mend = mend or advice or "mend that, and look again."
    return Finding(state, title, seen, mend[:1].upper() + mend[1:])


def _split(message: str) -> tuple[str, str]:
    """Split a message at its last colon that is not within brackets."""
    depth, at = 0, -1
    for place, character in enumerate(message):
        depth += (character == "(") - (character == ")")
        if depth == 0 and re.match(r": \S", message[place : place + 3]):
            at = place
    return (message[:at], message[at + 2 :]) if at >= 0 else (message, "")
