"""Statements that the server keeps: parsed once a connection, planned again after a while."""

from __future__ import annotations

import pytest

import prepared
from db import Database
from prepared import Prepared

KNOWN = "SELECT name, calls FROM (SELECT name, generic_plans + custom_plans AS calls FROM pg_prepared_statements) known"


def test_a_statement_is_parsed_once_and_run_as_often_as_wanted(own: Database) -> None:
    twice = Prepared("twice", "SELECT %(number)s::int * 2")
    for number in range(3):
        with own.statement() as cursor:
            twice.run(cursor, {"number": number})
            assert cursor.fetchone() == (number * 2,)
    with own.statement() as cursor:
        cursor.execute(KNOWN)
        assert cursor.fetchall() == [("twice", 3)]


def test_a_key_may_stand_in_several_places_and_percent_signs_are_doubled(own: Database) -> None:
    text = Prepared("text", "SELECT %(a)s || %(b)s || %(a)s LIKE '%%b%%', %(a)s::text")
    with own.statement() as cursor:
        text.run(cursor, {"a": "100% '", "b": "\\b"})
        assert cursor.fetchone() == (True, "100% '")


def test_a_statement_may_have_no_values(own: Database) -> None:
    with own.statement() as cursor:
        Prepared("one", "SELECT 1").run(cursor)
        assert cursor.fetchone() == (1,)


def test_a_new_connection_knows_the_statement_as_well(own: Database) -> None:
    one = Prepared("one", "SELECT 1")
    for _ in range(2):
        with own.statement() as cursor:
            one.run(cursor)
            assert cursor.fetchone() == (1,)
        own.close()


def test_a_transaction_that_fails_leaves_the_statement_usable(own: Database) -> None:
    share = Prepared("share", "SELECT 1 / %(number)s::int")
    with pytest.raises(ZeroDivisionError), own.transaction() as cursor:
        share.run(cursor, {"number": 1})
        raise ZeroDivisionError
    with own.transaction() as cursor:
        share.run(cursor, {"number": 1})
        assert cursor.fetchone() == (1,)


def test_plans_are_made_anew_when_they_are_old(own: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Prepared("one", "SELECT 1")
    with own.transaction() as cursor:
        one.run(cursor)
        assert b"DISCARD" not in cursor.query
        monkeypatch.setattr(prepared, "PLAN_SECONDS", -1)
        one.run(cursor)
        assert b"DISCARD PLANS" in cursor.query
        assert cursor.fetchone() == (1,)
