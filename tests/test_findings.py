"""A finding of the doctor's."""

from __future__ import annotations

import dataclasses

import pytest

from findings import Finding


def test_a_finding_cannot_be_changed_once_it_is_made() -> None:
    finding = Finding("папка", True, "пишет")
    for field, value in (("name", "другая"), ("ok", False), ("text", "")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(finding, field, value)
    assert finding == Finding("папка", True, "пишет")


def test_findings_differ_where_anything_of_them_does() -> None:
    assert (
        len({Finding("a", True, "b"), Finding("a", True, "b"), Finding("a", False, "b"), Finding("a", True, "")}) == 3
    )
