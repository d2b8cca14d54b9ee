"""Processes that end with whoever made them."""

from __future__ import annotations

from tests.outliving import ends_with_its_parent


def test_a_process_that_asks_the_kernel_ends_with_its_parent_however_that_ends() -> None:
    assert ends_with_its_parent("import parent_death; parent_death.end_with_parent()")


def test_a_process_that_does_not_ask_lives_on() -> None:
    assert not ends_with_its_parent("import parent_death", seconds=3)
