"""The queue's memory, and what helps it on `post`."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

web_ui = sa.MetaData()

sa.Table(
    "user",
    web_ui,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("username", sa.String(64), unique=True, index=True),
    sa.Column("email", sa.String(120), unique=True, index=True),
    sa.Column("password_hash", sa.String(256)),
    sa.Column("about_me", sa.String(140)),
    sa.Column("last_seen", sa.DateTime),
)
sa.Table(
    "post",
    web_ui,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user_id", sa.Integer, sa.ForeignKey("user.id")),
    sa.Column("form_name", sa.String(140)),
    sa.Column("conditions", sa.JSON),
    sa.Column("task_status", sa.String(140)),
    sa.Column("file_to_download", sa.String(140)),
    sa.Column("task_status_timestamp", sa.DateTime),
    sa.Column("timestamp", sa.DateTime),
)
sa.Table(
    "dwh_tables_info",
    web_ui,
    sa.Column("dwh_table_name", sa.String(140), primary_key=True),
    sa.Column("table_info", sa.JSON),
    sa.Column("timestamp", sa.DateTime),
    sa.Column("wants_to_refresh", sa.Boolean),
    sa.Column("wants_to_refresh_timestamp", sa.DateTime),
    sa.Column("gives_information", sa.Boolean),
    sa.Column("gives_information_timestamp", sa.DateTime),
)

QUEUE = """
CREATE TABLE tksva_q.worker (
    id uuid PRIMARY KEY,
    host text NOT NULL,                       -- machine, its boot, its pid namespace: where `process` means something
    process text NOT NULL,                    -- pid and its start time: a pid alone is given out again
    lease_seconds double precision NOT NULL,  -- others may take its jobs over when it was not seen for this long
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    loop_at timestamptz                       -- when its loop last went round
);

CREATE TABLE tksva_q.job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    post_id integer,                          -- the web UI's row; NULL for jobs that came in by another door
    form text,                                -- name of the processing
    params json,
    user_id integer,
    file_name text,
    priority smallint NOT NULL DEFAULT 5,     -- the greater first
    dwh_table text,                           -- the warehouse table it reads under the Inspector's lock
    state text NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
    queued_at timestamp NOT NULL DEFAULT localtimestamp,
    run_at timestamptz NOT NULL DEFAULT now(),  -- not before: the pause before another attempt
    attempt integer NOT NULL DEFAULT 0,       -- number of the newest attempt: the fence of every write
    spent integer NOT NULL DEFAULT 0,         -- attempts that count towards MAX_ATTEMPTS
    worker uuid,
    slot smallint,                            -- which child of the worker
    table_version text,                       -- wants_to_refresh_timestamp at the claim
    cursor json,                              -- where the next attempt goes on: key, bytes, checksum, format's state
    rows bigint NOT NULL DEFAULT 0,           -- rows really in the file
    total bigint,                             -- rows counted at the start
    bytes bigint NOT NULL DEFAULT 0,
    rows_at_claim bigint NOT NULL DEFAULT 0,
    chunk_size integer,                       -- smaller than the setting after an out-of-memory kill
    cancel boolean NOT NULL DEFAULT false,    -- somebody asked a running job to stop
    error text,                               -- why it failed, or why its last attempt did
    started_at timestamptz,
    finished_at timestamptz,
    purged_at timestamptz,
    CHECK ((state = 'running') = (worker IS NOT NULL)),
    CHECK ((state IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
) WITH (fillfactor = 80);  -- room for a page's progress to stay a heap-only update

CREATE INDEX job_waiting ON tksva_q.job (priority DESC, queued_at, id) WHERE state = 'waiting';
CREATE INDEX job_running ON tksva_q.job (worker) WHERE state = 'running';
CREATE INDEX job_table ON tksva_q.job (dwh_table) WHERE state = 'running';
CREATE INDEX job_post ON tksva_q.job (post_id) WHERE post_id IS NOT NULL;
CREATE UNIQUE INDEX job_live ON tksva_q.job (post_id) WHERE state IN ('waiting', 'running');
CREATE INDEX job_file ON tksva_q.job (finished_at)
    WHERE state = 'done' AND post_id IS NULL AND purged_at IS NULL AND file_name IS NOT NULL;
CREATE INDEX job_file_name ON tksva_q.job (user_id, file_name)
    WHERE post_id IS NULL AND purged_at IS NULL AND state IN ('waiting', 'running', 'done');

CREATE TABLE tksva_q.attempt (
    job_id bigint NOT NULL REFERENCES tksva_q.job ON DELETE CASCADE,
    attempt integer NOT NULL,
    worker uuid NOT NULL,
    host text,
    slot smallint,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    outcome text CHECK (outcome IN ('done', 'failed', 'retry', 'given back', 'cancelled')),
    reason text,
    rows_before bigint NOT NULL DEFAULT 0,    -- rows in the file when the attempt began
    rows_after bigint,
    PRIMARY KEY (job_id, attempt)
);

CREATE TABLE tksva_q.page (
    job_id bigint NOT NULL REFERENCES tksva_q.job ON DELETE CASCADE,
    attempt integer NOT NULL,
    page integer NOT NULL,
    rows integer NOT NULL,
    bytes bigint NOT NULL,
    seconds json NOT NULL,                    -- what took how long: fetch, format, compress, write
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job_id, attempt, page)
);

