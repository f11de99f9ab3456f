"""Launch pipelines on Data Science Pipelines: submit them, follow their runs, put them on a schedule.

In a workbench there is nothing to set::

    from loopline.pipelines.launching import schedule, submit

    flights = {"uri": "s3://bucket/flights/*.parquet", "target": "late", "name": "flights"}
    submit("training", flights).follow()
    schedule("training", flights, cron="0 0 2 * * *")
"""

from loopline.pipelines.launching.recurring import ServerSchedule, schedules
from loopline.pipelines.launching.run import ServerRun
from loopline.pipelines.launching.scheduling import schedule
from loopline.pipelines.launching.submitting import submit

__all__ = ["ServerRun", "ServerSchedule", "schedule", "schedules", "submit"]
