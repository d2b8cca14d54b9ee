"""Deals, the managers they are drawn among, the slots of the requests, and what is counted."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE tksva_q.deal_manager (
    user_id text PRIMARY KEY,
    user_name text NOT NULL,
    is_excluded boolean NOT NULL DEFAULT false,
    is_drawn boolean NOT NULL DEFAULT false
);
CREATE TABLE tksva_q.deal (
    deal_id bigint PRIMARY KEY,
    cont_id bigint NOT NULL,
    job_id bigint UNIQUE,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'failed', 'done')),
    user_id text,
    why text CHECK (why IN ('contact', 'draw')),
    chosen_at timestamptz,
    deal_updated boolean NOT NULL DEFAULT false,
    error text,
    queued_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz
);
CREATE INDEX deal_failed ON tksva_q.deal (deal_id) WHERE state = 'failed';
CREATE TABLE tksva_q.deal_slot (single boolean PRIMARY KEY DEFAULT true CHECK (single), next_at timestamptz NOT NULL);
INSERT INTO tksva_q.deal_slot (next_at) VALUES (now());
CREATE TABLE tksva_q.deal_counter (name text PRIMARY KEY, number bigint NOT NULL DEFAULT 0,
    seconds double precision NOT NULL DEFAULT 0);
INSERT INTO tksva_q.deal_counter (name) VALUES ('successful'), ('failed'), ('bitrix'), ('broker');

-- However a job ends, be it by its child's death, the deal shows it and it is counted.
CREATE FUNCTION tksva_q.deal_follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tksva_q.deal SET error = NEW.error,
        state = CASE NEW.state WHEN 'done' THEN 'done' WHEN 'failed' THEN 'failed' WHEN 'cancelled' THEN 'failed'
                ELSE 'waiting' END,
        done_at = CASE WHEN NEW.state = 'done' THEN now() END
    WHERE job_id = NEW.id;
    IF FOUND AND NEW.state IN ('done', 'failed') THEN
        UPDATE tksva_q.deal_counter SET number = number + 1,
            seconds = seconds + coalesce(extract(epoch FROM NEW.finished_at - NEW.started_at), 0)
        WHERE name = CASE NEW.state WHEN 'done' THEN 'successful' ELSE 'failed' END;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER deal_follow AFTER UPDATE ON tksva_q.job FOR EACH ROW
    WHEN (NEW.form = 'process_carex_random' AND OLD.state <> NEW.state) EXECUTE FUNCTION tksva_q.deal_follow();
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(TABLES)


def downgrade() -> None:
    """Take them away."""
    op.execute("DROP FUNCTION tksva_q.deal_follow() CASCADE")
    op.execute("DROP TABLE tksva_q.deal, tksva_q.deal_manager, tksva_q.deal_slot, tksva_q.deal_counter")
