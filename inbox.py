"""From `post` into the queue: every new `в очереди` row becomes a job, or `ошибка` where it cannot be one.

The whole look costs what is waiting, since a row stays `в очереди` until its job starts. It is taken every
time while that is cheap, and otherwise so seldom that it costs the database a hundredth; rows that came
since the last look are found by their id in between, which costs what is new.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import statuses
from db import Cursor, Database, one_line, unforeseen
from errors import UserError
from prepared import Prepared

#: Rows taken in by one transaction.
BATCH = 1000
#: The share of the database's time that whole looks may cost.
WHOLE_LOOK_SHARE = 0.01

_NEW = Prepared(
    "tksva_q_new",
    """
SELECT p.id, p.user_id, p.form_name, p.conditions::text, p.file_to_download
FROM post p
WHERE p.task_status = 'в очереди' AND p.id > %(after)s
  AND NOT EXISTS (SELECT FROM tksva_q.job j WHERE j.post_id = p.id AND j.state IN ('waiting', 'running'))
ORDER BY p.id LIMIT %(batch)s::int FOR UPDATE OF p SKIP LOCKED
""",
)

_NEWEST = Prepared("tksva_q_newest", "SELECT max(id) FROM post WHERE task_status = 'в очереди'")

# The row's own columns go from table to table: JSON so deep that PostgreSQL could just read it once is not read again.
_TAKE = Prepared(
    "tksva_q_take",
    """
WITH j AS (
    INSERT INTO tksva_q.job (post_id, user_id, form, params, file_name, queued_at, dwh_table, state, error, finished_at)
    SELECT p.id, p.user_id, p.form_name, p.conditions, p.file_to_download, coalesce(p.timestamp, localtimestamp),
           v.dwh_table, CASE WHEN v.error IS NULL THEN 'waiting' ELSE 'failed' END, v.error,
           CASE WHEN v.error IS NOT NULL THEN now() END
    FROM unnest(%(posts)s::int[], %(tables)s::text[], %(errors)s::text[]) v (post_id, dwh_table, error)
    JOIN post p ON p.id = v.post_id
    ORDER BY p.id
    ON CONFLICT DO NOTHING
    RETURNING post_id, state
)
UPDATE post SET task_status = 'ошибка', task_status_timestamp = localtimestamp
FROM j WHERE post.id = j.post_id AND j.state = 'failed'
""",
)


@dataclass(frozen=True)
class Request:
    """A row of `post`, as a user left it: nothing of it is known to be right."""

    post_id: int
    user_id: int | None
    form: str | None
    params: str | None  # JSON text
    file_name: str | None


@dataclass(frozen=True)
class Refusal:
    """A request that cannot become a job, and why."""

    request: Request
    reason: str


#: Tells which warehouse table a request reads (None for none); raises UserError for one that cannot be a job.
Examine = Callable[[Request], str | None]


class Inbox:
    """Takes new rows of `post` into `tksva_q.job`.

    Args:
        examine: says which table a request reads, or what is wrong with it.
        clock: seconds, for the pace of whole looks.
    """

    def __init__(self, examine: Examine, clock: Callable[[], float] = time.monotonic) -> None:
        self._examine = examine
        self._clock = clock
        self._seen = 0
        self._next_whole_look = clock()

    def take_in(self, database: Database) -> tuple[int, list[Refusal]]:
        """Take in at most BATCH rows: call again at once while it returns BATCH.

        Returns:
            How many rows were new, and those among them that became `ошибка`.
        """
        began = self._clock()
        whole = began >= self._next_whole_look
        with database.statement() as cursor:
            newest = _newest(cursor)
        if newest == 0 or (newest <= self._seen and not whole):
            return 0, []
        with database.transaction() as cursor:
            _NEW.run(cursor, {"after": 0 if whole else self._seen, "batch": BATCH})
            requests = [Request(*row) for row in cursor.fetchall()]
            refusals = self._insert(cursor, requests)
        if len(requests) < BATCH:
            self._seen = max([newest, *(request.post_id for request in requests)])
        if whole:
            now = self._clock()
            self._next_whole_look = now if len(requests) == BATCH else now + (now - began) / WHOLE_LOOK_SHARE
        return len(requests), refusals

    def _insert(self, cursor: Cursor, requests: list[Request]) -> list[Refusal]:
        posts, tables, errors, refusals = [], [], [], []
        for request in requests:
            table, reason = None, None
            try:
                table = self._examine(request)
            except UserError as error:
                reason = one_line(error)
            except Exception as error:  # a check that is wrong itself spoils its own rows, not the loop
                reason = unforeseen(error)
            if reason is not None:
                refusals.append(Refusal(request, reason))
            posts.append(request.post_id)
            tables.append(table)
            errors.append(reason)
        if posts:
            # What a crash of the server takes back is taken in again; the claim that follows waits for the disk.
            cursor.execute("SET LOCAL synchronous_commit TO off")
            _TAKE.run(cursor, {"posts": posts, "tables": tables, "errors": errors})
        return refusals


def _newest(cursor: Cursor) -> int:
    _NEWEST.run(cursor)
    row = cursor.fetchone()
    return int(row[0]) if row and row[0] is not None else 0


def adopt_unfinished(database: Database) -> int:
    """Queue again the rows that say `загружено n из m` while no job stands behind them; return how many.

    A crash before this schema existed, or another queue, left them; whatever n meant there, they begin at row one.
    """
    with database.transaction() as cursor:
        cursor.execute(
            "UPDATE post SET task_status = %s, task_status_timestamp = localtimestamp"
            " WHERE task_status LIKE 'загружено %%' AND NOT EXISTS (SELECT FROM tksva_q.job j"
            "   WHERE j.post_id = post.id AND j.state IN ('waiting', 'running'))",
            (statuses.WAITING,),
        )
        return cursor.rowcount
