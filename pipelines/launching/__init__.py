"""Launch pipelines on Data Science Pipelines: submit them, follow their runs, put them on a schedule.

In a workbench there is nothing to set::

    from loopline.pipelines.launching import submit

    run = submit("training", {"uri": "s3://bucket/flights/*.parquet", "target": "late", "name": "flights"})
    run.follow()
"""

from loopline.pipelines.launching.run import ServerRun
from loopline.pipelines.launching.submitting import submit

__all__ = ["ServerRun", "submit"]
