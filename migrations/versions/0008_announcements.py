"""By which ways a file was announced: what went through is not said again when the rest is tried once more."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column; whatever was announced whole is never looked at again."""
    op.execute("ALTER TABLE tksva_q.announcement ADD COLUMN went text[] NOT NULL DEFAULT '{}'")


def downgrade() -> None:
    """Take it away."""
    op.execute("ALTER TABLE tksva_q.announcement DROP COLUMN went")
