"""Whoever ends several jobs in one transaction counts alone among those of its share.

Two transactions that counted jobs of two kinds in different orders would wait for each other's rows. The lock is taken
where the counting begins, at the commit, and by each trigger's name before the one that counts.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

#: Class of the advisory locks ("coun" in ASCII); the object is the share.
LOCK = 0x636F756E

TRIGGERS = f"""
CREATE FUNCTION tksva_q.count_alone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock({LOCK}, pg_backend_pid() % 16);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER count_alone AFTER UPDATE ON tksva_q.job DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND NEW.state <> 'running') EXECUTE FUNCTION tksva_q.count_alone();
CREATE TRIGGER count_alone_departures AFTER DELETE ON tksva_q.job
    FOR EACH STATEMENT EXECUTE FUNCTION tksva_q.count_alone();
"""


def upgrade() -> None:
    """Make the triggers."""
    op.execute(TRIGGERS)


def downgrade() -> None:
    """Take them away."""
    op.execute("DROP FUNCTION tksva_q.count_alone() CASCADE")
