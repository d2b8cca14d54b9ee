"""`manage.py timers …`: what an administrator does to the timers. They are the queue's own schedules."""

import datetime
import os
import time
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

import db
import schema
import settings as settings_module
import timetable
from db import Database
from errors import QueueError
from integrations.timers import checks, definitions, journal, units
from integrations.timers.definitions import Definitions
from schedules import Schedule, next_slot

app = typer.Typer(no_args_is_help=True, help="Таймеры интеграций.")
Name = Annotated[str, typer.Argument(metavar="T", help="Таймер.")]
AnyName = Annotated[str | None, typer.Argument(metavar="T", help="Таймер; без него — все.")]

#: Seconds between two looks at a job that is waited for.
WAIT_SECONDS = 0.5
#: Seconds in which a run that is stopped has ended, where a queue is there to end it.
STOP_SECONDS = 40.0
#: How a job stands, in the words of a person.
STATES = {"waiting": "ждёт", "running": "идёт", "done": "успех", "failed": "ошибка", "cancelled": "отменён"}


def _root() -> None:
    if os.geteuid() != 0:
        raise QueueError("Этот скрипт должен быть запущен с правами root")


def _find(name: str) -> tuple[Definitions, Schedule]:
    wanted = definitions.load()
    if name not in wanted.timers:
        raise QueueError(f"Неизвестный таймер: {name}; есть: {', '.join(wanted.timers)}")
    return wanted, wanted.schedule(name)


def _database() -> Database:
    return Database(db.dsn(settings_module.load()), "tksva_q timers")


@app.command()
def install(
    systemd: Annotated[bool, typer.Option("--systemd", help="Записать юниты systemd; базу не трогать.")] = False,
    root: Annotated[Path, typer.Option(metavar="DIR", help="Куда: папка вместо корня.")] = Path("/"),
) -> None:
    """Проверить определения и создать таблицы таймеров, или записать юниты systemd."""
    _root()
    wanted = definitions.load()
    if systemd:
        print(*units.write(wanted, root), sep="\n")
        print("включая юнит (systemctl enable --now), выключите таймер в очереди: manage.py timers disable T")
        return
    schema.migrate(db.dsn(settings_module.load()), workloads=["timers"])
    print(f"таймеров: {len(wanted.timers)}; они начинаются с запуском очереди")


@app.command()
def status(timer: AnyName = None) -> None:
    """Показать таймеры: включён ли, следующий и последний запуск."""
    wanted = definitions.load()
    chosen = [_find(timer)[1]] if timer else [wanted.schedule(name) for name in wanted.timers]
    with _database().transaction() as cursor:
        for line in timetable.listing(cursor, chosen):
            switch = "включён" if line.enabled else "выключен"
            coming = f"{line.next_at.astimezone(ZoneInfo(wanted.zone)):%d.%m.%Y %H:%M:%S}" if line.next_at else "—"
            last = STATES.get(line.state or "", "не запускался")
            print(f"{line.schedule.name:<12} {switch:<9} следующий {coming:<20} последний: {last}")


@app.command()
def enable(timer: Name) -> None:
    """Включить таймер."""
    _root()
    _, schedule = _find(timer)
    with _database().transaction() as cursor:
        timetable.enable(cursor, schedule)
    print(f"{timer}: включён")


@app.command()
def disable(timer: Name) -> None:
    """Выключить таймер; идущий запуск закончится сам."""
    _root()
    _, schedule = _find(timer)
    with _database().transaction() as cursor:
        timetable.disable(cursor, schedule)
    print(f"{timer}: выключен")


@app.command()
def start(
    timer: Name, wait: Annotated[bool, typer.Option("--wait", help="Дождаться конца; код выхода 1 — ошибка.")] = False
) -> None:
    """Запустить сейчас, не дожидаясь расписания."""
    _root()
    _, schedule = _find(timer)
    database = _database()
    job = timetable.start(database, schedule)
    print(f"{timer}: задание {job}" if job else f"{timer}: прошлый запуск ещё идёт")
    if wait and job:
        _await(database, job)


def _await(database: Database, job: int) -> None:
    """Wait until a job has ended; raise QueueError where it did not end well."""
    while True:
        with database.statement() as cursor:
            cursor.execute("SELECT state, error FROM tksva_q.job WHERE id = %s", (job,))
            state, error = cursor.fetchone() or ("cancelled", "задания больше нет")
        if state == "done":
            return
        if state in {"failed", "cancelled"}:
            raise QueueError(error or STATES[state])
        time.sleep(WAIT_SECONDS)


@app.command()
def stop(timer: Name) -> None:
    """Остановить идущий запуск."""
    _root()
    _, schedule = _find(timer)
    stopped = timetable.stop(_database(), schedule)
    print(f"{timer}: остановлено заданий: {len(stopped)}")


@app.command()
def restart(timer: Name) -> None:
    """Остановить идущий запуск и начать новый."""
    _root()
    _, schedule = _find(timer)
    database = _database()
    _await_stop(database, timetable.stop(database, schedule))
    job = timetable.start(database, schedule)
    print(f"{timer}: задание {job}" if job else f"{timer}: прошлый запуск ещё идёт")


def _await_stop(database: Database, jobs: list[int]) -> None:
    """Wait until jobs that were told to stop have ended."""
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        with database.statement() as cursor:
            cursor.execute("SELECT FROM tksva_q.job WHERE id = ANY(%s) AND state IN ('waiting', 'running')", (jobs,))
            if not cursor.rowcount:
                return
        time.sleep(WAIT_SECONDS / 5)
    raise QueueError(f"прошлый запуск не остановился за {STOP_SECONDS:g} с; работает ли очередь?")


@app.command()
def logs(timer: Name) -> None:
    """Показать последние запуски и вывод последнего."""
    zone = ZoneInfo(_find(timer)[0].zone)
    with _database().transaction() as cursor:
        runs = journal.last_runs(cursor, timer)
    for run in runs:
        took = f"{run.seconds:.1f} с" if run.seconds is not None else "идёт"
        began = run.started_at.astimezone(zone)
        print(f"{began:%d.%m.%Y %H:%M:%S} {run.status} {took} строк: {run.rows} {run.message or ''}")
    if runs:
        print(runs[0].output)


@app.command()
def schedule() -> None:
    """Показать расписание: cron и ближайшее время по нему."""
    wanted, now = definitions.load(), datetime.datetime.now(datetime.UTC)
    for name, timer in wanted.timers.items():
        coming = next_slot(wanted.schedule(name), now).astimezone(ZoneInfo(wanted.zone))
        print(f"{name:<12} {timer.cron:<22} {coming:%d.%m.%Y %H:%M} ±{timer.jitter:g} с, предел {timer.time_limit:g} с")


@app.command()
def check(
    report: Annotated[
        bool, typer.Option("--report", help="Только рассказать: код выхода 0; об ошибках сообщают оповещения.")
    ] = False,
) -> None:
    """Проверить свежесть и опоздания; код выхода 1, где что-то не так."""
    with _database().transaction() as cursor:
        found = checks.checks(cursor)
    for name, one in found.items():
        print(f"{name}: {one.status}: {one.text}")
    print('{"rows_processed": 0}')
    if not report and any(one.status == "error" for one in found.values()):
        raise typer.Exit(1)


@app.command(name="help")
def show_help(context: typer.Context) -> None:
    """Показать эту справку."""
    parent = context.parent
    print(parent.get_help() if parent else "")
