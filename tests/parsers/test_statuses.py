"""What is read from a message, and what a task becomes of it."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.parsers.statuses import FINAL, LONGEST_MESSAGE, Malformed, Status, fold, read
from tests.parsers.conftest import status

TASK = "0190c7a4-6f5e-7000-8000-000000000001"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def said(word: str, second: int = 0, items: int | None = None, error: str | None = None) -> Status:
    return Status(TASK, word, NOON.replace(second=second), items, error)


def test_a_status_is_read_with_all_it_says() -> None:
    assert read(status(TASK, "success", 5, items=7)) == said("success", 5, items=7)
    assert read(status(TASK, "error", error="нет сети\0\ud800")) == said("error", error="нет сети\\x00\\ud800")
    assert read(status(TASK.upper(), "in_progress", items=[1, 2])) == said("in_progress", items=2)
    assert read(status(TASK, "success", items=3.0, error=None)).items == 3
    assert read(
        json.dumps({"task_id": TASK, "status": "cancelled", "occurred_at": "2026-01-01T15:00+03:00"}).encode()
    ) == said("cancelled")
    assert read(
        json.dumps({"task_id": TASK, "status": "cancelled", "occurred_at": "2026-01-01 12:00"}).encode()
    ) == said("cancelled")
    assert len(read(status(TASK, "error", error="я" * 10**5)).error or "") == 4000


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "пустое"),
        (b"", "пустое"),
        (b" " * (LONGEST_MESSAGE + 1), "длинное"),
        (b"\xff", "не JSON"),
        (b"[" * 10**5, "не JSON"),
        (b"7", "не объект"),
        (b"[]", "не объект"),
        (status("x", "success"), "task_id: не UUID"),
        (status(7, "success"), "task_id: нужен UUID"),  # type: ignore[arg-type]
        (status(TASK, "sent"), "status: нужно одно из"),
        (status(TASK, "done"), "status: нужно одно из"),
        (status(TASK, ["success"]), "status: нужно одно из"),  # type: ignore[arg-type]
        (json.dumps({"task_id": TASK, "status": "success"}).encode(), "occurred_at: нужно время"),
        (json.dumps({"task_id": TASK, "status": "success", "occurred_at": "вчера"}).encode(), "occurred_at: не время"),
        (
            json.dumps({"task_id": TASK, "status": "success", "occurred_at": "0001-01-01T00:00+10:00"}).encode(),
            "occurred_at: не время",
        ),
        (status(TASK, "success", items=-1), "items"),
        (status(TASK, "success", items=True), "items"),
        (status(TASK, "success", items=2**63), "items"),
        (status(TASK, "success", items="5"), "items"),
        (status(TASK, "error", error={"code": 5}), "error: нужна строка"),
    ],
)
def test_what_is_no_status_is_refused_with_the_reason(body: bytes | None, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        read(body)


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_fail_in_another_way(body: bytes) -> None:
    with pytest.raises(Malformed):
        read(body)


def test_a_task_goes_from_its_start_to_its_end_and_what_comes_later_is_late() -> None:
    change, late = fold(
        "sent",
        [said("in_progress", 1), said("in_progress", 2, items=4), said("success", 3), said("error", 4, error="нет")],
    )
    assert change is not None
    assert (change.status, change.items, change.error) == ("success", 4, None)
    assert (change.started_at, change.finished_at) == (NOON.replace(second=1), NOON.replace(second=3))
    assert late == 1
    for final in FINAL:
        assert fold(final, [said("in_progress"), said("success")]) == (None, 2)
    change, late = fold("created", [said("error", 9, error="нет")])
    assert change is not None
    assert (change.status, change.error, change.started_at, late) == ("error", "нет", None, 0)


WORDS = st.sampled_from([*sorted(FINAL), "in_progress"])


@given(st.lists(WORDS, min_size=1), st.integers(0, 20), st.sampled_from(["created", "sent", "in_progress", "success"]))
def test_it_makes_no_difference_where_a_batch_ends(words: list[str], cut: int, current: str) -> None:
    statuses = [said(word, number % 60, items=number) for number, word in enumerate(words)]

    def apply(state: dict[str, object], part: list[Status]) -> int:
        if not part:
            return 0
        change, late = fold(str(state["status"]), part)
        if change is not None:
            state["started_at"] = state["started_at"] or change.started_at
            state |= {"status": change.status, "finished_at": change.finished_at}
            state["items"] = change.items if change.items is not None else state["items"]
        return late

    def start() -> dict[str, object]:
        return {"status": current, "started_at": None, "finished_at": None, "items": None}

    whole, parts = start(), start()
    late = apply(whole, statuses)
    assert apply(parts, statuses[:cut]) + apply(parts, statuses[cut:]) == late
    assert parts == whole


def test_a_task_id_is_one_however_it_is_written() -> None:
    for text in (TASK, f"urn:uuid:{TASK}", f"{{{TASK}}}", uuid.UUID(TASK).hex):
        assert read(status(text, "success")).task_id == TASK
