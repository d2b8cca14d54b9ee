"""The parser manager's tables, in a schema of their own."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE SCHEMA parsers;
CREATE TABLE parsers.source (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    type text NOT NULL CHECK (type IN ('rss', 'vk', 'youtube')),
    external_id text NOT NULL,
    is_active boolean NOT NULL DEFAULT true,
    settings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (type, external_id)
);
CREATE TABLE parsers.task_type (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE,
    title text NOT NULL,
    interval_seconds int NOT NULL CHECK (interval_seconds > 0),
    timeout_seconds int NOT NULL CHECK (timeout_seconds > 0),
    is_active boolean NOT NULL DEFAULT true
);
CREATE TABLE parsers.source_task_type (
    source_id bigint NOT NULL REFERENCES parsers.source,
    task_type_id bigint NOT NULL REFERENCES parsers.task_type,
    is_active boolean NOT NULL DEFAULT true,
    interval_seconds int CHECK (interval_seconds > 0),
    PRIMARY KEY (source_id, task_type_id)
);
CREATE TABLE parsers.task_group (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_type_id bigint NOT NULL REFERENCES parsers.task_type,
    source_type text NOT NULL CHECK (source_type IN ('rss', 'vk', 'youtube')),
    planned_for timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (source_type, task_type_id, planned_for)
);
CREATE TABLE parsers.task (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    group_id bigint NOT NULL REFERENCES parsers.task_group ON DELETE CASCADE,
    source_id bigint NOT NULL REFERENCES parsers.source,
    status text NOT NULL DEFAULT 'created'
        CHECK (status IN ('created', 'sent', 'in_progress', 'success', 'error', 'cancelled')),
    payload jsonb NOT NULL,
    items int,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    error text
) WITH (fillfactor = 70);
CREATE INDEX task_of_group ON parsers.task (group_id);
CREATE INDEX task_of_source ON parsers.task (source_id, created_at);
CREATE INDEX task_unsent ON parsers.task (created_at) WHERE status = 'created';
CREATE VIEW parsers.group_status AS
SELECT g.id AS group_id, CASE
    WHEN count(t.id) FILTER (WHERE t.status NOT IN ('success', 'error', 'cancelled')) > 0 THEN
        CASE WHEN bool_and(t.status = 'created') THEN 'created'
             WHEN bool_and(t.status IN ('created', 'sent')) THEN 'sent' ELSE 'in_progress' END
    WHEN bool_or(t.status = 'error') THEN 'error'
    WHEN bool_or(t.status = 'cancelled') THEN 'cancelled'
    WHEN count(t.id) = 0 THEN 'created' ELSE 'success' END AS status
FROM parsers.task_group g LEFT JOIN parsers.task t ON t.group_id = g.id GROUP BY g.id;
CREATE TABLE parsers.consumed (                -- where the next batch begins; moved together with what it changed
    topic text NOT NULL, partition int NOT NULL, next_offset bigint NOT NULL, end_offset bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)
);
CREATE TABLE parsers.refused (                 -- messages that say nothing about a task, as they came
    topic text NOT NULL, partition int NOT NULL, message_offset bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('malformed', 'unknown')), body bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, message_offset)
);
CREATE TABLE parsers.counter (name text PRIMARY KEY, value bigint NOT NULL DEFAULT 0);
INSERT INTO parsers.counter (name) VALUES ('ignored'), ('malformed'), ('unknown');
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(TABLES)


def downgrade() -> None:
    """Take them away."""
    op.execute("DROP SCHEMA parsers CASCADE")
