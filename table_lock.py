"""The agreement with the Inspector: a table that is being read is not swapped, one that is being swapped is not read.

The Inspector sets `wants_to_refresh`, waits until `gives_information` is false, and swaps. The queue marks a
table in the statement that claims the job, so that check and mark cannot come apart, and takes the mark away
when the last job that reads the table ends. The mark is derived from the jobs that run, never counted up and down.
A table without a row in `dwh_tables_info` is one that no Inspector swaps by this agreement: it is read without a mark.
"""

from typing import Final

from db import Cursor

#: Subquery: the tables on which no job may start.
REFRESHING: Final = "SELECT dwh_table_name FROM dwh_tables_info WHERE wants_to_refresh"

#: Step of the claiming statement: marks the table of `candidate`, unless the Inspector was quicker. The row's lock
#: makes it wait for him, and PostgreSQL looks at `wants_to_refresh` again after the wait.
MARK: Final = """
    UPDATE dwh_tables_info SET gives_information = true, gives_information_timestamp = localtimestamp
    FROM candidate
    WHERE dwh_table_name = candidate.dwh_table AND wants_to_refresh IS NOT TRUE
    RETURNING dwh_table_name AS name, wants_to_refresh_timestamp::text AS version"""

_READ = "EXISTS (SELECT FROM tksva_q.job WHERE dwh_table = dwh_table_name AND state = 'running')"


def release(cursor: Cursor, table: str) -> None:
    """Take the mark away, unless another job still reads the table; call it when the job's own row has changed.

    The row is locked by a statement of its own, so that the next one sees every claim and every end that came before:
    two jobs that end together cannot each take the other for still running.
    """
    cursor.execute(
        "SELECT FROM dwh_tables_info WHERE dwh_table_name = %(table)s FOR UPDATE;"  # noqa: S608
        "UPDATE dwh_tables_info SET gives_information = false, gives_information_timestamp = localtimestamp"
        f" WHERE dwh_table_name = %(table)s AND gives_information AND NOT {_READ}",
        {"table": table},
    )


def release_stale(cursor: Cursor) -> list[str]:
    """Take away the marks that no running job stands behind, such as a crash leaves; return the tables' names."""
    cursor.execute("SELECT dwh_table_name FROM dwh_tables_info WHERE gives_information ORDER BY 1 FOR UPDATE")
    if not cursor.fetchall():
        return []
    cursor.execute(
        "UPDATE dwh_tables_info SET gives_information = false, gives_information_timestamp = localtimestamp"  # noqa: S608
        f" WHERE gives_information AND NOT {_READ} RETURNING dwh_table_name"
    )
    return [str(row[0]) for row in cursor.fetchall()]
