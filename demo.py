"""The main job before your eyes, on the embedded default: `make demo` prepares two files, `make run` serves.

    python demo.py          demo warehouse, queue, a CSV and an XLSX job with progress bars, the finished files
    python demo.py run      demo warehouse, queue and its page until Ctrl-C

Neither reads `.env`: a demo never writes into somebody's real tables.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 -- a class that its package spells small
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

import db
import demo_warehouse
import schema
import statuses
from errors import QueueError
from settings import Settings, load

#: Small pages and two children unless the environment says otherwise, so that both bars are seen to move.
PACE = {"CHUNK_SIZE": "5000", "WORKERS": "2"}
#: Seconds that both files may take; a hundred times what they need.
PATIENCE = 170.0
#: Seconds between two looks at `task_status`.
LOOK_SECONDS = 0.1
#: Seconds after SIGTERM in which the queue has stopped, by its own promise, and a little more.
STOP_SECONDS = 35

HERE = Path(__file__).resolve().parent
QUEUE = (str(HERE / "queue_manager.py"),)
WEB = ("-m", "web")
PERIOD = {"start_date": "2024-01-01", "finish_date": "2025-12-31"}
#: What a user asks for: form, conditions, file.
WISHES = (
    ("DownloadForRailwayForm", {"railway_name": "Московская"}, "Московская дорога 2024-2025.csv"),
    ("DownloadForStationForm", {"station_name": "Ворсино"}, "Ворсино 2024-2025.xlsx"),
)

console = Console(highlight=False)


@dataclass(frozen=True)
class Row:
    """A row of `post`, as the web UI sees it."""

    id: int
    file_name: str
    status: str

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.status in {statuses.PREPARED, statuses.FAILED}

    @property
    def progress(self) -> tuple[int, int] | None:
        """Rows in the file and rows in all, while they are known."""
        if not self.status.startswith(statuses.LOADING_PREFIX):
            return None
        done, total = self.status.removeprefix(statuses.LOADING_PREFIX).split(" из ")
        return int(done), int(total)


def embedded_settings() -> Settings:
    """Make this process and its children work on the embedded default, and return the settings they then have."""
    for key in [
        key for key in os.environ if key.upper().startswith(("PSQL_", "CLICK_", "DWH_", "BROKER_", "FILES_URL"))
    ]:
        del os.environ[key]
    for key, value in PACE.items():
        os.environ.setdefault(key, value)
    settings = load(Path(os.devnull))
    # The queue reads `.env` of its working directory: there is none in VAR_DIR.
    os.environ |= {"VAR_DIR": str(settings.var_dir), "FILES_DIR": str(settings.files_dir)}
    settings.var_dir.mkdir(parents=True, exist_ok=True)
    os.chdir(settings.var_dir)
    return load()


@contextlib.contextmanager
def prepared(settings: Settings, rows: int) -> Iterator[Connection]:
    """Bring the database and the demo warehouse up; yield a connection such as the web UI has."""
    with console.status("встроенный PostgreSQL и таблицы…"):
        conninfo = db.dsn(settings)
        schema.migrate(conninfo)
        connection = psycopg2.connect(conninfo)
    try:
        with console.status(f"демонстрационное хранилище, {rows} строк…"):
            demo_warehouse.create(connection, rows)
        connection.autocommit = True
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def service(words: tuple[str, ...], output: IO[str] | None) -> Iterator[subprocess.Popen[str]]:
    """Run the queue or its page as systemd would; SIGTERM at the end, unless Ctrl-C has told it already."""
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    process = subprocess.Popen(
        [sys.executable, *words], stdout=output, stderr=subprocess.STDOUT, text=True, env=environment
    )
    told = False
    try:
        yield process
    except KeyboardInterrupt:
        told = True  # the terminal gives Ctrl-C to the whole group; a second signal would end it at once
        raise
    finally:
        if not told:
            process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def submit(connection: Connection) -> list[int]:
    """Insert the wishes into `post` as the web UI does; return the ids of the rows."""
    ids: list[int] = []
    with connection.cursor() as cursor:
        for form, conditions, file_name in WISHES:
            cursor.execute(
                "INSERT INTO post (user_id, form_name, conditions, task_status, file_to_download,"
                " task_status_timestamp, timestamp) VALUES (1, %s, %s, %s, %s, localtimestamp, localtimestamp)"
                " RETURNING id",
                (form, json.dumps(conditions | PERIOD, ensure_ascii=False), statuses.WAITING, file_name),
            )
            ids.extend(row[0] for row in cursor.fetchall())
    return ids


def look(connection: Connection, ids: list[int]) -> list[Row]:
    """Return the rows as they are now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, file_to_download, task_status FROM post WHERE id = ANY(%s) ORDER BY id", (ids,))
        return [Row(*row) for row in cursor.fetchall()]


