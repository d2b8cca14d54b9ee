"""The messages that the broker has been given and no worker has taken, by the job that each is for.

A table of its own, for a worker that claims passes over rows that are being written: a mark on the job itself would
let a later job overtake it. Nothing in it outlives a crash of the server, after which everything is sent again.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

TABLE = """
CREATE UNLOGGED TABLE tksva_q.dispatch (
    job_id bigint PRIMARY KEY,
    sent_at timestamptz NOT NULL
) WITH (fillfactor = 50);
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(TABLE)


def downgrade() -> None:
    """Take it away."""
    op.execute("DROP TABLE tksva_q.dispatch")
