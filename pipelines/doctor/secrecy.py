"""Keep secrets of the environment out of what is shown, whatever a server or a library puts into its answers."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from loopline.components.registry.failures import without_credentials
from loopline.pipelines.doctor.findings import Finding

#: Variables whose values are secrets, and of these the ones that name a file.
_SECRET = re.compile("PASSWORD|PASSWD|SECRET|TOKEN|PRIVATE_KEY|ACCESS_KEY|API_KEY|CREDENTIAL|COOKIE")
_NAMES_A_FILE = re.compile("_PATH$|_FILE$|_DIR$|_URI$|_URL$|_HOST$|_NAME$")
#: What is shorter would only garble the text.
_SHORTEST = 4
_HIDDEN = "***"


class Censor:
    """Hides the secrets that the environment holds."""

    def __init__(self, environment: Mapping[str, str] | None = None):
        """Learn the secrets.

        Args:
            environment: The variables; those of this process when None.
        """
        found = set(_values(os.environ if environment is None else environment))
        self._secrets = sorted(found, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return a text without the secrets, and without ``user:password@`` in addresses."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return without_credentials(text)

    def finding(self, finding: Finding) -> Finding:
        """Return a finding without the secrets."""
        return replace(finding, seen=self.text(finding.seen), mend=self.text(finding.mend))


def _values(environment: Mapping[str, str]) -> Iterable[str]:
    for name, value in environment.items():
        if not _SECRET.search(name) or _NAMES_A_FILE.search(name):
            continue
        if "PRIVATE_KEY" in name and "-----BEGIN" not in value:
            continue  # the path of a key
        # A text of several lines may be shown line by line.
        for part in {value, value.strip(), *value.splitlines()}:
            if len(part) >= _SHORTEST and not part.startswith("-----"):
                yield part
