"""Tasks are counted where they change, for a look at them must not read them all; what is asked for has its index.

A change adds a row to the counts and touches none that is there: who changes tasks waits for nobody else who does. The
rows are added up from time to time, see `groups.py`.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

COUNTS = """
CREATE INDEX task_newest ON parsers.task (source_id, created_at DESC);
DROP INDEX parsers.task_of_source;
CREATE INDEX task_group_planned ON parsers.task_group (planned_for);

CREATE TABLE parsers.task_count (              -- tasks that came into a state, less those that left it
    status text NOT NULL,
    source_type text NOT NULL,                 -- of their groups
    tasks bigint NOT NULL
);

CREATE FUNCTION parsers.count_made() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO parsers.task_count (status, source_type, tasks)
    SELECT k.status, g.source_type, count(*) FROM made k JOIN parsers.task_group g ON g.id = k.group_id GROUP BY 1, 2;
    RETURN NULL;
END $$;

CREATE FUNCTION parsers.count_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO parsers.task_count (status, source_type, tasks)
    SELECT k.status, g.source_type, sum(k.tasks)
    FROM (SELECT status, group_id, 1 AS tasks FROM new_tasks
          UNION ALL SELECT status, group_id, -1 FROM old_tasks) k
    JOIN parsers.task_group g ON g.id = k.group_id GROUP BY 1, 2 HAVING sum(k.tasks) <> 0;
    RETURN NULL;
END $$;

CREATE FUNCTION parsers.count_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO parsers.task_count (status, source_type, tasks)
    SELECT k.status, g.source_type, -count(*) FROM gone k JOIN parsers.task_group g ON g.id = k.group_id GROUP BY 1, 2;
    RETURN NULL;
END $$;

CREATE FUNCTION parsers.count_none() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM parsers.task_count;
    RETURN NULL;
END $$;

CREATE FUNCTION parsers.group_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM parsers.task WHERE group_id = OLD.id;  -- while it can still be asked for its type
    RETURN OLD;
END $$;

CREATE TRIGGER count_made AFTER INSERT ON parsers.task REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION parsers.count_made();
CREATE TRIGGER count_changed AFTER UPDATE ON parsers.task REFERENCING OLD TABLE AS old_tasks NEW TABLE AS new_tasks
    FOR EACH STATEMENT EXECUTE FUNCTION parsers.count_changed();
CREATE TRIGGER count_gone AFTER DELETE ON parsers.task REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION parsers.count_gone();
CREATE TRIGGER count_none AFTER TRUNCATE ON parsers.task FOR EACH STATEMENT EXECUTE FUNCTION parsers.count_none();
CREATE TRIGGER group_goes BEFORE DELETE ON parsers.task_group FOR EACH ROW EXECUTE FUNCTION parsers.group_goes();

-- After the triggers: they have waited for whoever was changing tasks, and now nobody is.
INSERT INTO parsers.task_count (status, source_type, tasks)
SELECT k.status, g.source_type, count(*)
FROM parsers.task k JOIN parsers.task_group g ON g.id = k.group_id GROUP BY 1, 2;
"""

BACK = """
DROP FUNCTION parsers.count_made, parsers.count_changed, parsers.count_gone, parsers.count_none, parsers.group_goes
CASCADE;
DROP TABLE parsers.task_count;
DROP INDEX parsers.task_newest, parsers.task_group_planned;
CREATE INDEX task_of_source ON parsers.task (source_id);
"""


def upgrade() -> None:
    """Count what there is, and from then on."""
    op.execute(COUNTS)


def downgrade() -> None:
    """Count no more."""
    op.execute(BACK)
