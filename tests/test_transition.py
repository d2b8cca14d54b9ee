"""Coming from an older queue, and back: the database and the folder as it leaves them in the middle of a job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import schema
import settings
from tests.daemons import Daemon
from tests.database import TABLE, WAREHOUSE, Queries
from tests.schemas import WEB_UI

PREPARED = "файл подготовлен"


@pytest.fixture
def left(empty_database: str, tmp_path: Path) -> Iterator[Queries]:
    """What an older queue left when it was killed: a job in its middle, its lock, files of all kinds."""
    sql = Queries(empty_database)
    sql(WEB_UI)
    sql(WAREHOUSE)
    sql("UPDATE dwh_tables_info SET gives_information = true")
    files = tmp_path / "files" / "1"
    files.mkdir(parents=True)
    # It wrote under the final name and counted in offsets: 600 is neither rows in the file nor a key.
    add(sql, "half.csv", "загружено 600 из 1000", "1 hour")
    (files / "half.csv").write_text("Ст. Отправления;Дор. Отправления\nТайшет;В-С")
    add(sql, "next.csv", "в очереди", "30 minutes")
    for name, hours in (("fresh.csv", 1), ("expired.csv", 73)):
        add(sql, name, PREPARED, f"{hours} hours")
        (files / name).write_text(name)
    add(sql, "clicked.csv", "файл загружен", "2 hours")
    (files / "clicked.csv").write_text("clicked")
    (files / "nobodys.csv").write_text("no row of `post` names it")
    yield sql
    sql.close()


def add(sql: Queries, name: str, status: str, ago: str) -> int:
    post = sql.post(name, timestamp=f"localtimestamp - interval '{ago}'")
    sql("UPDATE post SET task_status = %s, task_status_timestamp = timestamp WHERE id = %s", status, post)
    return post


def statuses(sql: Queries) -> dict[str, str]:
    return dict(sql("SELECT file_to_download, task_status FROM post"))


def test_the_first_start_ends_what_the_older_queue_had_begun(left: Queries, tmp_path: Path) -> None:
    daemon = Daemon(left.conninfo, tmp_path, DOWNLOAD_GRACE_SECONDS=0)
    try:
        for name in ("half.csv", "next.csv"):
            left.await_status(left.value("SELECT id FROM post WHERE file_to_download = %s", name), PREPARED)
            lines = daemon.file(name).read_text("utf-8-sig").splitlines()
            assert len(lines) == len(set(lines)) == 1001
        gone = "скрыта менеджером очереди"
        left.await_status(left.value("SELECT id FROM post WHERE file_to_download = 'clicked.csv'"), gone)
        assert statuses(left) == {
            "half.csv": PREPARED,
            "next.csv": PREPARED,
            "fresh.csv": PREPARED,
            "expired.csv": gone,
            "clicked.csv": gone,
        }
    finally:
        daemon.stop()
    assert sorted(os.listdir(tmp_path / "files" / "1")) == ["fresh.csv", "half.csv", "next.csv", "nobodys.csv"]
    assert not left.value("SELECT gives_information FROM dwh_tables_info WHERE dwh_table_name = %s", TABLE)
    assert "adopted=1" in daemon.log
    assert f"unlocked={TABLE}" in daemon.log


def test_the_way_back_leaves_the_web_uis_tables_as_they_were(left: Queries, tmp_path: Path) -> None:
    def shape() -> list[tuple[object, ...]]:
        return left(
            "SELECT 'column', table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'public' UNION ALL"
            " SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' UNION ALL"
            " SELECT 'trigger', tgrelid::regclass::text, tgname, '' FROM pg_trigger WHERE NOT tgisinternal"
            " ORDER BY 1, 2, 3"
        )

    before = shape()
    daemon = Daemon(left.conninfo, tmp_path)
    daemon.await_line(" started ")
    left.await_status(left.value("SELECT id FROM post WHERE file_to_download = 'next.csv'"), PREPARED)
    daemon.stop()
    assert shape() != before
    schema.migrate(left.conninfo, "base")
    assert shape() == before
    assert not left.value("SELECT to_regnamespace('tksva_q') IS NOT NULL")
    assert "загружено" not in "".join(statuses(left).values())


def test_the_older_queues_settings_are_read_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = tmp_path / ".env"
    env.write_text(
        "PSQL_HOST=127.0.0.1\nPSQL_PORT=5432\nPSQL_DBNAME=tksva\nPSQL_USER=tksva\nPSQL_PWD='p w#d'\n"
        "CHUNK_SIZE=100000\nHOW_MANY_HOURS_TO_STORE='72 hours'\nSECRET_KEY=of-the-web-ui\n",
        encoding="utf-8",
    )
    for name in settings.Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    loaded = settings.load(env)
    assert (loaded.psql_port, loaded.chunk_size, loaded.how_many_hours_to_store) == (5432, 100_000, 72.0)
    assert loaded.psql_pwd.get_secret_value() == "p w#d"
