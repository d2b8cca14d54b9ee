"""Deals that have failed."""

from __future__ import annotations

from tests.database import Queries


def fail(sql: Queries, *deals: int) -> None:
    """Let deals have failed, as their jobs' ends tell it."""
    sql(
        "UPDATE tksva_q.job SET state = 'failed', error = 'нет', attempt = 1, spent = 1, finished_at = now()"
        " WHERE id IN (SELECT job_id FROM tksva_q.deal WHERE deal_id = ANY(%s))",
        list(deals),
    )
