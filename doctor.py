"""Everything that the queue stands on, looked at one by one; what is wrong comes with its remedy.

python manage.py doctor
"""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2

import brokers
import db
import doctor_host
import logs
import processings
import schema
import settings as settings_module
import workloads
from csvfile import CsvDialect
from db import Cursor, Database
from dwh import Column, Extract, open_warehouse
from errors import QueueError, SettingsError
from findings import Finding
from object_store import open_store
from settings import Settings

#: Seconds by which two clocks may differ: further apart, nobody can read two logs together.
CLOCK_SECONDS = 10.0
#: Seconds after which a swap of the warehouse table, made once an hour, has surely got stuck.
REFRESH_SECONDS = 3 * 3600.0

#: What the queue reads and writes of the web UI's tables.
_NEEDED = (
    ("post", "SELECT", "id user_id form_name conditions task_status file_to_download timestamp task_status_timestamp"),
    ("post", "UPDATE", "task_status task_status_timestamp"),
    ("dwh_tables_info", "SELECT", "dwh_table_name wants_to_refresh wants_to_refresh_timestamp gives_information"),
    ("dwh_tables_info", "UPDATE", "gives_information gives_information_timestamp"),
)
#: What mails about finished files need besides; the table holds passwords, and nothing else of it is read.
_NEEDED_FOR_MAIL = ('"user"', "SELECT", "id username email")

#: What libpq says, in the server's language, and what helps.
_REMEDIES = (
    (r"password authentication|по паролю|no password supplied", "неверны PSQL_USER или PSQL_PWD: исправьте .env"),
    (r"role .* does not exist|роль .* не существует", "нет такого пользователя: исправьте PSQL_USER"),
    (r"database .* does not exist|база данных .* не существует", "нет такой базы: исправьте PSQL_DBNAME"),
    (r"pg_hba\.conf", "сервер не пускает отсюда: добавьте строку в pg_hba.conf"),
    (r"translate host name|name or service", "нет такого узла: исправьте PSQL_HOST"),
    (r"[Pp]eer|Ident", "через сокет пускают только одноимённого пользователя: запустите от имени службы (sudo -u)"),
    (r"refused|No such file|timeout|expired", "PostgreSQL не отвечает: проверьте PSQL_HOST, PSQL_PORT и сам сервер"),
)


def examine(env: Path = Path(".env")) -> list[Finding]:
    """Look at everything and return a finding about each thing."""
    try:
        settings = settings_module.load(env)
        workloads.load(settings.integrations)
    except SettingsError as error:
        return [Finding("настройки", False, str(error))]
    logs.hide_secrets(settings)
    source = str(env.resolve()) if env.exists() else f"{env} нет: значения по умолчанию и переменные окружения"
    findings = [
        Finding("настройки", True, source),
        *_database(settings),
        _guarded("хранилище", lambda: warehouse(settings)),
        *([_guarded("брокер", lambda: broker(settings))] if settings.broker_url else []),
        *doctor_host.examine(settings),
        *([_guarded("бакет", lambda: bucket(settings))] if settings.files_url else []),
    ]
    # What servers say may repeat what they were given.
    return [Finding(found.name, found.ok, logs.redact(found.text)) for found in findings]


def _guarded(name: str, look: Callable[[], Finding]) -> Finding:
    """Turn whatever goes wrong while looking into a finding."""
    try:
        return look()
    except (QueueError, psycopg2.Error, OSError) as error:
        return Finding(name, False, db.one_line(error))


# --- the job table's PostgreSQL ---------------------------------------------------------------------------------------


def _database(settings: Settings) -> Iterator[Finding]:
    looks: dict[str, Callable[[Cursor], Finding]] = {
        "права": lambda cursor: rights(cursor, settings),
        "схема": schema_version,
        "часы": clock,
        "Инспектор": inspector,
    }
    if settings.broker_url:
        looks["работники"] = workers
    try:
        database = Database(db.dsn(settings), "tksva_q doctor")
        database.connect()
    except QueueError as error:
        yield Finding("база", False, f"{_remedy(str(error))} ({error})")
        yield from (Finding(name, False, "не проверено: сначала база") for name in looks)
        return
    where = "встроенная" if settings.embedded else f"{settings.psql_dbname} на {settings.psql_host}"
    yield Finding("база", True, where)
    for name, look in looks.items():
        yield _guarded(name, lambda look=look: _with_cursor(database, look))  # type: ignore[misc]
    database.close()


