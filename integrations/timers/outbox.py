"""The journal and the alerts in ClickHouse: what PostgreSQL has is sent after it, and waits while ClickHouse is away.

A row may be sent twice and is one all the same: the tables keep the newest version of each, and the views
`meta_job_runs` and `alerts` show just that.
"""

import datetime
import json
from typing import TYPE_CHECKING, Any

from db import Database, one_line
from integrations.timers.options import TimerSettings
from logs import log, redact

if TYPE_CHECKING:
    from clickhouse_driver import Client  # type: ignore[import-untyped]

#: Rows that one insert takes.
BATCH = 1000
#: Seconds that ClickHouse may take.
CONNECT_SECONDS, SEND_SECONDS = 5, 20

_RUNS = {
    "job": "String",
    "started_at": "DateTime",
    "finished_at": "Nullable(DateTime)",
    "rows_processed": "Nullable(Int64)",
    "status": "String",
    "message": "Nullable(String)",
    "metrics": "String",
}
_ALERTS = {
    "alert_id": "UInt64",
    "created_at": "DateTime",
    "job": "String",
    "alert_type": "String",
    "title": "String",
    "message": "String",
    "details": "String",
    "acknowledged": "UInt8",
    "acknowledged_at": "Nullable(DateTime)",
    "acknowledged_by": "Nullable(String)",
}
#: The columns of each view, and what tells its rows apart (a second has room for more than one run).
STORES = {"meta_job_runs": (_RUNS, "job, started_at, started_us"), "alerts": (_ALERTS, "alert_id")}


def drain(database: Database, settings: TimerSettings) -> int:
    """Send what ClickHouse does not have yet; return how many rows went there. Without CH_HOST nothing is kept."""
    if not settings.ch_host:
        with database.statement() as cursor:
            cursor.execute("DELETE FROM tksva_q.timer_outbox")
        return 0
    try:
        return _send(database, settings)
    except (OSError, EOFError, _driver_errors()) as error:
        log.warning("clickhouse_waits", extra={"reason": redact(one_line(error))[:500]})
        return 0


def _driver_errors() -> type[Exception]:
    from clickhouse_driver.errors import Error  # type: ignore[import-untyped]  # noqa: PLC0415 -- only where ClickHouse is used

    kind: type[Exception] = Error
    return kind


def _send(database: Database, settings: TimerSettings) -> int:
    client, sent = connect(settings), 0
    try:
        make_tables(client, settings.ch_database)
        while True:
            with database.statement() as cursor:
                cursor.execute("SELECT id, store, line FROM tksva_q.timer_outbox ORDER BY id LIMIT %s", (BATCH,))
                rows = cursor.fetchall()
            for store in STORES:
                lines = [_row(store, number, line) for number, of, line in rows if of == store]
                if lines:
                    names = ", ".join(lines[0])
                    client.execute(f"INSERT INTO {settings.ch_database}.{store}_log ({names}) VALUES", lines)
            with database.statement() as cursor:
                cursor.execute("DELETE FROM tksva_q.timer_outbox WHERE id = ANY(%s)", ([row[0] for row in rows],))
            sent += len(rows)
            if len(rows) < BATCH:
                return sent
    finally:
        client.disconnect()


def connect(settings: TimerSettings) -> "Client":
    """Return a client of the ClickHouse that CH_HOST names."""
    from clickhouse_driver import Client  # noqa: PLC0415 -- only where ClickHouse is used

    return Client(
        settings.ch_host,
        port=port(settings),
        user=settings.ch_user,
        password=settings.ch_password.get_secret_value(),
        secure=settings.ch_secure,
        connect_timeout=CONNECT_SECONDS,
        send_receive_timeout=SEND_SECONDS,
    )


def port(settings: TimerSettings) -> int:
    """Return the port of ClickHouse's native protocol."""
    return settings.ch_port or (9440 if settings.ch_secure else 9000)


def make_tables(client: "Client", name: str) -> None:
    """Make the database, the tables and the views that are not there; `name` is that of the database, an identifier."""
    client.execute(f"CREATE DATABASE IF NOT EXISTS {name}")
    for store, (columns, key) in STORES.items():
        typed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        client.execute(
            f"CREATE TABLE IF NOT EXISTS {name}.{store}_log ({typed}, started_us UInt32, version UInt64)"
            f" ENGINE = ReplacingMergeTree(version) ORDER BY ({key})"
        )
        shown = ", ".join(columns)
        client.execute(f"CREATE VIEW IF NOT EXISTS {name}.{store} AS SELECT {shown} FROM {name}.{store}_log FINAL")  # noqa: S608


def _row(store: str, version: int, line: dict[str, Any]) -> dict[str, Any]:

    columns, _ = STORES[store]
    row = {name: _value(kind, line[name]) for name, kind in columns.items()}
    began = line.get("started_at")
    micro = datetime.datetime.fromisoformat(began).microsecond if began else 0
    return row | {"started_us": micro, "version": version}


def _value(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if "DateTime" in kind:
        return datetime.datetime.fromisoformat(value).astimezone(datetime.UTC)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return int(value) if isinstance(value, bool) else value
