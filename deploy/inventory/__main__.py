"""What an installation consists of.

python -m loopline.deploy.inventory licenses FILE        write the license report of the lock
python -m loopline.deploy.inventory sbom REPORT... FILE  write the CycloneDX list of what pip reported to install
"""

import sys
from pathlib import Path

from loopline.components.errors import InputError
from loopline.deploy.inventory.license_report import license_report
from loopline.deploy.inventory.sbom import sbom


def main(words: list[str]) -> int:
    """Write one of the lists.

    Args:
        words: The words on the command line.

    Returns:
        The exit status: 0 done, 2 something given cannot be used.
    """
    try:
        if words[:1] == ["licenses"] and len(words) == 2:
            text = license_report(Path("requirements"))
        elif words[:1] == ["sbom"] and len(words) > 3:
            text = sbom(words[1], [Path(word) for word in words[2:-1]])
        else:
            print(__doc__)
            return 2
        Path(words[-1]).write_text(text, encoding="utf-8")
    except InputError as error:
        print(f"loopline: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"loopline: {error.filename} cannot be used ({error.strerror}).", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
