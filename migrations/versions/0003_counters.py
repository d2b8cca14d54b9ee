"""What monitoring counts: every job that ends, counted in the transaction that ends it, by whichever process.

The counting is deferred to the commit: a counter's row is locked last and for a moment, so that it is never held
while another lock is waited for. Each backend has a share of the rows (`spread`), so that two workers that end their
jobs together seldom want the same one; whoever reads adds them up.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

#: Upper bounds of the histogram of seconds, without the last one, which is infinite.
BOUNDS = "0.1,0.5,1,5,15,60,300,900,3600,10800,21600"

TABLES = """
ALTER TABLE tksva_q.worker ADD COLUMN loop_seconds double precision;  -- longest turn of its loop since it was last seen

CREATE TABLE tksva_q.counter (
    form text NOT NULL,
    outcome text NOT NULL,                    -- done, failed, cancelled: ends; requeued, rescued: on the way
    format text NOT NULL,                     -- csv, xlsx, '' for work without a file
    bucket smallint NOT NULL,                 -- of the seconds from the first start to the end; -1: never started
    spread smallint NOT NULL,
    jobs bigint NOT NULL,                     -- how often it happened, ever
    present bigint NOT NULL,                  -- how many of them are in that state still
    seconds double precision NOT NULL,
    rows bigint NOT NULL,                     -- in the files of jobs that were done
    bytes bigint NOT NULL,
    PRIMARY KEY (form, outcome, format, bucket, spread)
) WITH (fillfactor = 50);

CREATE TABLE tksva_q.hour (
    hour timestamptz NOT NULL,                -- its beginning
    spread smallint NOT NULL,
    done bigint NOT NULL,
    failed bigint NOT NULL,
    cancelled bigint NOT NULL,
    started bigint NOT NULL,                  -- of these jobs, those that had started
    waited double precision NOT NULL,         -- seconds from the queueing to the start, of all of them
    waited_longest double precision NOT NULL,
    PRIMARY KEY (hour, spread)
) WITH (fillfactor = 50);

CREATE TABLE tksva_q.announcement (           -- that a file is ready, by mail or webhook
    job_id bigint PRIMARY KEY REFERENCES tksva_q.job ON DELETE CASCADE,
    tries smallint NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    error text
);
CREATE INDEX job_done ON tksva_q.job (finished_at) WHERE state = 'done' AND file_name IS NOT NULL;
"""


def _form(job: str) -> str:
    # Names that nobody has run come from a request; past a hundred of them they are one.
    return f"""CASE WHEN {job}.attempt > 0 OR {job}.form IN (SELECT form FROM tksva_q.counter)
           OR (SELECT count(DISTINCT form) FROM tksva_q.counter) < 100
         THEN left(coalesce({job}.form, ''), 140) ELSE '' END"""  # noqa: S608


def _format(job: str) -> str:
    return f"""CASE WHEN lower(right({job}.file_name, 4)) = '.csv' THEN 'csv'
         WHEN lower(right({job}.file_name, 5)) = '.xlsx' THEN 'xlsx' ELSE '' END"""


def _seconds(job: str) -> str:
    took = f"extract(epoch FROM {job}.finished_at - {job}.started_at)"
    return f"CASE WHEN {job}.started_at IS NOT NULL THEN greatest(0, {took})::float8 END"


def _bucket(job: str) -> str:
    return f"coalesce(width_bucket({_seconds(job)}, '{{{BOUNDS}}}'::float8[]), -1)"


def _waited(job: str) -> str:
    return f"greatest(0, extract(epoch FROM {job}.started_at - {job}.queued_at::timestamptz))::float8"


COUNTER = (
    "INSERT INTO tksva_q.counter AS c (form, outcome, format, bucket, spread, jobs, present, seconds, rows, bytes)"
)
ADD_UP = """ON CONFLICT (form, outcome, format, bucket, spread) DO UPDATE SET jobs = c.jobs + excluded.jobs,
    present = c.present + excluded.present, seconds = c.seconds + excluded.seconds,
    rows = c.rows + excluded.rows, bytes = c.bytes + excluded.bytes;"""
HOUR = "INSERT INTO tksva_q.hour AS h (hour, spread, done, failed, cancelled, started, waited, waited_longest)"
HOUR_ADD_UP = """ON CONFLICT (hour, spread) DO UPDATE SET done = h.done + excluded.done,
    failed = h.failed + excluded.failed, cancelled = h.cancelled + excluded.cancelled,
    started = h.started + excluded.started, waited = h.waited + excluded.waited,
    waited_longest = greatest(h.waited_longest, excluded.waited_longest);"""


def _all(source: str, jobs: int, present: int) -> str:
    """Return the statement that counts the ended jobs of a table: `jobs` for each ever, `present` for each now."""
    return f"""
{COUNTER}
SELECT {_form("j")}, j.state, {_format("j")}, {_bucket("j")}, pg_backend_pid() % 16,
       {jobs} * count(*), {present} * count(*), {jobs} * coalesce(sum({_seconds("j")}), 0),
       {jobs} * coalesce(sum(j.rows) FILTER (WHERE j.state = 'done'), 0),
       {jobs} * coalesce(sum(j.bytes) FILTER (WHERE j.state = 'done'), 0)
