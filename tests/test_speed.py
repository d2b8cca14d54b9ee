"""Rows a second over the last seconds, from how far a job was at each look."""

from __future__ import annotations

from speed import WINDOW, Speeds

JOB = (7, 1)


def test_a_speed_is_known_once_the_job_has_moved() -> None:
    speeds = Speeds()
    assert speeds.add(JOB, 0, 100) is None
    assert speeds.add(JOB, 0, 101) is None
    assert speeds.add(JOB, 400, 102) == 200


def test_two_looks_at_one_moment_tell_no_speed() -> None:
    speeds = Speeds()
    speeds.add(JOB, 0, 100)
    assert speeds.add(JOB, 400, 100) is None


def test_a_speed_is_that_of_the_last_seconds() -> None:
    speeds = Speeds()
    for second in range(20):
        speeds.add(JOB, second * 10, second)
    assert speeds.add(JOB, 190 + 1000, 20) == (1190 - 100) / WINDOW


def test_a_job_that_stands_still_grows_slower_from_look_to_look() -> None:
    speeds = Speeds()
    speeds.add(JOB, 0, 0)
    assert speeds.add(JOB, 1000, 10) == 100
    assert speeds.add(JOB, 1000, 20) == 50
    assert speeds.add(JOB, 1000, 100) == 10


def test_pages_rarer_than_the_window_still_have_a_speed() -> None:
    speeds = Speeds()
    speeds.add(JOB, 0, 0)
    speeds.add(JOB, 1000, 60)
    assert speeds.add(JOB, 3000, 120) == 2000 / 60


def test_rows_of_an_earlier_attempt_do_not_count() -> None:
    speeds = Speeds()
    speeds.add(JOB, 5000, 0)
    assert speeds.add((7, 2), 100, 1) is None
    assert speeds.add((7, 2), 200, 2) == 100


def test_a_file_that_begins_again_has_no_speed_below_nothing() -> None:
    speeds = Speeds()
    speeds.add(JOB, 5000, 0)
    assert speeds.add(JOB, 0, 1) is None


def test_a_job_that_runs_no_more_is_forgotten_and_the_others_are_not() -> None:
    speeds = Speeds()
    other = (8, 1)
    for job in (JOB, other):
        speeds.add(job, 0, 0)
    speeds.keep({other})
    assert speeds.add(JOB, 100, 1) is None
    assert speeds.add(other, 100, 1) == 100
