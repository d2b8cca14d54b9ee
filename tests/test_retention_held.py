"""A purge waits for nobody: what others hold, click or break off meanwhile is left for the next look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg2
import psycopg2.extensions
import pytest

import retention
from db import Database, DatabaseAway
from retention import Purged
from settings import Settings
from tests.daemons import Daemon
from tests.database import Queries, held
from tests.purging import CLICKED, HIDDEN, HOUR, PREPARED, PURGED, files, let_grace_pass, prepared, set_status, settings

__all__ = ["files", "settings"]  # fixtures

#: Seconds within which something comes at all.
LONG = 60


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Have something happen between the look and the second deletion of it."""
    purge, calls = retention._purge, 0

    def set_up(happens: Callable[[], object]) -> None:
        def later(*args: object) -> Purged | None:
            nonlocal calls
            calls += 1
            if calls == 2:
                happens()
            return purge(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(retention, "_purge", later)

    return set_up


# --- locked -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lock",
    ["SELECT FROM post WHERE id = %s FOR UPDATE", "SELECT FROM tksva_q.job WHERE post_id = %s FOR UPDATE"],
    ids=["post", "job"],
)
def test_a_row_that_somebody_holds_is_passed_over_and_goes_when_it_is_free(
    own: Database, sql: Queries, settings: Settings, files: Path, lock: str
) -> None:
    stuck, free = prepared(sql, files, "stuck.csv", age=74 * HOUR), prepared(sql, files, "free.csv", age=73 * HOUR)
    with held(own.conninfo, lock, stuck):
        assert [one.post_id for one in retention.purge(own, settings)] == [free]
        assert retention.purge(own, settings) == []
        assert sql.status(stuck) == PREPARED
        assert sql("SELECT purged_at FROM tksva_q.job WHERE post_id = %s", stuck) == [(None,)]
        assert (files / "1" / "stuck.csv").exists()
    assert retention.purge(own, settings) == [Purged(stuck, None, 1, "stuck.csv", 5)]
    assert sql("SELECT count(purged_at) FROM tksva_q.job") == [(2,)]


def test_a_job_without_a_row_that_somebody_holds_is_passed_over_too(
    own: Database, sql: Queries, settings: Settings, files: Path
) -> None:
    job = sql.value(
        "INSERT INTO tksva_q.job (user_id, file_name, state, finished_at) VALUES (1, 'api.csv', 'done', '2020-01-01')"
        " RETURNING id"
    )
    (files / "1" / "api.csv").write_bytes(b"123")
    with held(own.conninfo, "SELECT FROM tksva_q.job FOR UPDATE"):
        assert retention.purge(own, settings) == []
    assert retention.purge(own, settings) == [Purged(None, job, 1, "api.csv", 3)]


def test_a_file_that_somebody_else_has_in_hand_is_passed_over(
    own: Database, sql: Queries, settings: Settings, files: Path
) -> None:
    post = prepared(sql, files, age=73 * HOUR)
    with held(own.conninfo, retention.ONE_AT_A_TIME.replace("%(name)s", "'a.csv'").replace("%(user)s", "1")):
        assert retention.purge(own, settings) == []
    assert [one.post_id for one in retention.purge(own, settings)] == [post]


def test_the_loop_goes_on_while_somebody_holds_an_expired_row(
    start_daemon: Callable[..., Daemon], sql: Queries, files: Path
) -> None:
    expired = prepared(sql, files, age=73 * HOUR)
    with held(sql.conninfo, "SELECT FROM post WHERE id = %s FOR UPDATE", expired):
        daemon = start_daemon()
        sql.await_status(sql.post("b.csv"), PREPARED, LONG)
        assert sql.status(expired) == PREPARED
    sql.await_status(expired, PURGED, LONG)
    assert not (files / "1" / "a.csv").exists()
    assert "database_away" not in daemon.log


# --- clicked, broken off, long ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [CLICKED, HIDDEN])
def test_a_click_between_the_look_and_the_deletion_gets_its_grace(  # noqa: PLR0913, PLR0917 -- fixtures
    own: Database,
    sql: Queries,
    settings: Settings,
    files: Path,
    meanwhile: Callable[[Callable[[], object]], None],
    status: str,
) -> None:
    first, second = prepared(sql, files, "a.csv", age=74 * HOUR), prepared(sql, files, "b.csv", age=73 * HOUR)
    meanwhile(lambda: set_status(sql, second, status))
    assert [one.post_id for one in retention.purge(own, settings)] == [first]
    assert retention.purge(own, settings) == []
    assert (files / "1" / "b.csv").exists()
    let_grace_pass(sql)
    assert retention.purge(own, settings) == [Purged(second, None, 1, "b.csv", 5)]


def test_what_is_deleted_before_the_database_goes_away_is_told(
    own: Database,
    sql: Queries,
    settings: Settings,
    files: Path,
    meanwhile: Callable[[Callable[[], object]], None],
) -> None:
    posts = [prepared(sql, files, f"{number}.csv", age=(80 - number) * HOUR) for number in range(3)]
    ended = "SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity WHERE application_name = 'test'"
    meanwhile(lambda: sql(ended + " AND datname = current_database()"))
    assert [one.post_id for one in retention.purge(own, settings)] == posts[:1]
    assert [one.post_id for one in retention.purge(own, settings)] == posts[1:]


def test_a_database_that_goes_away_before_anything_is_deleted_is_said_to_be_away(
    sql: Queries, settings: Settings
) -> None:
    gone = Database(psycopg2.extensions.make_dsn(sql.conninfo, dbname="nowhere"), "test")
    with pytest.raises(DatabaseAway):
        retention.purge(gone, settings)


def test_a_purge_that_takes_long_leaves_the_rest_to_the_next_look(
    own: Database, sql: Queries, settings: Settings, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PURGE_SECONDS", 0)
    posts = [prepared(sql, files, f"{number}.csv", age=(80 - number) * HOUR) for number in range(3)]
    looks = [[one.post_id for one in retention.purge(own, settings)] for _ in range(4)]
    assert looks == [*([post] for post in posts), []]
