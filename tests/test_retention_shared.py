"""A file that several name goes with the last of them; none goes that somebody needs, or that the queue never made."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import retention
from db import Database
from retention import Purged
from settings import Settings
from tests.database import Queries
from tests.purging import (
    CLICKED,
    HIDDEN,
    HOUR,
    PREPARED,
    PURGED,
    files,
    prepared,
    purge_clicked,
    set_status,
    settings,
)
from tests.waiting import PATIENCE, join

__all__ = ["files", "settings"]  # fixtures


@pytest.mark.parametrize("living", ["в очереди", "загружено 1 из 2", PREPARED, CLICKED])
def test_a_file_that_a_living_row_of_the_same_user_names_stays(
    own: Database, sql: Queries, settings: Settings, files: Path, living: str
) -> None:
    old = prepared(sql, files, age=73 * HOUR)
    other = sql.post("a.csv")
    set_status(sql, other, living, 0)
    assert retention.purge(own, settings) == [Purged(old, None, 1, "a.csv", None)]
    assert (files / "1" / "a.csv").exists()
    assert (sql.status(old), sql.status(other)) == (PURGED, living)


@pytest.mark.parametrize("dead", ["ошибка", HIDDEN, PURGED])
def test_a_row_that_cannot_be_downloaded_holds_no_file(
    own: Database, sql: Queries, settings: Settings, files: Path, dead: str
) -> None:
    prepared(sql, files, age=73 * HOUR)
    set_status(sql, sql.post("a.csv"), dead, 0)
    retention.purge(own, settings)
    assert not (files / "1" / "a.csv").exists()


def test_a_file_of_that_name_of_another_user_is_another_file(
    own: Database, sql: Queries, settings: Settings, files: Path
) -> None:
    prepared(sql, files, user=1, age=73 * HOUR)
    prepared(sql, files, user=2)
    retention.purge(own, settings)
    assert [(files / user / "a.csv").exists() for user in ("1", "2")] == [False, True]


def test_a_file_that_a_living_job_without_a_row_names_stays(
    own: Database, sql: Queries, settings: Settings, files: Path
) -> None:
    stay = {"waiting": True, "running": True, "done": True, "failed": False, "cancelled": False}
    for state in stay:
        prepared(sql, files, state, age=73 * HOUR)
        sql(
            "INSERT INTO tksva_q.job (user_id, file_name, state, worker, finished_at) VALUES (1, %s, %s,"
            " CASE WHEN %s = 'running' THEN gen_random_uuid() END,"
            " CASE WHEN %s IN ('done', 'failed', 'cancelled') THEN now() END)",
            *[state] * 4,
        )
    assert len(retention.purge(own, settings)) == 5
    assert {state: (files / "1" / state).exists() for state in stay} == stay


def test_a_file_that_several_rows_name_goes_with_the_last_of_them(
    own: Database, sql: Queries, settings: Settings, files: Path
) -> None:
    for _ in range(3):
        prepared(sql, files, age=73 * HOUR)
    sql("INSERT INTO tksva_q.job (user_id, file_name, state, finished_at) VALUES (1, 'a.csv', 'done', '2020-01-01')")
    purged = retention.purge(own, settings)
    assert sorted(str(one.size) for one in purged) == ["5", "None", "None", "None"]
    assert not (files / "1" / "a.csv").exists()


def test_it_also_goes_when_two_daemons_purge_the_last_two_rows_at_once(
    database: str, sql: Queries, settings: Settings, files: Path
) -> None:
    for number in range(20):
        for _ in range(2):
            prepared(sql, files, f"{number}.csv", age=73 * HOUR)
    both = threading.Barrier(2)
    purged: list[Purged] = []

    def purge() -> None:
        mine = Database(database, "purger")
        mine.connect()
        both.wait(PATIENCE)
        purged.extend(retention.purge(mine, settings))
        both.wait(60)  # what one has passed over, for the other had the file in hand, goes with the next look
        purged.extend(retention.purge(mine, settings))
        mine.close()

    threads = [threading.Thread(target=purge) for _ in range(2)]
    for thread in threads:
        thread.start()
    join(*threads)
    assert len({one.post_id for one in purged}) == len(purged) == 40
    assert list((files / "1").iterdir()) == []


def test_a_row_that_comes_while_others_are_being_purged_keeps_its_file(
    own: Database, sql: Queries, settings: Settings, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The web UI may ask for the same name again between the look and the deletion."""
    prepared(sql, files, age=73 * HOUR)
    purge = retention._purge

    def later(*args: object) -> Purged | None:
        set_status(sql, sql.post("a.csv"), PREPARED, 0)
        return purge(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(retention, "_purge", later)
    retention.purge(own, settings)
    assert (files / "1" / "a.csv").exists()


def test_a_file_that_no_job_made_stays_when_a_failed_row_is_hidden(
    own: Database, sql: Queries, settings: Settings, files: Path
) -> None:
    (files / "1" / "mine.csv").write_bytes(b"the user's own")
    post = sql.post("mine.csv")
    sql("INSERT INTO tksva_q.job (post_id, state, finished_at) VALUES (%s, 'failed', now())", post)
    set_status(sql, post, HIDDEN)
    assert purge_clicked(own, sql, settings) == [Purged(post, None, 1, "mine.csv", None)]
    assert (files / "1" / "mine.csv").exists()
    assert sql.status(post) == PURGED


def test_a_row_that_an_older_queue_has_served_is_purged_as_well(
    own: Database, sql: Queries, settings: Settings, files: Path
) -> None:
    post = prepared(sql, files)
    sql("DELETE FROM tksva_q.job")
    set_status(sql, post, HIDDEN)
    assert purge_clicked(own, sql, settings) == [Purged(post, None, 1, "a.csv", 5)]
