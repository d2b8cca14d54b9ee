"""Lists of ended jobs by state, by user and by form, newest first; what waits or runs has indexes already."""

from alembic import op

revision = "0002"
down_revision = "0001"

ENDED = "WHERE state IN ('done', 'failed', 'cancelled')"

#: Written once, when a job ends.
INDEXES = {"job_ended": "state, id", "job_ended_user": "user_id, state, id", "job_ended_form": "form, state, id"}


def upgrade() -> None:
    """Make the indexes."""
    for name, columns in INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON tksva_q.job ({columns}) {ENDED}")


def downgrade() -> None:
    """Take them away."""
    for name in INDEXES:
        op.execute(f"DROP INDEX tksva_q.{name}")
