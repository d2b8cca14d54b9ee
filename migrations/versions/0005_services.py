"""Services: the long-running work that workloads bring, how each lives, and how often it had to be started again."""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
CREATE TABLE tksva_q.service (
    name text PRIMARY KEY,
    restarts bigint NOT NULL DEFAULT 0,       -- ever, by whichever daemon
    died_at timestamptz,                      -- the last time
    reason text                               -- why
);

CREATE TABLE tksva_q.service_instance (       -- a daemon's own; it goes with the daemon
    name text NOT NULL,
    worker uuid NOT NULL REFERENCES tksva_q.worker ON DELETE CASCADE,
    process int,                              -- NULL: dead, not yet started again
    since timestamptz,
    seen_at timestamptz NOT NULL,             -- its last sign of life
    trouble text,                             -- what keeps it from its work while it lives
    PRIMARY KEY (name, worker)
) WITH (fillfactor = 50);
CREATE INDEX service_instance_worker ON tksva_q.service_instance (worker);
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(TABLES)


def downgrade() -> None:
    """Take them away."""
    op.execute("DROP TABLE tksva_q.service_instance, tksva_q.service")
