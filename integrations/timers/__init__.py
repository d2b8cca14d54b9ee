"""The company's loaders on schedule: their runs, the freshness of what they load, alerts."""

import json

from errors import UserError
from integrations.timers.definitions import WATCH
from integrations.timers.definitions import all_schedules as SCHEDULES  # noqa: F401, N812 -- a workload's part
from integrations.timers.options import TimerSettings
from processings import processing
from tasks import Task

SETTINGS = TimerSettings


@processing("timer")
def timer(task: Task) -> None:
    """Run the command of the timer that the job names."""
    from integrations.timers import runner  # noqa: PLC0415 -- only the child that runs it

    params = json.loads(task.job.params or "{}")
    name = params.get("timer") if isinstance(params, dict) else None
    if not isinstance(name, str):
        raise UserError("timer: не указано, какой таймер запустить")
    runner.run(task, name)


@processing(WATCH, time_limit=300.0)
def timers_watch(task: Task) -> None:
    """End the runs of the dead, judge the rules of alerts, say what is to be said, fill ClickHouse."""
    from integrations.timers import watch  # noqa: PLC0415 -- only the child that runs it

    watch.look(task.database)
