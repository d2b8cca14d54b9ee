"""The administrator's command line: see, submit, cancel, retry, purge, migrate, check, install.

    python manage.py --help

Exit status: 0 done, 1 could not, 2 wrong words or settings.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import psycopg2
import typer
from rich.text import Text

import control
import db
import doctor
import install as installation
import listing
import reports
import retention
import schema
import settings as settings_module
import watching
import workloads
from db import Database
from errors import QueueError, SettingsError
from jobs import State
from object_store import open_store
from settings import Settings
from words import STATE_NAMES

#: What PostgreSQL's integer and bigint take.
MAX_USER, MAX_JOB = 2**31 - 1, 2**63 - 1

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Очередь выгрузок: командная строка администратора.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Вывести JSON.")]
JobId = Annotated[int, typer.Argument(metavar="JOB", min=1, max=MAX_JOB, help="Номер задания.")]


class CannotError(QueueError):
    """What was asked for could not be done, for a reason that is no fault."""


@contextlib.contextmanager
def _database(settings: Settings | None = None) -> Iterator[Database]:
    """Give the job table's database, with the schema that this code knows."""
    database = Database(db.dsn(settings or settings_module.load()), "tksva_q manage")
    try:
        with database.statement() as cursor:
            version = schema.current(cursor)
        if version != schema.head():
            advice = "python manage.py migrate up" if (version or "") < schema.head() else "обновите код"
            raise CannotError(f"схема tksva_q: версия {version or 'не создана'}, а нужна {schema.head()}: {advice}")
        yield database
    finally:
        database.close()


@app.command()
def status(
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Показывать, пока не нажмут Ctrl-C.")] = False,
) -> None:
    """Сколько заданий ждёт, выполняется (и насколько готово), не удалось; жива ли очередь."""
    with _database() as database:
        if not watch:
            now = watching.look(database)
            listing.print_json(now) if as_json else listing.console().print(listing.status_view(now))
            return
        with contextlib.suppress(KeyboardInterrupt):
            watching.watch(database, as_json=as_json)


@app.command(name="jobs")
def list_jobs(  # noqa: PLR0913, PLR0917 -- an option each
    state: Annotated[State | None, typer.Option(help="Только в этом состоянии.")] = None,
    user: Annotated[int | None, typer.Option(metavar="N", help="Только этого пользователя.")] = None,
    form: Annotated[str | None, typer.Option(help="Только этой формы.")] = None,
    page: Annotated[int, typer.Option(min=1, max=100_000, help="Страница списка, с первой.")] = 1,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Заданий на странице.")] = reports.PAGE_SIZE,
    as_json: AsJson = False,
) -> None:
    """Задания, новые сверху."""
    with _database() as database, database.statement() as cursor:
        found = reports.list_jobs(cursor, reports.Filter(state, form, user), page, limit)
    listing.print_json(found.jobs) if as_json else listing.console().print(listing.jobs_view(found))


@app.command()
def show(
    job: JobId,
    pages: Annotated[int, typer.Option(min=0, max=MAX_USER, help="Сколько последних страниц.")] = reports.PAGES_SHOWN,
    as_json: AsJson = False,
) -> None:
    """Одно задание: условия, каждая попытка с причиной, на что ушло время."""
    with _database() as database, database.transaction() as cursor:
        detail = reports.show(cursor, job, pages)
    if detail is None:
        raise CannotError(f"задания {job} нет")
    listing.print_json(detail) if as_json else listing.console().print(listing.job_view(detail))


