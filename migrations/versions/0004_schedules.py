"""Schedules: what each one is at, what became of its slots, and the jobs they made."""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
ALTER TABLE tksva_q.job
    ADD COLUMN time_limit double precision,     -- seconds of an attempt; NULL for the processing's own
    ADD COLUMN max_attempts integer,            -- NULL for MAX_ATTEMPTS
    ADD COLUMN pause_seconds double precision,  -- before the second attempt; NULL for the usual one
    ADD COLUMN schedule text,                   -- that made it
    ADD COLUMN planned_at timestamptz,          -- its slot; NULL: somebody started the schedule by hand
    ADD COLUMN held boolean NOT NULL DEFAULT false;  -- until the schedule's earlier job has ended

CREATE INDEX job_schedule ON tksva_q.job (schedule, id) WHERE schedule IS NOT NULL;
CREATE INDEX job_schedule_live ON tksva_q.job (schedule, id)
    WHERE schedule IS NOT NULL AND state IN ('waiting', 'running');

CREATE TABLE tksva_q.schedule (
    name text PRIMARY KEY,
    enabled boolean,                          -- as somebody has switched it; NULL: as it is defined
    definition text NOT NULL,                 -- what decides its slots: another one begins anew, from now on
    considered_at timestamptz NOT NULL,       -- all slots up to here are decided; never goes back
    since timestamptz NOT NULL DEFAULT now()  -- when this definition was first seen
) WITH (fillfactor = 50);

CREATE TABLE tksva_q.slot (
    schedule text NOT NULL,
    planned_at timestamptz NOT NULL,
    fate text NOT NULL CHECK (fate IN ('fired', 'missed', 'overlap', 'replaced')),
    job_id bigint,
    run_at timestamptz,                       -- when its job may begin: the jitter is in it
    PRIMARY KEY (schedule, planned_at)
);

CREATE FUNCTION tksva_q.release_held() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tksva_q.job SET held = false WHERE id = (
        SELECT id FROM tksva_q.job WHERE schedule = NEW.schedule AND state = 'waiting' ORDER BY id LIMIT 1
    ) AND held AND NOT EXISTS (SELECT FROM tksva_q.job WHERE schedule = NEW.schedule AND state = 'running');
    IF FOUND THEN
        PERFORM pg_notify('tksva_q', '');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER release_held AFTER UPDATE ON tksva_q.job FOR EACH ROW
    WHEN (NEW.schedule IS NOT NULL AND OLD.state <> NEW.state AND NEW.state IN ('done', 'failed', 'cancelled'))
    EXECUTE FUNCTION tksva_q.release_held();
"""


def upgrade() -> None:
    """Make the tables, and the columns that a schedule gives its jobs."""
    op.execute(TABLES)


def downgrade() -> None:
    """Take them away."""
    op.execute("DROP FUNCTION tksva_q.release_held() CASCADE")
    op.execute("DROP TABLE tksva_q.slot, tksva_q.schedule")
    op.execute("DROP INDEX tksva_q.job_schedule, tksva_q.job_schedule_live")
    for column in ("time_limit", "max_attempts", "pause_seconds", "schedule", "planned_at", "held"):
        op.execute(f"ALTER TABLE tksva_q.job DROP COLUMN {column}")
