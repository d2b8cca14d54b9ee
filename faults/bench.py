"""What every scenario stands on: a fresh database, a folder of files, daemons, and the question what was lost."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

import db
import statuses
from faults.daemon import QUEUE_MANAGER, Daemon, wait_for
from faults.server import Server

TABLE = "audit._sales__execution_orders"
USER = 1
#: What no log of a daemon may hold, whatever happens to it: nobody has thought of that.
UNHEARD_OF = " CRITICAL | job_error "
PAGE = 100


@dataclass(frozen=True)
class Wish:
    """A kind of file that users ask for, again and again under another name."""

    kind: str  # what its name begins with
    form: str
    field: str
    value: str
    extension: str

    @property
    def conditions(self) -> dict[str, str]:
        return {self.field: self.value, "start_date": "2024-01-01", "finish_date": "2025-12-31"}


WISHES = (
    Wish("дорога", "DownloadForRailwayForm", "railway_name", "Московская", ".csv"),
    Wish("станция", "DownloadForStationForm", "station_name", "Ворсино", ".xlsx"),
    Wish("станция", "DownloadForStationForm", "station_name", "Ворсино", ".csv"),
    Wish("дорога", "DownloadForRailwayForm", "railway_name", "Московская", ".xlsx"),
)
#: Those that take longest.
LONG = (WISHES[0], WISHES[3])
#: Rows of one of them, and every which row a slowed down warehouse pauses.
LONG_ROWS, PAUSE_EVERY = 9796, 20


class Bench:
    """One scenario's database, folder and daemons; made by `bench_on`."""

    def __init__(self, server: Server, conninfo: str, folder: Path) -> None:
        self.server = server
        self.conninfo = conninfo
        self.folder = folder
        self.files = folder / "files"
        self.daemons: list[Daemon] = []
        self.posts: dict[int, tuple[Wish, str]] = {}  # row of `post` -> what was asked for, file name
        self.references: dict[str, bytes] = {}  # kind and extension -> the undisturbed file
        self._connection: psycopg2.extensions.connection | None = None

    # --- the database, as the web UI sees it --------------------------------------------------------------------------

    def sql(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        """Run a query in a transaction of its own; a server that is away is waited for."""
        return wait_for(lambda: self._try(query, params), "the database of the suite itself")[0]

    def _try(self, query: str, params: tuple[object, ...]) -> tuple[list[tuple[Any, ...]]] | None:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg2.connect(self.conninfo)
                self._connection.autocommit = True
            with self._connection.cursor() as cursor:
                cursor.execute(query, params or None)
                return (cursor.fetchall() if cursor.description else [],)
        except psycopg2.Error as error:
            if not db.is_away(error):
                raise
            if self._connection is not None:
                self._connection.close()
            return None

    def value(self, query: str, *params: object) -> Any:
        return self.sql(query, *params)[0][0]

    def post(self, form: str | None, conditions: object, name: str | None, user: int | None = USER) -> int:
        """Insert a row as the web UI does; `conditions` that are text are JSON already."""
        text = conditions if isinstance(conditions, str) else json.dumps(conditions, ensure_ascii=False)
        return int(
            self.value(
                "INSERT INTO post (user_id, form_name, conditions, task_status, file_to_download,"
                " task_status_timestamp, timestamp) VALUES (%s, %s, %s, %s, %s, localtimestamp, localtimestamp)"
                " RETURNING id",
                user,
                form,
                text,
                statuses.WAITING,
                name,
            )
        )

    def ask(self, wish: Wish) -> int:
        """Queue one more file of a kind."""
        name = f"{wish.kind} {len(self.posts)}{wish.extension}"
        post = self.post(wish.form, wish.conditions, name)
        self.posts[post] = (wish, name)
        return post

    def keep_busy(self, waiting: int = 2, wishes: tuple[Wish, ...] = WISHES) -> None:
        """Queue more files while fewer than `waiting` wait."""
        while self.value("SELECT count(*) FROM post WHERE task_status = %s", statuses.WAITING) < waiting:
            self.ask(wishes[len(self.posts) % len(wishes)])

    def hurry(self) -> None:
        """Let jobs whose pause runs go on at once: the suite's faults come quicker than life's."""
        self.sql("UPDATE tksva_q.job SET run_at = now() WHERE state = 'waiting' AND run_at > now()")
        self.sql("NOTIFY tksva_q")

    def status(self, post: int) -> str:
        return str(self.value("SELECT task_status FROM post WHERE id = %s", post))

    def await_status(self, post: int, *wanted: str) -> None:
        """Wait until a row has one of these statuses."""
        wait_for(lambda: self.status(post) in wanted, lambda: f"{wanted} of {post}; {self._story()}")

    def await_page(self, since: float, worker: str | None = None) -> float:
        """Wait for a page that was finished after `since` (Unix seconds); return the seconds from then to it."""

        def found() -> float | None:
            self.keep_busy(1)  # the job that was there may have had no page left to write
            self.hurry()
            first: float | None = self.value(
                "SELECT extract(epoch FROM min(page.finished_at))::float8 FROM tksva_q.page"
                " JOIN tksva_q.attempt USING (job_id, attempt)"
                " WHERE page.finished_at > to_timestamp(%s) AND (%s IS NULL OR attempt.worker::text = %s)",
                since,
                worker,
                worker,
            )
            return first

        return wait_for(found, lambda: f"a page after {since}; {self._story()}") - since

    def await_claim(self, since: float, worker: str | None = None) -> float:
        """Wait for an attempt that began after `since` (Unix seconds); return the seconds from then to it."""

        def found() -> float | None:
            self.keep_busy(1)
            self.hurry()
            first: float | None = self.value(
                "SELECT extract(epoch FROM min(started_at))::float8 FROM tksva_q.attempt"
                " WHERE started_at > to_timestamp(%s) AND (%s IS NULL OR worker::text = %s)",
                since,
                worker,
                worker,
            )
            return first

        return wait_for(found, lambda: f"a claim after {since}; {self._story()}") - since

    def await_all(self, seconds: float = 300) -> None:
        """Wait until no job is left, without the pauses between attempts."""

        def nothing_left() -> bool:
            self.hurry()
            time.sleep(0.1)
            return not self.value(
                "SELECT count(*) FROM post WHERE task_status = %s OR task_status LIKE 'загружено %%'", statuses.WAITING
            )

        wait_for(nothing_left, "the end of all jobs", seconds)

    def _story(self) -> str:
        jobs = self.sql("SELECT id, state, attempt, rows, total, error FROM tksva_q.job ORDER BY id DESC LIMIT 5")
        logs = [line for daemon in self.daemons[-3:] for line in daemon.lines[-5:]]
        return "\n".join(map(str, [*jobs, *logs]))

    def slow_down(self, seconds: float) -> None:
        """Let all pages of a long export together take so much longer from now on; the values stay the same."""
        pause = seconds / (LONG_ROWS / PAUSE_EVERY)
        if self.value("SELECT to_regclass('audit.quick') IS NULL"):
            self.sql(f"ALTER TABLE {TABLE} RENAME TO quick")
        # In a condition, where it does not keep the planner from reading by key; and not for counting.
        self.sql(
            f"CREATE OR REPLACE VIEW {TABLE} AS SELECT * FROM audit.quick WHERE"
            f" CASE WHEN {pause} > 0 AND rownumber % {PAUSE_EVERY} = 0 AND current_query() LIKE '%COPY%'"
            f" THEN pg_sleep({pause}) IS NOT NULL ELSE true END"
        )

    # --- daemons ------------------------------------------------------------------------------------------------------

    def daemon(self, *, wait: bool = True, program: tuple[str, ...] = QUEUE_MANAGER, **settings: object) -> Daemon:
        """Start a daemon, or another program of the queue's, on this database and folder."""
        daemon = Daemon(self.folder, self.settings | settings, program)
        self.daemons.append(daemon)
        if wait:
            wait_for(lambda: daemon.started or not daemon.lives, "the start of a daemon")
        return daemon

    @property
    def settings(self) -> dict[str, object]:
        """What every process on this database and folder is started with."""
        parts = psycopg2.extensions.parse_dsn(self.conninfo)
        return {
            **{f"psql_{name}": parts[name] for name in ("host", "port", "dbname", "user")},
            "psql_pwd": "none",
            "var_dir": self.folder / f"var{len(self.daemons)}",
            "files_dir": self.files,
            "chunk_size": PAGE,
            "max_attempts": 1000,  # the suite kills more often than a job's own faults could
        }

    def learn(self, wishes: tuple[Wish, ...] = WISHES) -> None:
        """Prepare one file of each kind undisturbed, and remember its bytes."""
        daemon = self.daemon()
        posts = [self.ask(wish) for wish in wishes]
        self.await_all()
        for post in posts:
            wish, name = self.posts[post]
            self.references[wish.kind + wish.extension] = (self.files / str(USER) / name).read_bytes()
        if daemon.stop() != 0:
            raise AssertionError("\n".join(daemon.lines))

    # --- what was lost ------------------------------------------------------------------------------------------------

    def reference(self, name: str) -> bytes | None:
        """Return what a file of this name must hold; None where nobody asked for it."""
        kind, extension = name.partition(" ")[0], Path(name).suffix
        return self.references.get(kind + extension)

    def losses(self, *, redone: bool = False) -> list[str]:
        """Compare everything with an undisturbed run; a line for each thing that is not as it must be.

        Args:
            redone: whether recorded pages may have been written again (a full disk takes the part file away).
        """
        lost = []
        for post, (_, name) in self.posts.items():
            path = self.files / str(USER) / name
            if (status := self.status(post)) != statuses.PREPARED:
                error = self.sql("SELECT state, error FROM tksva_q.job WHERE post_id = %s", post)
                lost.append(f"{name}: {status}, {error}")
            elif not path.exists():
                lost.append(f"{name}: no file")
            elif (expected := self.reference(name)) is not None and path.read_bytes() != expected:
                lost.append(f"{name}: differs from the undisturbed one")
        lost += self._journal(redone=redone)
        lost += [said for daemon in self.daemons if (said := daemon.said(UNHEARD_OF, 30))]
        # Python's own words come from a child too that was being made when its daemon was killed.
        well = [daemon for daemon in self.daemons if daemon.process.returncode == 0]
        lost += [said for daemon in well if (said := daemon.said("^Traceback", 30))]
        lost += [f"left over: {path}" for path in self.files.glob("*/.*")]
        if self.value("SELECT count(*) FROM dwh_tables_info WHERE gives_information"):
            lost.append("the warehouse table is still locked")
        return lost

    def _journal(self, *, redone: bool) -> list[str]:
        attempts = self.sql(
            "SELECT id, count(*) FILTER (WHERE outcome = 'done'), count(attempt.attempt) - count(outcome)"
            " FROM tksva_q.job LEFT JOIN tksva_q.attempt ON job_id = id GROUP BY id"
        )
        lost = [f"job {job}: done {done} times" for job, done, _ in attempts if done != 1]
        lost += [f"job {job}: {unended} attempts without an end" for job, _, unended in attempts if unended]
        pages = self.sql(
            "SELECT job.id, total, sum(page.rows) FROM tksva_q.job JOIN tksva_q.page ON job_id = id"
            " GROUP BY job.id HAVING sum(page.rows) <> total"
        )
        if not redone:
            lost += [f"job {job}: {rows} rows of {total} were recorded" for job, total, rows in pages]
        return lost

    def close(self) -> None:
        for daemon in self.daemons:
            if daemon.lives:
                daemon.kill()
        if self._connection is not None:
            self._connection.close()


@contextmanager
def bench_on(server: Server) -> Iterator[Bench]:
    """A bench with a database and a folder of its own; its daemons are gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tksva_q-bench-"))
    bench = Bench(server, server.new_database(), folder)
    try:
        yield bench
    finally:
        bench.close()
        shutil.rmtree(folder, ignore_errors=True)