def _with_cursor(database: Database, look: Callable[[Cursor], Finding]) -> Finding:
    with database.transaction() as cursor:
        return look(cursor)


def _remedy(message: str) -> str:
    for pattern, remedy in _REMEDIES:
        if re.search(pattern, message):
            return remedy
    return "не соединиться: проверьте PSQL_* в .env"


def rights(cursor: Cursor, settings: Settings) -> Finding:
    """Look whether the queue may read and write what it has to."""
    cursor.execute("SELECT quote_ident(current_user), quote_ident(current_database())")
    user, base = cursor.fetchone() or ("", "")
    cursor.execute("SELECT to_regnamespace('tksva_q') IS NOT NULL")
    if (cursor.fetchone() or (False,))[0]:
        lacking = list(_lacking_in_schema(cursor, user))
    else:
        cursor.execute("SELECT has_database_privilege(current_database(), 'CREATE')")
        allowed = (cursor.fetchone() or (False,))[0]
        lacking = [] if allowed else [f"GRANT CREATE ON DATABASE {base} TO {user}"]
    for table, right, columns in (*_NEEDED, *([_NEEDED_FOR_MAIL] if settings.notify_smtp else [])):
        lacking += _lacking_in_table(cursor, table, right, columns.split(), user)
    if lacking:
        return Finding("права", False, "не хватает: " + "; ".join(dict.fromkeys(lacking)))
    cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgname = 'tksva_q_wake'")
    slow = "" if (cursor.fetchone() or (0,))[0] else "; без триггера и индексов на post: работает, но медленнее"
    return Finding("права", True, user + slow)


def _lacking_in_schema(cursor: Cursor, user: str) -> Iterator[str]:
    cursor.execute("SELECT has_schema_privilege('tksva_q', 'USAGE')")
    if not (cursor.fetchone() or (False,))[0]:
        yield f"GRANT USAGE ON SCHEMA tksva_q TO {user}"
        return
    cursor.execute(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'tksva_q'::regnamespace AND relkind = 'r'"
        " AND relname <> 'alembic_version' AND NOT (has_table_privilege(oid, 'SELECT')"
        " AND has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE')"
        " AND has_table_privilege(oid, 'DELETE'))"
    )
    if (cursor.fetchone() or (0,))[0]:
        yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tksva_q TO {user}"


def _lacking_in_table(cursor: Cursor, table: str, right: str, columns: list[str], user: str) -> Iterator[str]:
    cursor.execute("SELECT to_regclass(%s)", (table,))
    if (cursor.fetchone() or (None,))[0] is None:
        yield f"таблица {table} (её создаёт сайт; на пустой базе — python manage.py migrate up)"
        return
    cursor.execute(
        "SELECT name, attnum IS NOT NULL, coalesce(has_column_privilege(%(table)s, attnum, %(right)s), false)"
        " FROM unnest(%(columns)s) name LEFT JOIN pg_attribute"
        "   ON attrelid = %(table)s::regclass AND attname = name AND NOT attisdropped",
        {"table": table, "right": right, "columns": columns},
    )
    for name, exists, allowed in cursor.fetchall():
        if not exists:
            yield f"столбец {name} таблицы {table}"
        elif not allowed:
            some = f" ({', '.join(columns)})" if (table, right) == _NEEDED_FOR_MAIL[:2] else ""
            yield f"GRANT {right}{some} ON {table} TO {user}"


def schema_version(cursor: Cursor) -> Finding:
    """Look whether the schema is the one that this code knows."""
    version, wanted = schema.current(cursor), schema.head()
    if version == wanted:
        return Finding("схема", True, f"tksva_q {version}")
    if version is None:
        return Finding("схема", False, "схемы tksva_q нет: python manage.py migrate up (или первый запуск очереди)")
    if version < wanted:
        text = f"схема {version} старее кода ({wanted}): python manage.py migrate up и перезапуск очереди"
    else:
        text = f"схема {version} новее кода ({wanted}): обновите код"
    return Finding("схема", False, text)


