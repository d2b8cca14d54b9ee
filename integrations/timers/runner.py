"""One attempt of a timer's job: the journal, the command, the journal again."""

from errors import QueueError, UserError
from integrations.timers import command, definitions, journal
from logs import redact
from tasks import Task


def run(task: Task, timer_name: str) -> None:
    """Run the command of a timer and journal it.

    Raises:
        UserError: there is no such timer or command; trying again cannot help.
        CommandFailed: the command failed, or took too long.
        Interrupted: the queue stops.
    """
    timer = definitions.load().timers.get(timer_name)
    if timer is None:
        raise UserError(f"timer: нет таймера {timer_name[:100]!r}")
    fence = task.job.fence
    with task.database.transaction() as cursor:
        journal.close_dead(cursor)
        journal.begin(cursor, fence, timer_name, timer.job)
    try:
        result = command.run(timer, task.stopping)
    except QueueError as error:
        result = command.Result(None, None, "", error)
    except Exception as error:  # whatever it is, the journal has to know
        _end(task, command.Result(None, None, "", QueueError(f"{type(error).__name__}: {error}")))
        raise
    _end(task, result)
    task.rows = result.rows or 0
    if result.error is not None:
        raise result.error


def _end(task: Task, result: command.Result) -> None:
    planned = task.job.params
    with task.database.transaction() as cursor:
        journal.end(
            cursor,
            task.job.fence,
            "success" if result.error is None else "error",
            rows=result.rows,
            message=redact(str(result.error)) if result.error else _said(result),
            output=result.output,
            metrics={"exit_status": result.status, "attempt": task.job.spent, "params": planned},
        )


def _said(result: command.Result) -> str:
    return "" if result.rows is not None else "команда не сообщила число строк"
