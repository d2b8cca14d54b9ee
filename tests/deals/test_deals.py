"""The deals as a whole: real daemons and workers, stopped, everybody on leave, a service that fails in every way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from db import Database
from errors import UserError
from faults.bitrix import SECRET, Bitrix
from integrations.deals import process_carex_random
from tests.daemons import Daemon
from tests.database import Queries
from tests.deals.conftest import MakeTask, await_states, fast, leave, queue
from tests.waiting import wait_for
from tests.web.server import Web

Start = Callable[..., Daemon]
StartWeb = Callable[..., Web]


def test_deals_are_seen_to_in_the_order_they_came(
    deals: Database, sql: Queries, bitrix: Bitrix, start_daemon: Start
) -> None:
    order = [5, 3, 9, 1, 7, 2]
    queue(deals, *order)
    start_daemon(**fast(bitrix, bitrix_batch=1))
    await_states(sql, done=6)
    assert bitrix.called("crm.deal.update") == order


def test_a_deal_waits_while_everybody_is_on_leave(
    deals: Database, sql: Queries, bitrix: Bitrix, start_daemon: Start
) -> None:
    leave(deals, *range(1, 7))
    queue(deals, 1, 2, 3)
    start_daemon(**fast(bitrix))
    wait_for(
        lambda: (
            sql.value(
                "SELECT count(*) FROM tksva_q.job JOIN tksva_q.deal ON job_id = id"
                " WHERE job.state = 'waiting' AND job.error = 'no available users' AND deal.error = job.error"
            )
            == 3
        )
    )
    assert sql("SELECT DISTINCT spent FROM tksva_q.job") == [(0,)]
    assert bitrix.deals == {}
    leave(deals, 4, excluded=False)
    await_states(sql, done=3)
    assert bitrix.deals == {1: "4", 2: "4", 3: "4"}


def test_sigterm_in_the_middle_of_a_deal_ends_the_daemon_and_costs_no_attempt(
    deals: Database, sql: Queries, bitrix: Bitrix, start_daemon: Start
) -> None:
    in_the_midst, go_on = threading.Event(), threading.Event()

    def hold(method: str, _number: int) -> None:
        if method == "crm.deal.update":
            in_the_midst.set()
            go_on.wait(30)

    bitrix.before = hold
    queue(deals, 1)
    daemon = start_daemon(**fast(bitrix, bitrix_timeout=60))
    assert in_the_midst.wait(30)
    stopped: list[int] = []
    stopping = threading.Thread(target=lambda: stopped.append(daemon.stop()))
    stopping.start()
    daemon.await_line(" stopping ")
    go_on.set()
    stopping.join(40)
    assert stopped == [0]
    assert sql("SELECT state, spent FROM tksva_q.job") == [("waiting", 0)]
    assert bitrix.contacts == {}
    bitrix.before = lambda _method, _number: None
    start_daemon(**fast(bitrix))
    await_states(sql, done=1)
    assert bitrix.deals == {1: bitrix.contacts[1001]}
    assert len(bitrix.called("crm.deal.update")) == 1


def test_sigterm_in_a_pause_is_heard_at_once(
    deals: Database, sql: Queries, bitrix: Bitrix, start_daemon: Start
) -> None:
    bitrix.fault = lambda _method, _number: "429"
    queue(deals, 1)
    daemon = start_daemon(**fast(bitrix, bitrix_pause=60))
    wait_for(lambda: sql.value("SELECT number FROM tksva_q.deal_counter WHERE name = 'bitrix'") == 1)
    assert daemon.stop() == 0
    assert sql("SELECT state, spent, error FROM tksva_q.job") == [
        ("waiting", 0, "the worker stops; the job goes on from here later")
    ]


def everything(sql: Queries) -> str:
    """The whole database as text."""
    tables = sql(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'audit')"
    )
    assert ("tksva_q.deal",) in tables
    return "\n".join(str(sql(f"SELECT t::text FROM {table} t")) for (table,) in tables)


def test_the_webhooks_secret_is_nowhere(  # noqa: PLR0913, PLR0917 -- fixtures
    deals: Database, sql: Queries, bitrix: Bitrix, start_daemon: Start, start_web: StartWeb, tmp_path: Path
) -> None:
    faults = {1: "429", 2: "500", 3: "limit", 4: "half", 5: "nothing", 6: "slow", 7: "html", 8: "400"}
    bitrix.fault = lambda method, number: faults.get(number, "") if method == "crm.deal.update" else ""
    settings = fast(bitrix, workers=2, log_file=tmp_path / "queue.log", bitrix_attempts=2, bitrix_timeout=2)
    bitrix.slow = 4.0
    daemon, web = start_daemon(**settings), start_web(**settings)
    with web.client() as client:
        queue(deals, *range(1, 10))
        await_states(sql, failed=8, done=1)
        paths = ("/deals", "/metrics", "/", "/jobs", "/jobs/1", "/api/jobs", "/healthz/detailed", "/openapi.json")
        shown = "".join(client.get(path).text for path in paths)
        shown += client.post("/CarexRandom", params={"deal_id": SECRET, "cont_id": 1}).text.replace(SECRET, "", 1)
    dump = everything(sql)
    for reason in ("429", "500", "QUERY_LIMIT_EXCEEDED", "RemoteProtocolError", "ReadTimeout", "html", "400"):
        assert reason in dump
    assert "refused at " in dump
    assert daemon.stop() == 0
    logged = "\n".join([*daemon.lines, *web.lines, *(path.read_text() for path in tmp_path.glob("*.log"))])
    assert "job_failed" in logged
    assert SECRET not in shown + dump + logged


@pytest.mark.parametrize("params", ["null", "{}", '{"deal_id": 1}', '{"deal_id": "x", "cont_id": 2}', "[1]"])
def test_a_job_without_a_deal_and_a_contact_fails_at_once(sql: Queries, make_task: MakeTask, params: str) -> None:
    sql("INSERT INTO tksva_q.job (form, params) VALUES ('process_carex_random', %s)", params)
    with pytest.raises(UserError, match="deal_id"):
        process_carex_random(make_task())
