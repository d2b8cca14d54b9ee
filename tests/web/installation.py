"""The embedded default as a newcomer has it: its server, a demo warehouse, a queue, a page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg2
from playwright.sync_api import Page

import demo_warehouse
from tests.daemons import Daemon
from tests.database import Queries
from tests.web.own_postgres import own_postgres
from tests.web.server import Web

ROWS = 60_000


class Installation:
    """The embedded default with its demo warehouse, a queue and a page."""

    def __init__(self, folder: Path, sql: Queries, web: Web) -> None:
        self.folder = folder
        self.sql = sql
        self.web = web
        self.daemon: Daemon | None = None

    def run(self, **settings: object) -> None:
        self.daemon = Daemon("", self.folder, **settings)
        self.daemon.await_line(" started ", 60)

    def slowly(self, seconds: float = 0.0004) -> None:
        """Make each page take as long as a large one does: so many seconds a row, in naps that a busy machine keeps.

        Counting stays quick.
        """
        self.sql(
            "ALTER TABLE audit._sales__execution_orders RENAME TO fast;"
            "CREATE FUNCTION audit.wait(number bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$"
            " BEGIN IF number % 20 = 0 AND current_query() NOT LIKE 'SELECT count(%'"
            f" THEN PERFORM pg_sleep({20 * seconds}); END IF; RETURN true; END $$;"
            "CREATE VIEW audit._sales__execution_orders AS SELECT * FROM audit.fast WHERE audit.wait(rownumber)"
        )

    def end(self) -> None:
        if self.daemon:
            self.daemon.kill()


@contextmanager
def installed() -> Iterator[Installation]:
    """An installation whose page answers; all of it has ended at the end."""
    with own_postgres() as (conninfo, folder), ExitStack() as after:
        with closing(psycopg2.connect(conninfo)) as connection:
            demo_warehouse.create(connection, ROWS)
        sql = Queries(conninfo)
        after.callback(sql.close)
        # No PSQL_*: both find the embedded server by VAR_DIR alone.
        web = Web("", folder)
        after.callback(web.stop)
        web.await_answer()
        installation = Installation(folder, sql, web)
        after.callback(installation.end)
        yield installation


def fill(page: Page, form: str, place: str, extension: str) -> None:
    order = page.locator(f"#{form}")
    if form == "DownloadForStationForm":
        order.locator("[name=place]").fill(place)
    else:
        order.locator("[name=place]").select_option(place)
    order.locator("[name=start_date]").fill("2024-01-01")
    order.locator("[name=finish_date]").fill("2024-12-31")
    order.locator("[name=extension]").select_option(extension)
