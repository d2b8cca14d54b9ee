"""Jobs of some milliseconds, several at a time: one commit that waits for the disk for a batch, not for each job.

A processing that says `brief=True` takes milliseconds and may do its work again after a crash: what a batch has done is
written down at its end. Everything else holds as for any job: the order, the fence, the journal, its own time limit.
"""

from collections.abc import Sequence

import jobs
from db import Cursor
from errors import LostJob
from prepared import Prepared

#: Jobs that a child claims at once, at most.
BATCH = 20
#: Seconds after which no further job of a batch is begun: the rest goes back, for others may be more urgent by now.
BATCH_SECONDS = 0.1
#: Jobs at the head of the queue among which the others of a batch are looked for.
_HEAD = 5 * BATCH

# The head is read without locks: what others are claiming has its place in the order, too.
_MORE = Prepared(
    "tksva_q_claim_more",
    f"""
WITH head AS (
    SELECT id, bool_and(brief) OVER (ORDER BY priority DESC, queued_at, id) AS reached FROM (
        SELECT id, priority, queued_at,
            coalesce(form = ANY(%(forms)s::text[]), false) AND dwh_table IS NULL AND post_id IS NULL AS brief
        FROM tksva_q.job WHERE {jobs.CLAIMABLE} ORDER BY priority DESC, queued_at, id LIMIT {_HEAD}) first
), candidate AS (
    SELECT id FROM tksva_q.job
    WHERE id IN (SELECT id FROM head WHERE reached) AND {jobs.CLAIMABLE} AND {jobs.LEASED}
    ORDER BY priority DESC, queued_at, id LIMIT %(most)s::int FOR UPDATE SKIP LOCKED
), j AS (
    UPDATE tksva_q.job SET {jobs.BEGUN} FROM candidate WHERE job.id = candidate.id RETURNING job.*
), journal AS ({jobs.JOURNAL}
)
SELECT {jobs.COLUMNS} FROM j ORDER BY priority DESC, queued_at, id
""",  # noqa: S608 -- put together from this project's own constants
)

_DONE = Prepared(
    "tksva_q_settle_done",
    """
WITH done AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(attempts)s::int[]) AS done (id, attempt)
), j AS (
    UPDATE tksva_q.job SET state = 'done', worker = NULL, slot = NULL, error = NULL, cursor = NULL, run_at = now(),
        finished_at = now()
    FROM done
    WHERE job.id = done.id AND job.attempt = done.attempt AND job.worker = %(worker)s::uuid AND state = 'running'
    RETURNING job.id, job.attempt, job.rows
), journal AS (
    UPDATE tksva_q.attempt SET finished_at = clock_timestamp(), outcome = 'done', rows_after = j.rows
    FROM j WHERE attempt.job_id = j.id AND attempt.attempt = j.attempt
)
SELECT count(*) FROM j
""",
)


def claim_more(cursor: Cursor, worker: str, slot: int, forms: Sequence[str]) -> list[jobs.Job]:
    """Claim what follows a brief job that was claimed in the same transaction, up to the first job of another kind.

    Args:
        cursor: in that transaction.
        worker: whose lease they run under.
        slot: the child of that worker.
        forms: names of the processings that are brief.
    """
    _MORE.run(cursor, {"forms": list(forms), "most": BATCH - 1, "worker": worker, "slot": slot})
    return [jobs.from_row(row) for row in cursor.fetchall()]


def settle_done(cursor: Cursor, done: Sequence[jobs.Job]) -> None:
    """End the attempts of a worker's jobs that are done, in the caller's transaction.

    Raises:
        LostJob: one of them is another's by now; the caller's transaction must not be committed.
    """
    if not done:
        return
    keys = {"ids": [job.id for job in done], "attempts": [job.attempt for job in done], "worker": done[0].worker}
    _DONE.run(cursor, keys)
    if cursor.fetchone() != (len(done),):
        raise LostJob("jobs of a batch are no longer this worker's")