def follow(connection: Connection, ids: list[int], process: subprocess.Popen[str]) -> list[Row]:
    """Show the statuses until both files have ended; return the last ones."""
    deadline = time.monotonic() + PATIENCE
    with _shown() as show:
        while True:
            rows = look(connection, ids)
            show(rows)
            if all(row.ended for row in rows):
                return rows
            if process.poll() is not None:
                raise QueueError(f"очередь завершилась сама, код {process.returncode}; журнал: {_log_file()}")
            if time.monotonic() > deadline:
                raise QueueError(f"файлы не готовы за {PATIENCE:.0f} с; журнал: {_log_file()}")
            time.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def _shown() -> Iterator["Show"]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        yield Show(bars)


class Show:
    """Progress bars on a terminal; elsewhere a line a status."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.tasks: dict[int, TaskID] = {}
        self.last: dict[int, str] = {}

    def __call__(self, rows: list[Row]) -> None:
        """Show the rows as they are now."""
        for row in rows:
            if row.id not in self.tasks:
                self.tasks[row.id] = self.bars.add_task(row.file_name, total=None, status="")
            if self.last.get(row.id) != row.status:
                self.last[row.id] = row.status
                self._update(row)

    def _update(self, row: Row) -> None:
        if self.bars.disable:
            console.print(f"{row.file_name}: {row.status}")
            return
        task = self.tasks[row.id]
        self.bars.update(task, status=row.status)
        if row.progress:
            self.bars.update(task, completed=row.progress[0], total=row.progress[1])
        if row.ended:
            total = self.bars.tasks[task].total or 1
            self.bars.update(task, completed=total, total=total)
            self.bars.stop_task(task)


def report(connection: Connection, settings: Settings, rows: list[Row]) -> None:
    """Print the finished files; raise QueueError with the reason where one is not."""
    with connection.cursor() as cursor:
        for row in rows:
            cursor.execute(
                "SELECT rows, bytes, extract(epoch FROM finished_at - started_at), error FROM tksva_q.job"
                " WHERE post_id = %s ORDER BY id DESC LIMIT 1",
                (row.id,),
            )
            count, size, seconds, error = cursor.fetchone() or (0, 0, 0, "нет записи о задании")
            if row.status != statuses.PREPARED:
                raise QueueError(f"{row.file_name}: {error}")
            path = settings.files_dir / "1" / row.file_name
            if path.stat().st_size != size:
                raise QueueError(f"{path}: {path.stat().st_size} байт вместо {size}")
            # Not through rich: it would wrap a path.
            print(f"{path}  строк: {count}  МБ: {size / 1e6:.1f}  секунд: {seconds:.2f}")


def _log_file() -> Path:
    return Path.cwd() / "demo.log"


def show_the_main_job(settings: Settings, rows: int) -> None:
    """Prepare the two files, from the insert into `post` to the finished paths."""
    with prepared(settings, rows) as connection, _log_file().open("w") as log, service(QUEUE, log) as process:
        report(connection, settings, follow(connection, submit(connection), process))


def serve(settings: Settings, rows: int) -> None:
    """Run the queue and its page with their logs on the terminal until Ctrl-C or SIGTERM."""
    with prepared(settings, rows):
        page = f"http://{settings.web_host}:{settings.web_port}"
        print(f"очередь работает, Ctrl-C — остановить; страница: {page}; файлы: {settings.files_dir}", flush=True)
        with contextlib.suppress(KeyboardInterrupt), service(WEB, None) as web, service(QUEUE, None) as queue:
            while queue.poll() is None and web.poll() is None:
                time.sleep(LOOK_SECONDS)
            name, process = ("страница", web) if queue.poll() is None else ("очередь", queue)
            raise QueueError(f"{name} завершилась сама, код {process.returncode}")


def main() -> NoReturn:
    """Run the words of the command line; exit 0, or 1 with one line of reason."""
    parser = argparse.ArgumentParser(prog="demo.py", description="Главная работа очереди на встроенном PostgreSQL")
    parser.add_argument("what", nargs="?", choices=("show", "run"), default="show", help="показать или работать")
    parser.add_argument("--rows", type=int, default=300_000, help="строк в демонстрационном хранилище")
    words = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        (serve if words.what == "run" else show_the_main_job)(embedded_settings(), words.rows)
    except KeyboardInterrupt:
        sys.exit(130)
    except (QueueError, psycopg2.Error, OSError) as error:
        print("не получилось: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
