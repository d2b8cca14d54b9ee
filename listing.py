"""What the command line shows: tables and bars for people, JSON for programs."""

import dataclasses
import datetime
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from findings import Finding
from logs import printable
from reports import ExportPage, JobDetail, JobPage, JobRow, Status
from words import GOES_ON, OUTCOMES, STATE_NAMES, duration, size, thousands

#: Columns of output that goes to a file or another program: nothing is cut off at the width of nobody's screen.
WIDTH = 200
BAR_WIDTH = 30
#: Seconds after which a loop that was not heard of is worth a red line.
SILENT = 30

_STYLES = {"waiting": "", "running": "cyan", "done": "green", "failed": "red", "cancelled": "yellow"}


def console(*, stderr: bool = False) -> Console:
    """Return the console for what people read."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else WIDTH)


def print_json(value: object) -> None:
    """Print records, or lists of them, as one JSON document."""
    print(json.dumps(value, ensure_ascii=False, default=_plain))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} does not go into JSON")


# --- views ------------------------------------------------------------------------------------------------------------


def status_view(status: Status, rates: dict[int, float] | None = None) -> Group:
    """Return the queue at a glance.

    Args:
        status: what `reports.status` has found.
        rates: rows a second by job, where they are known.
    """
    waiting = str(status.waiting)
    if status.paused:
        waiting += f", из них {status.paused} до следующей попытки"
    if status.oldest_waiting_seconds is not None:
        waiting += f"; старшее ждёт {duration(status.oldest_waiting_seconds)}"
    facts = Table.grid(padding=(0, 2))
    facts.add_row("Ждут", waiting)
    if status.incoming:
        facts.add_row("Не приняты", f"{status.incoming} (строки post, которых очередь ещё не видела)")
    facts.add_row("Выполняются", str(len(status.running)))
    facts.add_row("С ошибкой", Text(str(status.failed), style="red" if status.failed else ""))
    facts.add_row("Последний оборот", _loop(status))
    for table in status.tables:
        if table.wants_to_refresh:
            since = f" уже {duration(table.refresh_seconds)}" if table.refresh_seconds is not None else ""
            text = f"{table.name} обновляется Инспектором{since}: её задания ждут"
            facts.add_row("Таблица", Text(printable(text), style="yellow"))
    return Group(facts, *([_bars(status.running, rates or {})] if status.running else []))


def _loop(status: Status) -> Text:
    alive = [worker for worker in status.workers if worker.alive and worker.loop_seconds is not None]
    behind = sum(worker.alive and worker.loop_seconds is None for worker in status.workers)
    if status.last_loop_seconds is None or not alive:
        return Text("очередь не работает (systemctl start tksva_q)", style="bold red")
    names = ", ".join(f"{worker.host}, процесс {worker.pid}" for worker in alive)
    style = "red" if status.last_loop_seconds > SILENT else ""
    others = f"; работников за брокером: {behind}" if behind else ""
    return Text(f"{duration(status.last_loop_seconds)} назад ({names}){others}", style=style)


def _bars(running: Iterable[JobRow], rates: dict[int, float]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("Задание", "Чьё", "Файл", "", "%", "Строк", "Строк/с", "Осталось", "Попытка"):
        table.add_column(title, justify="right" if title in {"Задание", "Чьё", "%", "Строк", "Строк/с"} else "left")
    for job in running:
        rate = rates.get(job.id)
        left = (job.total - job.rows) / rate if rate and job.total else None
        table.add_row(
            str(job.id),
            _cell(job.user_id),
            _cell(job.file_name or job.form),
            ProgressBar(total=1, completed=job.share, width=BAR_WIDTH),
            f"{job.share:.0%}",
            f"{thousands(job.rows)} из {thousands(job.total)}" if job.total is not None else thousands(job.rows),
            thousands(rate) if rate else "",
            duration(left) if left is not None else "",
            str(job.attempt),
        )
    return table


def jobs_view(found: JobPage) -> RenderableType:
    """Return a page of a list of jobs."""
    if not found.jobs:
        return Text("Таких заданий нет.")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("Задание", "Чьё", "Состояние", "Форма", "Файл", "Строк", "Поставлено", "Закончено", "Причина"):
        table.add_column(title, justify="right" if title in {"Задание", "Чьё", "Строк"} else "left", overflow="fold")
    for job in found.jobs:
        table.add_row(
            str(job.id),
            _cell(job.user_id),
            _state(job),
            _cell(job.form),
            _cell(job.file_name),
            thousands(job.rows),
            _time(job.queued_at),
            _time(job.finished_at),
            _cell(job.error),
        )
    more = [Text(f"Дальше: --page {found.page + 1}", style="dim")] if found.more else []
    return Group(table, *more)


def job_view(detail: JobDetail) -> Group:
    """Return all about a job."""
    job = detail.job
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("Задание", str(job.id)),
        ("Строка post", _cell(job.post_id)),
        ("Чьё", _cell(job.user_id)),
        ("Форма", _cell(job.form)),
        ("Условия", _cell(_legible(detail.params))),
        ("Файл", _cell(job.file_name)),
        ("Таблица", _cell(detail.table)),
        ("Состояние", _state(job)),
        ("Причина", _cell(job.error)),
        ("Строк", f"{thousands(job.rows)} из {thousands(job.total)}" if job.total is not None else ""),
        ("Размер", size(job.bytes) if job.bytes else ""),
        ("Поставлено", _time(job.queued_at)),
        ("Не раньше", _time(job.run_at) if job.state == "waiting" else ""),
        ("Начато", _time(job.started_at)),
        ("Закончено", _time(job.finished_at)),
        ("Файл удалён", _time(job.purged_at)),
    ):
        if value:
            facts.add_row(name, value)
    return Group(facts, _attempts(detail), *([_pages(detail)] if detail.page_count else []))


def _attempts(detail: JobDetail) -> RenderableType:
    if not detail.attempts:
        return Text("Попыток не было.")
    table = Table(title="Попытки", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for title in ("№", "Начата", "Шла", "Узел", "Итог", "Строк до", "после", "Причина"):
        table.add_column(title, justify="right" if title in {"№", "Строк до", "после"} else "left", overflow="fold")
    for attempt in detail.attempts:
        took = (attempt.finished_at - attempt.started_at).total_seconds() if attempt.finished_at else None
        table.add_row(
            str(attempt.number),
            _time(attempt.started_at),
            duration(took) if took is not None else "",
            _cell(attempt.host),
            OUTCOMES.get(attempt.outcome or "", GOES_ON),
            thousands(attempt.rows_before),
            thousands(attempt.rows_after) if attempt.rows_after is not None else "",
            _cell(attempt.reason),
        )
    return table


def _pages(detail: JobDetail) -> Table:
    steps = [step for step in detail.seconds if step != "page"]
    title = f"Страницы: {len(detail.pages)} последних из {detail.page_count}, секунды"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("попытка", "№", "строк", "байт", "вся", *steps):
        table.add_column(name, justify="right")
    for page in detail.pages:
        table.add_row(*_page_cells(page, steps))
    sums = [detail.seconds.get(step, 0.0) for step in ("page", *steps)]
    table.add_row("все", "", "", "", *(f"{value:.3f}" for value in sums), style="bold")
    return table


def _page_cells(page: ExportPage, steps: list[str]) -> list[str]:
    seconds = [page.seconds.get(step, 0.0) for step in ("page", *steps)]
    counts = [str(page.attempt), str(page.number), thousands(page.rows), thousands(page.bytes)]
    return counts + [f"{value:.3f}" for value in seconds]


def findings_view(findings: Iterable[Finding]) -> Table:
    """Return what the doctor has found, a line each."""
    table = Table.grid(padding=(0, 2))
    for rigid in (True, True, False):
        table.add_column(no_wrap=rigid, overflow="fold")
    for finding in findings:
        verdict = Text("ok", style="green") if finding.ok else Text("плохо", style="bold red")
        table.add_row(finding.name, verdict, _cell(finding.text))
    return table


# --- words and figures ------------------------------------------------------------------------------------------------


def _time(when: datetime.datetime | None) -> str:
    if when is None:
        return ""
    local = when.astimezone() if when.tzinfo else when
    return local.strftime("%d.%m.%Y %H:%M:%S")


def _state(job: JobRow) -> Text:
    asked = " (просят отменить)" if job.cancel and job.state == "running" else ""
    return Text(STATE_NAMES[job.state] + asked, style=_STYLES[job.state])


def _legible(params: str | None) -> str | None:
    """Return JSON text with letters in the place of their numbers."""
    try:
        return json.dumps(json.loads(params), ensure_ascii=False) if params else params
    except (ValueError, RecursionError):
        return params


def _cell(value: object) -> Text:
    return Text("" if value is None else printable(str(value)))