FROM {source} j WHERE j.finished_at IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
{ADD_UP}"""  # noqa: S608 -- put together from this file's own constants


def _hours(source: str) -> str:
    """Return the statement that adds the ended jobs of a table to their hours."""
    return f"""
{HOUR}
SELECT date_trunc('hour', j.finished_at, 'UTC'), pg_backend_pid() % 16, count(*) FILTER (WHERE j.state = 'done'),
       count(*) FILTER (WHERE j.state = 'failed'), count(*) FILTER (WHERE j.state = 'cancelled'),
       count(j.started_at), coalesce(sum({_waited("j")}), 0), coalesce(max({_waited("j")}), 0)
FROM {source} j WHERE j.finished_at IS NOT NULL GROUP BY 1 ORDER BY 1
{HOUR_ADD_UP}"""  # noqa: S608 -- as above


# One row at a time, without a plan for sets: this is what every job pays at its end.
TRIGGERS = f"""
CREATE FUNCTION tksva_q.count_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    share smallint := pg_backend_pid() % 16;
    took double precision := coalesce({_seconds("NEW")}, 0);
    made boolean := NEW.state = 'done';
    waited double precision := coalesce({_waited("NEW")}, 0);
BEGIN
    IF OLD.finished_at IS NOT NULL THEN
        {COUNTER} VALUES ({_form("OLD")}, OLD.state, {_format("OLD")}, {_bucket("OLD")}, share, 0, -1, 0, 0, 0)
        {ADD_UP}
    END IF;
    IF NEW.finished_at IS NOT NULL THEN
        {COUNTER} VALUES ({_form("NEW")}, NEW.state, {_format("NEW")}, {_bucket("NEW")}, share, 1, 1, took,
            CASE WHEN made THEN NEW.rows ELSE 0 END, CASE WHEN made THEN NEW.bytes ELSE 0 END)
        {ADD_UP}
        {HOUR} VALUES (date_trunc('hour', NEW.finished_at, 'UTC'), share, made::int, (NEW.state = 'failed')::int,
            (NEW.state = 'cancelled')::int, (NEW.started_at IS NOT NULL)::int, waited, waited)
        {HOUR_ADD_UP}
    ELSIF OLD.state = 'running' THEN
        {COUNTER} VALUES ({_form("NEW")}, 'requeued', '', -1, share, 1, 0, 0, 0, 0) {ADD_UP}
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION tksva_q.count_arrivals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM arrived WHERE finished_at IS NOT NULL) THEN
        {_all("arrived", 1, 1)} {_hours("arrived")}
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION tksva_q.count_departures() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN {_all("departed", 0, -1)} RETURN NULL; END $$;

CREATE CONSTRAINT TRIGGER count_change AFTER UPDATE ON tksva_q.job DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND NEW.state <> 'running') EXECUTE FUNCTION tksva_q.count_change();
CREATE TRIGGER count_arrivals AFTER INSERT ON tksva_q.job REFERENCING NEW TABLE AS arrived
    FOR EACH STATEMENT EXECUTE FUNCTION tksva_q.count_arrivals();
CREATE TRIGGER count_departures AFTER DELETE ON tksva_q.job REFERENCING OLD TABLE AS departed
    FOR EACH STATEMENT EXECUTE FUNCTION tksva_q.count_departures();
"""


def upgrade() -> None:
    """Make the counters, with what has ended so far in them."""
    op.execute(TABLES)
    op.execute(_all("tksva_q.job", 1, 1))
    op.execute(_hours("tksva_q.job"))
    op.execute(TRIGGERS)


def downgrade() -> None:
    """Take them away."""
    for name in ("count_change", "count_arrivals", "count_departures"):
        op.execute(f"DROP FUNCTION tksva_q.{name}() CASCADE")
    op.execute("DROP TABLE tksva_q.hour, tksva_q.counter, tksva_q.announcement")
    op.execute("DROP INDEX tksva_q.job_done")
    op.execute("ALTER TABLE tksva_q.worker DROP COLUMN loop_seconds")
