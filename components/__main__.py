"""Run one component as a program: ``python -m loopline.components NAME``, an option each input and output."""

import sys

from loopline.components.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
