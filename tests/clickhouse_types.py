"""Tables of the same values in ClickHouse and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from faults.clickhouse import Server
from tests.database import Queries

#: Column, its type in ClickHouse and in PostgreSQL; values as literals of both, or one that both understand.
Typed = tuple[str, str, str, list[str | tuple[str, str]]]

_TEXTS: list[str | tuple[str, str]] = [
    "'обычный'",
    "''",
    (
        "'\"в кавычках\";\\nи\\r\\nстроки\\t\\\\.\\\\ \\b\\f\\v'",
        "E'\"в кавычках\";\\nи\\r\\nстроки\\t\\\\.\\\\ \\b\\f\\v'",
    ),
    ("'\\t=1'", "E'\\t=1'"),
    "'=1+1 😀'",
    "'-'",
    "'@, имя'",
    "'+7'",
    ("'\\\\N'", "'\\N'"),
    "'!'",
    "'100 %'",
    "'\"'",
    "','",
]
_MOMENTS = [
    "2024-01-31 12:00:00",
    "2024-02-29 23:59:59",
    "2034-01-01 00:00:01",
    "2079-06-05 00:00:00",
    "2100-12-31 07:08:09",
    "1999-12-31 23:59:59",
    "1970-01-02 03:04:05",
]
EVERY_TYPE: list[Typed] = [
    ("Текст, №; %", "String", "text", _TEXTS),
    ("low", "LowCardinality(String)", "text", _TEXTS),
    ("none", "Nullable(String)", "text", [*_TEXTS, "NULL"]),
    ("low_none", "LowCardinality(Nullable(String))", "text", [*_TEXTS, "NULL"]),
    ("fixed", "FixedString(8)", "text", ["'абвг'", "'=a'", "''"]),
    ("i8", "Int8", "smallint", ["-128", "127"]),
    ("u8", "UInt8", "smallint", ["0", "255"]),
    ("i16", "Int16", "smallint", ["-32768", "32767"]),
    ("i32", "Nullable(Int32)", "integer", ["-2147483648", "2147483647", "NULL"]),
    ("u32", "UInt32", "bigint", ["0", "4294967295"]),
    (
        "i64",
        "Int64",
        "bigint",
        ["-9223372036854775807", "999999999999999", "-999999999999999", "1000000000000000", "-1000000000000000"],
    ),
    ("u64", "UInt64", "numeric(20,0)", ["0", "18446744073709551615", "999999999999999", "1234567890123457"]),
    ("low_int", "LowCardinality(Nullable(Int32))", "integer", ["5", "NULL"]),
    ("sum", "Decimal(12, 2)", "numeric(12,2)", ["'1.50'", "'0'", "'-0.05'", "'9999999999.99'", "'-7'"]),
    ("whole", "Nullable(Decimal(9, 0))", "numeric(9,0)", ["'15'", "'-999999999'", "NULL"]),
    (
        "exact",
        "Decimal(18, 4)",
        "numeric(18,4)",
        ["'1.5'", "'12345678901234.5678'", "'99999999999.1234'", "'-10000000000000'", "'0.0001'"],
    ),
    (
        "long",
        "Nullable(Decimal(38, 10))",
        "numeric(38,10)",
        [
            "'8.9'",
            "'0'",
            "'0.0000000001'",
            "'1234567890123.12'",
            "'12345678901234567890.123456789'",
            "'-123456.1234567891'",
            "'100000000000000000000'",
            "'0.1234567891'",
            "NULL",
        ],
    ),
    (
        "f8",
        "Float64",
        "double precision",
        [
            *("0", "0.5", "-123456.789", "999999999999999", "1e15", "1234567890123456", "1e20", "1e21", "-2.5e200"),
            *("0.001", "0.0001", "0.00012345", "0.00001", "1.5e-7", "-1e-10", "1e-300", "0.1"),
            *(("nan", "'NaN'"), ("inf", "'Infinity'"), ("-inf", "'-Infinity'")),
        ],
    ),
    (
        "f4",
        "Nullable(Float32)",
        "real",
        ["0", "0.1", "123456.7", "999999", "1e6", "1234567", "1e20", "0.0001", "0.00001", "NULL", ("nan", "'NaN'")],
    ),
    ("day", "Date", "date", ["'2024-01-31'", "'1970-01-01'", "'2105-12-30'", "'1970-01-02'"]),
    ("day_none", "LowCardinality(Nullable(Date))", "date", ["'2024-01-31'", "NULL"]),
    ("at", "DateTime", "timestamp", [f"'{moment}'" for moment in _MOMENTS]),
    (
        "zoned",
        "Nullable(DateTime('Europe/Moscow'))",
        "timestamp",
        [*((f"toDateTime('{moment}', 'Europe/Moscow')", f"'{moment}'") for moment in _MOMENTS), "NULL"],
    ),
    (
        "zero",
        "DateTime('Europe/Moscow')",
        "timestamp",
        [("toDateTime(toUInt32(0), 'Europe/Moscow')", "'1970-01-01 03:00:00'")],
    ),
    (
        "code",
        "UUID",
        "uuid",
        [("toUUID('01234567-89ab-cdef-0123-456789abcdef')", "'01234567-89ab-cdef-0123-456789abcdef'")],
    ),
    ("colour", "Enum8('=красный' = 1, 'си;ний' = -2)", "varchar", ["'=красный'", "'си;ний'"]),
    (
        "tags",
        "Array(String)",
        "text[]",
        [
            ("['a', 'b c', '', 'null', '{\"x\\\\y\"}', 'с,т']", "array['a','b c','','null','{\"x\\y\"}','с,т']"),
            ("[]", "'{}'"),
        ],
    ),
    ("nums", "Array(Nullable(Int32))", "int[]", [("[1, NULL, -3]", "'{1,NULL,-3}'"), ("[]", "'{}'")]),
    ("grid", "Array(Array(Float64))", "float8[]", [("[[1.5, 1e20], [0.00001, 2]]", "'{{1.5,1e20},{0.00001,2}}'")]),
    ("sums", "Array(Decimal(9, 2))", "numeric(9,2)[]", [("[toDecimal32('1.50', 2)]", "'{1.50}'")]),
    ("days", "Array(Date)", "date[]", [("[toDate('2024-01-31')]", "'{2024-01-31}'")]),
    ("ats", "Array(DateTime)", "timestamp[]", [("[toDateTime('2024-01-31 12:00:00')]", "'{2024-01-31 12:00:00}'")]),
    ("lows", "Array(LowCardinality(String))", "text[]", [("['а', 'b c']", "'{а,b c}'")]),
]
#: What 18.16 does not have.
TODAYS_TYPES: list[Typed] = [
    ("flag", "Bool", "boolean", ["true", "false"]),
    ("flags", "Array(Nullable(Bool))", "boolean[]", [("[true, NULL]", "'{t,NULL}'")]),
    ("day32", "Nullable(Date32)", "date", ["'1900-01-01'", "'1900-03-01'", "'1900-02-28'", "'2299-12-31'", "NULL"]),
    (
        "exactly",
        "DateTime64(6)",
        "timestamp",
        [
            *("'2024-01-31 12:00:00.120000'", "'2024-01-31 12:00:00'", "'1950-06-07 08:09:10.123456'"),
            *("'1900-02-28 00:00:00'", "'1900-03-01 00:00:00.5'", "'2079-06-05 00:00:00.000001'"),
            *("'2079-06-05 00:00:00.001'", "'2024-01-31 12:00:10.000001'", "'2200-01-01 01:02:03'"),
        ],
    ),
    ("seconds", "DateTime64(0, 'Europe/Moscow')", "timestamp", ["'2024-01-31 12:00:00'"]),
    ("i128", "Int128", "numeric(39,0)", ["'-170141183460469231731687303715884105727'", "'5'"]),
    ("address", "IPv4", "inet", [("toIPv4('10.0.0.1')", "'10.0.0.1'")]),
]


def make_tables(types: list[Typed], postgres: Callable[[str], Any], clickhouse: Callable[[str], Any]) -> None:
    """Make the table `every` in both, every value in a row of its own beside others'."""
    rows = max(len(values) for *_, values in types)
    clickhouse("DROP TABLE IF EXISTS every")
    theirs = ", ".join(f"`{name}` {type_}" for name, type_, *_ in types)
    clickhouse(f"CREATE TABLE every (rownumber UInt64, {theirs}) ENGINE = Memory")
    names = ", ".join(f'"{name}" {type_}' for name, _, type_, _ in types)
    postgres(f"CREATE TABLE every (rownumber bigint PRIMARY KEY, {names})")
    for row in range(rows):
        pairs = [(values[row % len(values)], type_) for _, type_, _, values in types]
        both = [(value if isinstance(value, tuple) else (value, value), type_) for value, type_ in pairs]
        cast = ", ".join(_cast(value[0], type_) for value, type_ in both)
        clickhouse(f"INSERT INTO every SELECT {row + 1}, {cast}")
        postgres(f"INSERT INTO every VALUES ({row + 1}, {', '.join(value[1] for value, _ in both)})")


