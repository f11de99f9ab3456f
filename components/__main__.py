"""Run one component as a program: ``python -m loopline.components NAME``, an option each input and output."""

import os
import sys

# As the shell line of a compiled step does: kfp then leaves out its client and all of Kubernetes' API, four fifths of
# what there is to load.
os.environ.setdefault("_KFP_RUNTIME", "true")

from loopline.components.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
