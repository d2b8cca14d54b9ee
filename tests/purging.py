"""Files that are there to be purged, and the clicks after which they are."""

from __future__ import annotations

from pathlib import Path

import pytest

import retention
from db import Database
from retention import Purged
from settings import Settings
from tests.daemons import make_settings
from tests.database import Queries

HOUR = 3600
PURGED = "скрыта менеджером очереди"
CLICKED = "файл загружен"
HIDDEN = "скрыта пользователем"
PREPARED = "файл подготовлен"


@pytest.fixture
def settings(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(retention, "PURGE_SECONDS", 60)  # the machine may be busy
    return make_settings(database, tmp_path, how_many_hours_to_store=72, download_grace_seconds=60)


@pytest.fixture
def files(settings: Settings) -> Path:
    for user in (1, 2):
        (settings.files_dir / str(user)).mkdir(parents=True)
    return settings.files_dir


def prepared(sql: Queries, files: Path, name: str = "a.csv", user: int = 1, age: float = 0) -> int:
    """A row whose file was prepared `age` seconds ago, and the file."""
    post = sql.post(name, user=user)
    set_status(sql, post, PREPARED, age)
    sql(
        "INSERT INTO tksva_q.job (post_id, user_id, file_name, state, finished_at) VALUES (%s, %s, %s, 'done', now())",
        post,
        user,
        name,
    )
    (files / str(user) / name).write_bytes(b"12345")
    return post


def set_status(sql: Queries, post: int, status: str, age: float | None = None) -> None:
    """Change a row as the web UI does (without its timestamp), or as the queue did `age` seconds ago."""
    sql("UPDATE post SET task_status = %s WHERE id = %s", status, post)
    if age is not None:
        change = "UPDATE post SET task_status_timestamp = localtimestamp - make_interval(secs => %s) WHERE id = %s"
        sql(change, age, post)


def let_grace_pass(sql: Queries, seconds: float = 61) -> None:
    sql("UPDATE tksva_q.download SET seen_at = seen_at - make_interval(secs => %s)", seconds)


def purge_clicked(own: Database, sql: Queries, settings: Settings) -> list[Purged]:
    """Let the queue see the clicks, then purge when the grace has passed."""
    assert retention.purge(own, settings) == []
    let_grace_pass(sql)
    return retention.purge(own, settings)
