"""Each step of a deal leaves its mark, one attempt sees to many deals at a time, and a turn lasts until its answer."""

from alembic import op

revision = "0002"
down_revision = "0001"

STEPS = """
ALTER TABLE tksva_q.deal
    ADD deal_sent boolean NOT NULL DEFAULT false,
    ADD contact_updated boolean NOT NULL DEFAULT false,
    ADD held_by bigint,
    ADD held_attempt integer;
UPDATE tksva_q.deal SET deal_sent = deal_updated, contact_updated = state = 'done' AND why = 'draw'
WHERE deal_updated;
ALTER TABLE tksva_q.deal
    ADD served boolean NOT NULL GENERATED ALWAYS AS (deal_updated AND (why = 'contact' OR contact_updated)) STORED;
CREATE INDEX deal_open ON tksva_q.deal (job_id) WHERE state = 'waiting' AND NOT served;
CREATE INDEX deal_contact ON tksva_q.deal (cont_id);
CREATE INDEX deal_done ON tksva_q.deal (done_at DESC, deal_id DESC) WHERE state = 'done';
CREATE INDEX deal_person ON tksva_q.deal (user_id) WHERE why = 'draw';
DROP TABLE tksva_q.deal_slot;
CREATE TABLE tksva_q.deal_turn (number integer PRIMARY KEY, free_at timestamptz NOT NULL DEFAULT to_timestamp(0),
    job_id bigint, attempt integer);
"""

BACK = """
DROP TABLE tksva_q.deal_turn;
CREATE TABLE tksva_q.deal_slot (single boolean PRIMARY KEY DEFAULT true CHECK (single), next_at timestamptz NOT NULL);
INSERT INTO tksva_q.deal_slot (next_at) VALUES (now());
DROP INDEX tksva_q.deal_open, tksva_q.deal_contact, tksva_q.deal_done, tksva_q.deal_person;
ALTER TABLE tksva_q.deal DROP served, DROP deal_sent, DROP contact_updated, DROP held_by, DROP held_attempt;
"""


def upgrade() -> None:
    """Add them."""
    op.execute(STEPS)


def downgrade() -> None:
    """Take them away."""
    op.execute(BACK)