CREATE TABLE tksva_q.download (               -- the web UI leaves no time of the click: when the queue first saw it
    post_id integer PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION tksva_q.wake() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('tksva_q', '');
    RETURN NULL;
END $$;
"""

#: Helpers on the web UI's table: the queue works without each of them, only slower.
HELPERS = (
    "CREATE INDEX IF NOT EXISTS tksva_q_waiting ON post (id) WHERE task_status = 'в очереди'",
    "CREATE INDEX IF NOT EXISTS tksva_q_prepared ON post (task_status_timestamp)"
    " WHERE task_status = 'файл подготовлен'",
    "CREATE INDEX IF NOT EXISTS tksva_q_clicked ON post (id)"
    " WHERE task_status IN ('файл загружен', 'скрыта пользователем')",
    "CREATE INDEX IF NOT EXISTS tksva_q_living ON post (user_id, file_to_download)"
    " WHERE task_status NOT IN ('скрыта менеджером очереди', 'скрыта пользователем', 'ошибка')",
    "CREATE OR REPLACE TRIGGER tksva_q_wake AFTER INSERT OR UPDATE OF task_status ON post FOR EACH ROW"
    " WHEN (NEW.task_status IN ('в очереди', 'скрыта пользователем')) EXECUTE FUNCTION tksva_q.wake()",
)


def upgrade() -> None:
    """Make the web UI's tables where they are absent, then the queue's own, then the helpers it has the right to."""
    web_ui.create_all(op.get_bind())
    op.execute(QUEUE)
    for helper in HELPERS:
        _if_allowed(helper)


def downgrade() -> None:
    """Take away what `upgrade` made; the web UI's tables stay."""
    _if_allowed("DROP TRIGGER IF EXISTS tksva_q_wake ON post")
    for index in ("tksva_q_waiting", "tksva_q_prepared", "tksva_q_clicked", "tksva_q_living"):
        _if_allowed(f"DROP INDEX IF EXISTS {index}")
    op.execute("DROP FUNCTION tksva_q.wake() CASCADE")
    op.execute("DROP TABLE tksva_q.download, tksva_q.page, tksva_q.attempt, tksva_q.job, tksva_q.worker")


def _if_allowed(statement: str) -> None:
    op.execute(
        "DO $helper$ BEGIN " + statement + "; EXCEPTION WHEN insufficient_privilege THEN"
        " RAISE WARNING 'no right to create a helper on post: the queue works, only slower'; END $helper$"
    )
