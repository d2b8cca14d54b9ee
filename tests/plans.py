"""How statements reached their rows, by the server's own counters."""

from __future__ import annotations

from db import Database
from tests.database import Queries


def whole_reads(own: Database, sql: Queries, tables: tuple[str, ...] = ("post", "job")) -> int:
    """How often tables were read from end to end so far, by these two connections."""
    flush = "SELECT pg_stat_force_next_flush()"
    with own.statement() as cursor:
        cursor.execute(flush)
    sql(flush)
    return int(sql.value("SELECT sum(seq_scan) FROM pg_stat_user_tables WHERE relname = ANY(%s)", list(tables)))


def history(sql: Queries, rows: int = 50_000) -> None:
    """What years of use leave behind: purged rows and their jobs."""
    sql("SET session_replication_role = replica")  # no triggers: they are not what is tested, and take most of the time
    sql(
        "INSERT INTO post (user_id, form_name, conditions, task_status, file_to_download, task_status_timestamp,"
        "   timestamp)"
        " SELECT g %% 2 + 1, 'DownloadForStationForm', '{}', 'скрыта менеджером очереди', g || '.csv',"
        "   localtimestamp - g * interval '1 minute', localtimestamp - g * interval '1 minute'"
        " FROM generate_series(1, %s) g;"
        "INSERT INTO tksva_q.job (post_id, user_id, form, params, file_name, state, finished_at, purged_at)"
        " SELECT id, user_id, form_name, conditions, file_to_download, 'done', timestamp, timestamp FROM post;"
        "ANALYZE post; ANALYZE tksva_q.job",
        rows,
    )
    sql("RESET session_replication_role")
