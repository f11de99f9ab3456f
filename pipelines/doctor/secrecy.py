"""Keep secrets of the environment out of findings, whatever a server or a library puts into its answers."""

import os
from collections.abc import Mapping
from dataclasses import replace

from loopline.components.secrecy import hide
from loopline.pipelines.doctor.findings import Finding


class Censor:
    """Hides the secrets that the environment holds."""

    def __init__(self, environment: Mapping[str, str] | None = None):
        """Learn the secrets.

        Args:
            environment: The variables; those of this process when None.
        """
        self._environment = dict(os.environ if environment is None else environment)

    def text(self, text: str) -> str:
        """Return a text without the secrets, and without ``user:password@`` in addresses."""
        return hide(text, self._environment)

    def finding(self, finding: Finding) -> Finding:
        """Return a finding without the secrets."""
        return replace(finding, seen=self.text(finding.seen), mend=self.text(finding.mend))
