"""Rows of the tables: a page of them, one, a new one, a changed one, none any more."""

from __future__ import annotations

import pytest

from db import Database
from integrations.parsers.records import GROUPS, SOURCE_TASK_TYPES, SOURCES, TASK_TYPES, BadValue, Conflict
from tests.parsers.conftest import Parsers


@pytest.mark.usefixtures("parsers")
def test_a_page_has_its_rows_and_the_number_of_all(own: Database) -> None:
    with own.transaction() as cursor:
        rows, total = SOURCES.page(cursor, {"type": "rss", "is_active": None}, 2, 1)
        assert ([row["name"] for row in rows], total) == (["b"], 2)
        assert SOURCES.page(cursor, {"type": "youtube"}, 1, 10) == ([], 0)
        assert SOURCES.page(cursor, {"name": "'; DROP TABLE parsers.source; --"}, 1, 10) == ([], 0)
        assert SOURCE_TASK_TYPES.get(cursor, 3, 1) == {
            "source_id": 3,
            "task_type_id": 1,
            "is_active": True,
            "interval_seconds": None,
        }


def test_what_is_computed_is_shown_and_looked_for(parsers: Parsers, own: Database) -> None:
    parsers.tasks(3)
    with own.transaction() as cursor:
        [group] = GROUPS.page(cursor, {"status": "created"}, 1, 10)[0]
        assert (group["tasks"], group["status"]) == (3, "created")
        assert GROUPS.page(cursor, {"status": "sent"}, 1, 10) == ([], 0)


@pytest.mark.usefixtures("parsers")
def test_a_row_is_added_changed_and_removed(own: Database) -> None:
    with own.transaction() as cursor:
        made = SOURCES.add(cursor, {"name": "d", "type": "vk", "external_id": "4", "settings": {"a": [1]}})
        assert made["settings"] == {"a": [1]}
    with own.transaction() as cursor:
        changed = SOURCES.change(cursor, {"name": "e"}, made["id"])
        assert changed == made | {"name": "e", "updated_at": changed and changed["updated_at"]}
        assert changed["updated_at"] > made["updated_at"]
        assert TASK_TYPES.change(cursor, {}, 1) == TASK_TYPES.get(cursor, 1)
        assert SOURCES.change(cursor, {"name": "e"}, 999) is None
        assert SOURCES.remove(cursor, made["id"])
        assert not SOURCES.remove(cursor, made["id"])
        assert SOURCES.get(cursor, made["id"]) is None


@pytest.mark.usefixtures("parsers")
def test_what_the_database_does_not_let_be_so_is_said_in_words(own: Database) -> None:
    with pytest.raises(Conflict, match="такая запись уже есть"), own.transaction() as cursor:
        SOURCES.add(cursor, {"name": "a", "type": "rss", "external_id": "1"})
    with pytest.raises(Conflict, match="записи, на которую ссылаются, нет"), own.transaction() as cursor:
        SOURCE_TASK_TYPES.add(cursor, {"source_id": 999, "task_type_id": 1})
    with pytest.raises(Conflict, match="на запись ссылаются другие"), own.transaction() as cursor:
        SOURCES.remove(cursor, 1)
    with pytest.raises(BadValue, match=r"недопустимое значение: .*interval_seconds"), own.transaction() as cursor:
        TASK_TYPES.change(cursor, {"interval_seconds": 0}, 1)
