"""What tests of a daemon in a process of its own share: what they submit, and what they look at."""

from __future__ import annotations

from collections.abc import Callable

import psutil

import queueing
from db import Database
from tests.conftest import Daemon, Queries

PREPARED = "файл подготовлен"
FAILED = "ошибка"

Start = Callable[..., Daemon]

#: Makes every page of the small warehouse take a while, so that a test can look at a job that runs.
SLOW = """
ALTER TABLE audit._sales__execution_orders RENAME TO fast;
CREATE VIEW audit._sales__execution_orders AS SELECT rownumber,
  "Ст. Отправления" || CASE WHEN rownumber % 30 = 0 AND pg_sleep(0.01) IS NULL THEN '' ELSE '' END AS "Ст. Отправления",
  "Дор. Отправления", "SVOD.Дата отправки", "№ контейнера", "Кол-во, шт.", "Сумма, %", "Примечание",
  "Дата", "Порожний"
FROM audit.fast WHERE "Ст. Отправления" = 'Тайшет';
"""


def submit(database: str, form: str, **columns: object) -> int:
    own = Database(database, "test")
    with own.transaction() as cursor:
        job = queueing.submit(cursor, form, {}, **columns)  # type: ignore[arg-type]
    own.close()
    return job


def job_state(sql: Queries, job: int) -> tuple[str, str | None]:
    return sql("SELECT state, error FROM tksva_q.job WHERE id = %s", job)[0]


def children_of(daemon: Daemon) -> list[psutil.Process]:
    """The processes that run jobs: the fork server's own children."""
    return [
        process
        for process in psutil.Process(daemon.pid).children(recursive=True)
        if process.ppid() != daemon.pid and "resource_tracker" not in " ".join(process.cmdline())
    ]


def locked(sql: Queries) -> bool:
    return bool(sql.value("SELECT gives_information FROM dwh_tables_info"))
