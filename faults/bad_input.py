"""Rows of `post` that nobody sane would write: each ends in `ошибка` or a correct file, and harms nobody."""

from __future__ import annotations

import csv
import json
import os
import string
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import statuses
from faults.bench import TABLE, WISHES, Bench
from faults.daemon import wait_for
from faults.report import Result

FORMS = ("DownloadForStationForm", "DownloadForRailwayForm")
GOOD = WISHES[2]
#: A user whose folder is a link, and one who has none yet.
LINKED, NEW = 3, 2

NASTY_NAMES = (
    "../a.csv", "../../a.csv", "..", ".", "/etc/a.csv", "/a.csv", "a/b.csv", "a\\b.csv", ".a.csv", "~.csv", "~/a.csv",
    "a.csv/", "a.csv\n", "a\r.csv", "a\u202e.csv", "a\u2028.csv", "a\x7f.csv", "a\x85.csv", " .csv", "  ", "", ".csv",
    "a.csv.exe", "a.CSV", "a.XLSX", "a", "a.", "a.csv ", "-rf.csv", "$(id).csv", "`id`.csv", "%s.csv", "%(a)s.csv",
    "{0}.csv", "'; DROP TABLE post; --.csv", "я" * 130 + ".csv", "a" * 136 + ".csv", "con.csv", "a:b.csv", "é.csv",
    "e\u0301.csv", "😀.csv", "link.csv", ".tksva_q-1-1.part", ".tksva_q-1-1.part.csv", "*.csv", "?.csv", "a\tb.csv",
)  # fmt: skip
NASTY_CONDITIONS = (
    "null", "[]", "{}", "0", "true", '""', '"text"', "[[[[]]]]", "1e999", "-0.0", "[" * 500 + "]" * 500,
    '{"station_name": null}', '{"station_name": "\\ud800"}', '{"station_name": "\\u0000"}', "9" * 5000,
    '{"station_name": "Лена", "start_date": "2024-01-01", "finish_date": "0000-00-00"}',
    '{"station_name": "Лена", "start_date": "9999-12-31", "finish_date": "9999-12-31"}',
    '{"station_name": "Лена", "start_date": "0001-01-01", "finish_date": "9999-12-31"}',
    '{"station_name": "Лена", "start_date": "2024-01-01", "start_date": "2025-01-01", "finish_date": "2024-12-31"}',
    '{"station_name": "\' OR 1=1 --", "start_date": "2024-01-01", "finish_date": "2024-12-31"}',
    '{"station_name": "%s %(a)s %%", "start_date": "2024-01-01", "finish_date": "2024-12-31"}',
    '{"station_name": "\\\\", "start_date": "2024-01-01", "finish_date": "2024-12-31"}',
    '{"station_name": "$1 :a {0}", "start_date": "2024-01-01", "finish_date": "2024-12-31"}',
    '{"station_name": "Лена", "start_date": "２０２４-01-01", "finish_date": "2024-12-31"}',
    '{"station_name": "Лена", "start_date": 20240101, "finish_date": "2024-12-31"}',
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What somebody has written into `post`."""

    form: str | None
    conditions: str  # JSON text
    name: str | None
    user: int | None


def run(bench: Bench, inputs: int = 400) -> list[Result]:
    """Write at least `inputs` bad rows, and compare the tree around the files before and after."""
    bench.sql("INSERT INTO \"user\" (id, username) VALUES (2, 'new'), (3, 'linked')")
    outside = _plant(bench)
    daemon = bench.daemon(max_attempts=1, workers=2)
    good = [bench.ask(GOOD)]
    bench.await_status(good[0], statuses.PREPARED)
    before = _tree(bench.folder)
    rows = [*_handwritten(), *generated(inputs)]
    posts = {post: row for row in rows if (post := _write(bench, row)) is not None}
    good.append(bench.ask(GOOD))
    open_rows = "SELECT count(*) FROM post WHERE task_status NOT IN (%s, %s)"
    wait_for(lambda: not bench.value(open_rows, statuses.FAILED, statuses.PREPARED), "the end of all rows")
    lost = [line for post, row in posts.items() if (line := _judge(bench, post, row))]
    after = _tree(bench.folder)
    lost += [f"changed: {path}" for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    lost += [f"came through the link: {path}" for path in outside.iterdir() if path.name != "secret.csv"]
    lost += [f"a good row is {bench.status(post)}" for post in good if bench.status(post) != statuses.PREPARED]
    if daemon.stop():
        lost.append("the daemon did not live through it:\n" + "\n".join(daemon.lines[-10:]))
    failed = sum(bench.status(post) == statuses.FAILED for post in posts)
    figures = {statuses.FAILED: str(failed), statuses.PREPARED: str(len(posts) - failed)}
    if len(posts) < inputs:
        lost.append(f"only {len(posts)} rows of {inputs} could be written")
    return [Result("неверные строки post", len(posts), lost, figures)]


def _handwritten() -> list[Row]:
    usual = json.dumps(GOOD.conditions)
    rows = [Row(GOOD.form, usual, name, NEW) for name in (*NASTY_NAMES, None)]
    rows += [Row(GOOD.form, text, f"условия {number}.csv", NEW) for number, text in enumerate(NASTY_CONDITIONS)]
    rows += [Row(form, usual, "a.csv", NEW) for form in (None, "", "os.system", "__class__", "export", "f" * 140)]
    return [*rows, Row(GOOD.form, usual, "a.csv", LINKED), Row(GOOD.form, usual, "a.csv", None)]


def generated(count: int) -> list[Row]:
    """Return `count` rows that hypothesis has thought of."""
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=140)
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
    shapes = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=8)
    days = st.dates().map(str) | text | shapes
    almost = st.fixed_dictionaries(
        {"start_date": days, "finish_date": days},
        optional={"station_name": text | shapes, "railway_name": st.sampled_from(["Московская", "Северная"]) | shapes},
    )
    names = text | st.builds(str.__add__, text, st.sampled_from([".csv", ".xlsx"])) | st.text(string.printable)
    row = st.builds(
        Row,
        st.sampled_from(FORMS) | text,
        (shapes | almost).map(json.dumps),
        st.none() | names.map(lambda name: name[:140]),
        st.just(NEW),
    )
    rows: list[Row] = []

    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(row)
    def collect(made: Row) -> None:
        rows.append(made)

    collect()
    return rows


def _write(bench: Bench, row: Row) -> int | None:
    """Insert a row; None where PostgreSQL itself does not take it."""
    try:
        return bench.post(row.form, row.conditions, row.name, row.user)
    except (psycopg2.DataError, ValueError):  # no JSON, too long; a NUL, which psycopg2 does not send
        return None
    except psycopg2.OperationalError:
        return None


def _judge(bench: Bench, post: int, row: Row) -> str | None:
    """Return what is wrong with how a row has ended."""
    if bench.status(post) == statuses.FAILED:
        reasons = bench.sql("SELECT error FROM tksva_q.job WHERE post_id = %s AND state = 'failed'", post)
        return None if reasons and reasons[0][0] else f"{row}: no reason is kept"
    assert row.name is not None
    path = bench.files / str(row.user) / row.name
    if not path.is_file():
        return f"{row}: prepared, but there is no file"
    wanted = json.loads(row.conditions)
    field = "station_name" if row.form == FORMS[0] else "railway_name"
    column = "Ст. Отправления" if row.form == FORMS[0] else "Дор. Отправления"
    rows = bench.value(
        f'SELECT count(*) FROM {TABLE} WHERE "{column}" = %s AND "SVOD.Дата отправки"::date BETWEEN %s AND %s',
        wanted[field],
        wanted["start_date"],
        wanted["finish_date"],
    )
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            found = sum(1 for _ in csv.reader(file, delimiter=";")) - 1
    else:
        found = _rows_of_workbook(path)
    return None if found == rows else f"{row}: {found} rows instead of {rows}"


def _rows_of_workbook(path: Path) -> int:
    with zipfile.ZipFile(path) as workbook:
        return workbook.read("xl/worksheets/sheet1.xml").count(b"<row>") - 1


def _plant(bench: Bench) -> Path:
    """Lay out what must not change: files beside the folder of files, a link out of it, a link as a file."""
    outside = bench.folder / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text("secret")
    (bench.files / "7").mkdir(parents=True)
    (bench.files / "7" / "a.csv").write_text("another user's")
    (bench.files / "a.csv").write_text("nobody's")
    (bench.files / str(LINKED)).symlink_to(outside)
    (bench.files / str(NEW)).mkdir()
    (bench.files / str(NEW) / "link.csv").symlink_to(outside / "secret.csv")
    return outside


def _tree(top: Path) -> dict[str, Any]:
    """Return every path below `top` with inode, size and time; the two folders that may change are left out."""
    seen: dict[str, Any] = {}
    may_change = {top / "files" / str(user) for user in (1, NEW)}
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if Path(folder) / name not in may_change]
        for name in [*folders, *names]:
            status = (Path(folder) / name).lstat()
            seen[os.path.join(folder, name)] = (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns)
    return seen