def _cast(value: str, type_: str) -> str:
    """Let the server read the value as one of the type: it inserts no text into what is not text."""
    bare = type_.replace("LowCardinality(Nullable(", "").replace("LowCardinality(", "").replace("Nullable(", "")
    if value == "NULL" or value.startswith(("to", "[")) or bare.startswith("String"):
        return value
    return f"CAST({value} AS {bare.rstrip(')') + ')' if '(' in bare else bare.rstrip(')')})"


def make_orders(sql: Queries, clickhouse: Server, table: str, rows: int) -> None:
    """Make the table of orders in both, from the same numbers."""
    sql(f"DROP TABLE {table}")
    sql(
        f"""CREATE TABLE {table} AS SELECT g::bigint AS rownumber,
        (ARRAY['Тайшет', 'Лена', 'Чита "1"'])[g % 3 + 1] AS "Ст. Отправления",
        timestamp '2024-01-01' + g % 300 * interval '1 day' + g % 86400 * interval '1 second' AS "SVOD.Дата отправки",
        'КОНТ' || g * 7919 % 10000000 AS "№ контейнера", (g % 1000)::int AS "Кол-во, шт.",
        (g * 37 % 100000 / 100.0)::numeric(12, 2) AS "Сумма, %", g * 7919 % 1000003 / 1000.0::float8 AS "Вес",
        CASE WHEN g % 7 > 0 THEN '=текст; "в кавычках"' || g END AS "Примечание", date '2024-01-01' + g % 60 AS "Дата",
        ARRAY[g, -g] AS "Номера", g::bigint * 1000000007 AS "Большое"
        FROM generate_series(1, {rows}) g"""
    )
    sql(f"ALTER TABLE {table} ADD PRIMARY KEY (rownumber)")
    clickhouse.run(f"DROP TABLE IF EXISTS {table}")
    clickhouse.run(
        f"""CREATE TABLE {table} (rownumber UInt64, `Ст. Отправления` LowCardinality(String),
        `SVOD.Дата отправки` DateTime, `№ контейнера` String, `Кол-во, шт.` Int32, `Сумма, %` Decimal(12, 2),
        `Вес` Float64, `Примечание` Nullable(String), `Дата` Date, `Номера` Array(Int64), `Большое` Nullable(Int64))
        ENGINE = MergeTree ORDER BY rownumber"""
    )
    clickhouse.run(
        f"""INSERT INTO {table} SELECT number + 1 AS g, arrayElement(['Тайшет', 'Лена', 'Чита "1"'], g % 3 + 1),
        toDateTime(toDate('2024-01-01') + g % 300) + g % 86400, concat('КОНТ', toString(g * 7919 % 10000000)),
        g % 1000, toDecimal64(g * 37 % 100000, 2) / 100, g * 7919 % 1000003 / 1000,
        if(g % 7 > 0, concat('=текст; "в кавычках"', toString(g)), NULL), toDate('2024-01-01') + g % 60,
        [toInt64(g), -toInt64(g)], g * 1000000007 FROM numbers({rows})"""
    )