def clock(cursor: Cursor) -> Finding:
    """Look how far this machine's clock is from the database's."""
    before = time.time()
    cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float")
    there = float((cursor.fetchone() or (0.0,))[0])
    apart = there - (before + time.time()) / 2
    if abs(apart) <= CLOCK_SECONDS:
        return Finding("часы", True, f"расходятся с часами базы на {abs(apart):.1f} с")
    way = "спешат" if apart > 0 else "отстают"
    return Finding("часы", False, f"часы базы {way} на {abs(apart):.0f} с: timedatectl set-ntp true на обеих машинах")


def inspector(cursor: Cursor) -> Finding:
    """Look whether the Inspector's rows are there, and whether he has left a table locked."""
    problems = []
    for table in _tables():
        cursor.execute(
            "SELECT wants_to_refresh, extract(epoch FROM localtimestamp - wants_to_refresh_timestamp)::float"
            " FROM dwh_tables_info WHERE dwh_table_name = %s",
            (table,),
        )
        row = cursor.fetchone()
        if row is None:
            problems.append(
                f"в dwh_tables_info нет строки {table}: таблица читается без замка; её добавляет Инспектор (tksva_p)"
            )
        elif row[0] and (row[1] or 0) > REFRESH_SECONDS:
            problems.append(
                f"{table} обновляется уже {row[1] / 3600:.0f} ч, задания ждут: проверьте Инспектора (tksva_p)"
            )
    return Finding("Инспектор", not problems, "; ".join(problems) or ", ".join(_tables()))


def workers(cursor: Cursor) -> Finding:
    """Look whether anybody runs the jobs that the broker hands out."""
    cursor.execute(
        "SELECT count(*) FROM tksva_q.worker"
        " WHERE loop_at IS NULL AND seen_at + make_interval(secs => lease_seconds) > clock_timestamp()"
    )
    count = (cursor.fetchone() or (0,))[0]
    if count:
        return Finding("работники", True, f"за брокером: {count}")
    return Finding("работники", False, "ни одного, задания ждут: sudo systemctl enable --now tksva_q_worker@1")


def broker(settings: Settings) -> Finding:
    """Look whether the broker can be reached."""
    try:
        brokers.check(settings)
    except SettingsError:
        raise
    except QueueError as error:
        return Finding("брокер", False, f"задания ждут: проверьте BROKER_URL и сам брокер ({error})")
    return Finding("брокер", True, "отвечает")


# --- the warehouse ----------------------------------------------------------------------------------------------------


def warehouse(settings: Settings) -> Finding:
    """Look whether the tables are there, may be read, and have the columns that the forms ask about."""
    store = open_warehouse(settings)
    dialect = CsvDialect()
    try:
        found = {table: store.columns(table) for table in _tables()}
        for table, columns in found.items():
            store.csv_page(Extract(table, ()), columns, 0, 1, dialect, lambda row: None)
    finally:
        store.close()
    missing = list(_missing_columns(found))
    if missing:
        return Finding("хранилище", False, "; ".join(missing))
    counts = (f"{table}: столбцов {len(columns)}" for table, columns in found.items())
    return Finding("хранилище", True, "; ".join(counts))


def bucket(settings: Settings) -> Finding:
    """Look whether finished files can be put into the store of FILES_URL, read and deleted there."""
    store = open_store(settings)
    tidy = store is None or store.probe()
    lacking = "; брошенные загрузки не убираются: дайте ключу право s3:ListBucketMultipartUploads"
    return Finding("бакет", True, f"{settings.files_url}: пишется, читается, удаляется{'' if tidy else lacking}")


def _missing_columns(found: dict[str, tuple[Column, ...]]) -> Iterator[str]:
    for form in processings.REGISTER.values():
        if form.sample is None:
            continue
        extract = form.sample()
        names = {column.name for column in found.get(extract.table, ())}
        for condition in extract.where:
            if condition.column not in names:
                yield (
                    f"в {extract.table} нет столбца «{condition.column}», без него нет {form.name}:"
                    " проверьте, ту ли таблицу собирает Инспектор"
                )


def _tables() -> list[str]:
    """Return the warehouse tables that are read under the Inspector's lock."""
    return sorted({form.reads for form in processings.REGISTER.values() if form.reads})
