"""What the command line shows of the queue, for people and for programs."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable

from tests.command_line import PREPARED, SUBMIT, WORDS, Run, run
from tests.daemons import Daemon
from tests.database import TABLE, Queries
from tests.waiting import wait_for

__all__ = ["run"]  # a fixture


def test_status_says_what_waits_runs_and_failed(run: Run, sql: Queries) -> None:
    run(*SUBMIT, *WORDS)
    sql("INSERT INTO tksva_q.job (form, state, finished_at) VALUES ('A', 'failed', now())")
    text = run("status").out
    assert re.search(r"Ждут +1; старшее ждёт \d", text)
    assert re.search(r"С ошибкой +1\b", text)
    assert "очередь не работает" in text
    found = run("status", "--json").json
    assert (found["waiting"], found["failed"], found["running"], found["last_loop_seconds"]) == (1, 1, [], None)


def test_status_shows_a_bar_for_what_runs_and_when_the_loop_last_went_round(
    run: Run, start_daemon: Callable[..., Daemon], sql: Queries
) -> None:
    daemon = start_daemon()
    wait_for(lambda: sql.value("SELECT count(*) FROM tksva_q.worker"))
    daemon.process.send_signal(signal.SIGSTOP)  # it would take the job back from a worker that it does not know
    sql(
        "INSERT INTO tksva_q.job (form, user_id, file_name, state, worker, rows, total, attempt) SELECT"
        " 'A', 7, 'отчёт (1) [x].csv', 'running', gen_random_uuid(), 250, 1000, 2"
    )
    text = run("status").out
    assert re.search(rf"Последний оборот +\d+(,\d)?\sс назад \(.*процесс {daemon.pid}\)", text)
    assert re.search(r"отчёт \(1\) \[x\]\.csv +[━╸]+ +25% +250 из 1\s000 +2", text)


def test_status_tells_that_the_inspector_holds_the_table(run: Run, sql: Queries) -> None:
    sql(
        "UPDATE dwh_tables_info SET wants_to_refresh = true,"
        " wants_to_refresh_timestamp = localtimestamp - interval '5 min'"
    )
    assert re.search(rf"{re.escape(TABLE)} обновляется Инспектором уже 5\sмин", run("status").out)


def test_jobs_are_listed_by_state_and_user(run: Run, sql: Queries) -> None:
    sql(
        "INSERT INTO tksva_q.job (form, user_id, state, finished_at, error) VALUES"
        " ('A', 1, 'done', now(), NULL), ('A', 2, 'failed', now(), 'причина [красная]'), ('B', 2, 'done', now(), NULL)"
    )
    assert [job["id"] for job in run("jobs", "--json").json] == [3, 2, 1]
    assert [job["id"] for job in run("jobs", "--state", "done", "--user", "2", "--json").json] == [3]
    assert [job["id"] for job in run("jobs", "--form", "A", "--limit", "1", "--page", "2", "--json").json] == [1]
    text = run("jobs", "--limit", "2").out
    assert re.search(r"2 +2 +ошибка +A .* причина \[красная\]", text)
    assert "--page 2" in text
    assert run("jobs", "--state", "cancelled").out == "Таких заданий нет.\n"


def test_what_users_have_typed_does_not_steer_the_terminal(run: Run, sql: Queries) -> None:
    sql(
        "INSERT INTO tksva_q.job (form, state, finished_at, error) VALUES (%s, 'failed', now(), %s)",
        "\x1b[2J",
        "a\nb\x07",
    )
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", run("jobs").out + run("show", "1").out)


def test_show_tells_every_attempt_with_its_reason_and_what_pages_took(
    run: Run, start_daemon: Callable[..., Daemon], sql: Queries
) -> None:
    daemon = start_daemon(CHUNK_SIZE=400)
    post = sql.post("a.csv")
    sql.await_status(post, PREPARED)
    daemon.stop()
    sql(
        "INSERT INTO tksva_q.attempt (job_id, attempt, worker, host, outcome, reason, finished_at)"
        " VALUES (1, 0, gen_random_uuid(), 'machine x', 'retry', 'хранилище недоступно', now())"
    )
    found = run("show", "1", "--json").json
    assert [(attempt["outcome"], attempt["reason"]) for attempt in found["attempts"]] == [
        ("retry", "хранилище недоступно"),
        ("done", None),
    ]
    assert [page["rows"] for page in found["pages"]] == [400, 400, 200]
    assert {"fetch", "write"} <= set(found["pages"][0]["seconds"])
    assert json.loads(found["params"])["station_name"] == "Тайшет"
    text = run("show", "1", "--pages", "2").out
    assert "хранилище недоступно" in text
    assert "будет повтор" in text
    assert "2 последних из 3" in text
    assert '"station_name": "Тайшет"' in text
