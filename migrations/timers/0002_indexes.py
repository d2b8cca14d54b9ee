"""Indexes for what is asked of the journal every minute and by every look at the page, however long it has grown."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make them."""
    op.execute("CREATE INDEX meta_job_runs_running ON zakaz.meta_job_runs (job, started_at) WHERE status = 'running'")
    op.execute("CREATE INDEX meta_job_runs_started ON zakaz.meta_job_runs (started_at DESC)")
    op.execute("CREATE INDEX timer_run_started ON tksva_q.timer_run (started_at DESC)")
    op.execute("CREATE INDEX timer_run_job ON tksva_q.timer_run (timer, job_id DESC, attempt DESC)")


def downgrade() -> None:
    """Take them away."""
    op.execute("DROP INDEX zakaz.meta_job_runs_running, zakaz.meta_job_runs_started")
    op.execute("DROP INDEX tksva_q.timer_run_started, tksva_q.timer_run_job")
