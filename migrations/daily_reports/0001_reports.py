"""Reports of days; the orders they are made from belong to somebody else."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

tables = sa.MetaData()

sa.Table(
    "orders",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now(), index=True),
)
sa.Table(
    "order_items",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("order_id", sa.Integer, sa.ForeignKey("orders.id"), nullable=False, index=True),
    sa.Column("quantity", sa.Integer, nullable=False),
)
reports = sa.Table(
    "reports",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("report_at", sa.Date, nullable=False),
    # Whoever owns the orders may delete them as if there were no reports.
    sa.Column("order_id", sa.Integer, sa.ForeignKey("orders.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("count_product", sa.Integer, nullable=False),
    sa.UniqueConstraint("report_at", "order_id"),
)


def upgrade() -> None:
    """Make the tables that are absent: where a shop is there already, only the reports."""
    tables.create_all(op.get_bind())


def downgrade() -> None:
    """Take the reports away; the orders stay."""
    reports.drop(op.get_bind())
