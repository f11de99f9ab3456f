"""Run one component as a program: ``python -m loopline.components NAME --input PATH --parameter VALUE --output PATH``."""

import sys

from loopline.components.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
