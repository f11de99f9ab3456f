"""The exceptions a user is meant to read."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence a person can act on: the problem, the offending value and what to do about it. The
    local runner and the command line show it without a traceback.

    Attributes:
        temporary: Whether the same may work in a moment.
    """

    temporary = False

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence, without a traceback."""
        return [f"{type(self).__name__}: {self}"]


class TemporaryError(InputError):
    """Something that is away for a moment, as far as anyone can tell: a server, the network."""

    temporary = True


class AbsentError(InputError):
    """There is nothing to read: no file, or no row in it; where more is to come, nothing yet."""
