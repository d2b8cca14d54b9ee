"""The Inspector's part, by a program of its own that knows nothing of the queue: rebuild the table, swap it in.

    python -m faults.tksva_p CONNINFO SWAPS

Prints a JSON line for each swap.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import psycopg2
import psycopg2.extensions

TABLE = "audit._sales__execution_orders"
#: Rows of each generation.
ROWS = 2000
#: Seconds between two looks at `gives_information`; between two swaps.
LOOK, REST = 0.01, 0.3


def build(cursor: psycopg2.extensions.cursor, generation: int) -> None:
    """Make the next table beside the one in use; each of its rows carries the generation."""
    cursor.execute(
        f"CREATE TABLE audit.next (LIKE {TABLE} INCLUDING ALL);"
        "INSERT INTO audit.next SELECT (jsonb_populate_record(o,"
        f" jsonb_build_object('№ заказа', 'поколение {generation}'))).* FROM audit.origin o;"
        "ANALYZE audit.next"
    )


def swap(connection: psycopg2.extensions.connection, generation: int) -> dict[str, Any]:
    """Go through the protocol once; return when what happened, in Unix seconds by the server's clock."""
    with connection.cursor() as cursor:
        build(cursor, generation)
        wanted = _say(cursor, wants=True)
        while _one(cursor, "SELECT gives_information FROM dwh_tables_info WHERE dwh_table_name = %s", (TABLE,)):
            time.sleep(LOOK)
        began = _one(cursor, "SELECT extract(epoch FROM clock_timestamp())::float8")
        cursor.execute(
            f"BEGIN; ALTER TABLE {TABLE} RENAME TO previous;"
            "ALTER TABLE audit.next RENAME TO _sales__execution_orders; COMMIT"
        )
        ended = _say(cursor, wants=False)
        cursor.execute("DROP TABLE audit.previous")
    return {"generation": generation, "wanted": wanted, "began": began, "ended": ended}


def _say(cursor: psycopg2.extensions.cursor, *, wants: bool) -> float:
    """Set `wants_to_refresh`; return the time just before."""
    now = _one(cursor, "SELECT extract(epoch FROM clock_timestamp())::float8")
    cursor.execute(
        "UPDATE dwh_tables_info SET wants_to_refresh = %s, wants_to_refresh_timestamp = localtimestamp"
        " WHERE dwh_table_name = %s",
        (wants, TABLE),
    )
    return float(now)


def _one(cursor: psycopg2.extensions.cursor, query: str, params: tuple[object, ...] | None = None) -> Any:
    cursor.execute(query, params)
    return cursor.fetchall()[0][0]


def main(conninfo: str, swaps: int) -> None:
    connection = psycopg2.connect(conninfo, application_name="tksva_p")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE audit.origin AS SELECT * FROM {TABLE} ORDER BY rownumber LIMIT {ROWS}")
    for generation in range(1, swaps + 1):
        print(json.dumps(swap(connection, generation)), flush=True)
        time.sleep(REST)
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