@app.command()
def submit(  # noqa: PLR0913, PLR0917 -- an option each
    form: Annotated[str, typer.Argument(metavar="FORM", help="Название формы или обработки.")],
    conditions: Annotated[list[str] | None, typer.Argument(metavar="key=value …", help="Условия.")] = None,
    user: Annotated[int | None, typer.Option(metavar="N", min=1, max=MAX_USER, help="Чей файл.")] = None,
    file: Annotated[str | None, typer.Option(metavar="NAME", help="Имя файла с расширением.")] = None,
    priority: Annotated[int, typer.Option(min=-32768, max=32767, help="Большее раньше.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Поставить задание в очередь."""
    params: dict[str, str] = {}
    for pair in conditions or []:
        key, sign, value = pair.partition("=")
        if not sign or not key or key in params:
            raise typer.BadParameter(f"«{pair}» — нужно ключ=значение, каждый ключ один раз")
        params[key] = value
    settings = _settings()
    with _database(settings) as database:
        job = control.submit(database, form, params, user_id=user, file_name=file, priority=priority)
    listing.print_json({"id": job}) if as_json else print(f"задание {job} в очереди")


@app.command()
def cancel(job: JobId) -> None:
    """Отменить задание: ждущее сразу, выполняемое за секунду."""
    settings = settings_module.load()
    with _database(settings) as database:
        was = control.cancel(database, settings, job)
        if was is None:
            raise CannotError(_why_not(database, job, "отменять нечего"))
    print(f"задание {job} отменено" if was == "waiting" else f"задание {job} останавливается")


@app.command()
def retry(
    job: Annotated[int | None, typer.Argument(metavar="JOB", min=1, max=MAX_JOB, help="Номер задания.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Все задания с ошибкой.")] = False,
    as_json: AsJson = False,
) -> None:
    """Поставить в очередь снова: неудавшееся или отменённое задание, или все неудавшиеся."""
    if (job is None) == (not failed):
        raise typer.BadParameter("нужен номер задания или --failed")
    with _database(_settings()) as database:
        queued = control.retry(database, job)
        if job is not None and not queued:
            alive = "строка post живёт дальше: скрыта или поставлена снова"
            raise CannotError(_why_not(database, job, "повторять нечего", if_failed=f"; {alive}"))
    listing.print_json(queued) if as_json else print(f"снова в очереди: {len(queued)}")


def _why_not(database: Database, job: int, nothing: str, if_failed: str = "") -> str:
    with database.transaction() as cursor:
        detail = reports.show(cursor, job, 0)
    if detail is None:
        return f"задания {job} нет"
    state = detail.job.state
    return f"задание {job}: {nothing}, его состояние — {STATE_NAMES[state]}{if_failed if state == 'failed' else ''}"


@app.command()
def purge(as_json: AsJson = False) -> None:
    """Удалить сейчас файлы, у которых вышел срок или которые уже скачаны."""
    settings = settings_module.load()
    store = open_store(settings)
    purged: list[retention.Purged] = []
    with _database(settings) as database:
        while found := retention.purge(database, settings, store):
            purged += found
            if store and any(file.fault for file in found):
                break  # their rows stay: they would be found again for ever
    if as_json:
        listing.print_json(purged)
        return
    for file in purged:
        place = store.address(file.user_id, file.name) if store else settings.files_dir / str(file.user_id) / file.name
        print(f"{place}: {file.fault or (file.size if file.size is not None else '—')}")
    print(f"удалено файлов: {sum(file.size is not None for file in purged)}")


@app.command()
def migrate(
    direction: Annotated[Literal["up", "down", "current"], typer.Argument(metavar="[up|down|current]")] = "up",
) -> None:
    """Схема tksva_q: обновить (up), убрать совсем (down), показать версию (current). Таблицы сайта остаются."""
    settings = settings_module.load()
    conninfo = db.dsn(settings)
    database = Database(conninfo, "tksva_q manage")
    try:
        if direction == "down":
            _refuse_while_it_works(database)
        if direction != "current":
            schema.migrate(conninfo, {"up": "head", "down": "base"}[direction], settings.integrations)
        with database.statement() as cursor:
            version = schema.current(cursor)
    finally:
        database.close()
    print(f"схема tksva_q: {version or 'не создана'}, в коде {schema.head()}")


def _refuse_while_it_works(database: Database) -> None:
    with database.transaction() as cursor:
        if schema.current(cursor) == schema.head() and any(worker.alive for worker in reports.status(cursor).workers):
            raise CannotError("очередь работает: сначала systemctl stop tksva_q")


@app.command(name="doctor")
def check(as_json: AsJson = False) -> None:
    """Проверить настройки, базу и права, хранилище, папку и группу, часы, службы: строка на каждое."""
    findings = doctor.examine()
    listing.print_json(findings) if as_json else listing.console().print(listing.findings_view(findings))
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@app.command()
def install(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Только показать, что будет сделано.")] = False,
    user: Annotated[str, typer.Option(metavar="NAME", help="Пользователь службы.")] = installation.USER,
) -> None:
    """Поставить службу: пользователь, папки, .env, юниты systemd. Второй раз ничего не меняет."""
    installation.install(user, dry_run=dry_run)


def _settings() -> Settings:
    """Return the settings, with everything registered that they switch on."""
    settings = settings_module.load()
    workloads.load(settings.integrations)
    return settings


def _add_workloads(words: list[str]) -> None:
    """Add the commands of the workloads that are on.

    Raises:
        SettingsError: a setting makes no sense, and the command may be a workload's; the own ones say it themselves.
    """
    try:
        for workload in workloads.load(settings_module.load().integrations):
            if workload.offers("commands"):
                app.add_typer(workload.part("commands"), name=workload.name)
    except SettingsError:
        if words and not words[0].startswith("-") and words[0] not in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
            raise


def main(words: list[str] | None = None) -> NoReturn:
    """Run one command and exit."""
    if not Path(".env").exists() and (db.HERE / ".env").exists():
        os.chdir(db.HERE)  # called from elsewhere: the installation is meant, not an embedded one in this folder
    try:
        _add_workloads(sys.argv[1:] if words is None else words)
        app(words, prog_name=Path(sys.argv[0]).name)
    except SettingsError as error:
        _complain(error, 2)
    except (QueueError, psycopg2.Error) as error:
        _complain(error, 1)
    sys.exit(0)


def _complain(error: Exception, code: int) -> NoReturn:
    listing.console(stderr=True).print(Text(db.one_line(error), style="red"))
    sys.exit(code)


if __name__ == "__main__":
    main()
