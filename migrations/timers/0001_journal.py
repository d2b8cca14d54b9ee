"""The journal of runs, the alerts, and what the queue knows of both."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE SCHEMA IF NOT EXISTS zakaz;

CREATE TABLE zakaz.meta_job_runs (
    job text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    rows_processed bigint,
    status text NOT NULL CHECK (status IN ('running', 'success', 'error')),
    message text,
    metrics jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (job, started_at),
    CHECK ((status = 'running') = (finished_at IS NULL))
);

CREATE TABLE zakaz.alerts (
    alert_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    job text NOT NULL,
    alert_type text NOT NULL CHECK (alert_type IN ('error', 'warning', 'info')),
    title text NOT NULL,
    message text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    acknowledged boolean NOT NULL DEFAULT false,
    acknowledged_at timestamptz,
    acknowledged_by text
);

CREATE TABLE tksva_q.timer_run (              -- which attempt of which job a run of the journal is
    job_id bigint NOT NULL,
    attempt integer NOT NULL,
    timer text NOT NULL,
    job text NOT NULL,
    started_at timestamptz NOT NULL,
    output text NOT NULL DEFAULT '',          -- the last lines, without secrets
    PRIMARY KEY (job_id, attempt),
    FOREIGN KEY (job, started_at) REFERENCES zakaz.meta_job_runs ON DELETE CASCADE
);
CREATE UNIQUE INDEX timer_run_journal ON tksva_q.timer_run (job, started_at);
CREATE INDEX timer_run_timer ON tksva_q.timer_run (timer, started_at DESC);

CREATE TABLE tksva_q.timer_problem (          -- the life of an alert
    alert_id bigint PRIMARY KEY REFERENCES zakaz.alerts ON DELETE CASCADE,
    problem text NOT NULL,                    -- what it is about: one open alert for each
    repeated_at timestamptz NOT NULL,         -- when it was last said
    closed_at timestamptz
);
CREATE UNIQUE INDEX timer_problem_open ON tksva_q.timer_problem (problem) WHERE closed_at IS NULL;

CREATE TABLE tksva_q.timer_message (          -- what is to be said, and to whom
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id bigint NOT NULL REFERENCES zakaz.alerts ON DELETE CASCADE,
    channel text NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL,
    sent_at timestamptz,
    error text
);
CREATE INDEX timer_message_due ON tksva_q.timer_message (next_at) WHERE sent_at IS NULL;

CREATE TABLE tksva_q.timer_seen (             -- since when a timer is on: from then on its silence counts
    timer text PRIMARY KEY,
    since timestamptz NOT NULL
);

CREATE TABLE tksva_q.timer_outbox (           -- rows that ClickHouse does not have yet
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    store text NOT NULL,
    line jsonb NOT NULL
);

CREATE FUNCTION tksva_q.timer_to_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tksva_q.timer_outbox (store, line) VALUES (TG_TABLE_NAME, to_jsonb(NEW));
    RETURN NULL;
END $$;
CREATE TRIGGER timer_outbox AFTER INSERT OR UPDATE ON zakaz.meta_job_runs
    FOR EACH ROW EXECUTE FUNCTION tksva_q.timer_to_outbox();
CREATE TRIGGER timer_outbox AFTER INSERT OR UPDATE ON zakaz.alerts
    FOR EACH ROW EXECUTE FUNCTION tksva_q.timer_to_outbox();
"""


def upgrade() -> None:
    """Make the tables; the schema `zakaz` may be there already."""
    op.execute(TABLES)


def downgrade() -> None:
    """Take away what `upgrade` made; the schema `zakaz` stays where others use it."""
    op.execute(
        "DROP TABLE tksva_q.timer_outbox, tksva_q.timer_seen, tksva_q.timer_message, tksva_q.timer_problem,"
        " tksva_q.timer_run, zakaz.alerts, zakaz.meta_job_runs"
    )
    op.execute("DROP FUNCTION tksva_q.timer_to_outbox()")
