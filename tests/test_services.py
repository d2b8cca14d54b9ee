"""Services: how each is judged, and which there are."""

from __future__ import annotations

from types import ModuleType

import pytest

import services
from db import Database
from leases import Worker
from services import Service, State, check
from tests.database import Queries
from workloads import Workload


def state(**changed: object) -> State:
    usual = {"name": "cook", "instances": 1, "alive": 1, "lives": 90.0, "seen": 1.0, "trouble": None, "restarts": 0}
    return State(**usual | {"died": None, "reason": None} | changed)  # type: ignore[arg-type]


def test_a_service_is_judged_by_its_signs_of_life_and_its_deaths() -> None:
    assert check(state()).status == "ok"
    assert check(state(died=600.0, restarts=1, reason="killed")).status == "ok"
    assert check(state(trouble="Kafka недоступна")) == services.Check("warning", "Kafka недоступна")
    recent = check(state(died=3.0, restarts=2, reason="killed by signal 9 (SIGKILL)"))
    assert recent.status == "warning"
    assert recent.text == "перезапусков 2, последний 3 с назад: killed by signal 9 (SIGKILL)"
    assert check(state(alive=0, died=3.0, restarts=2, reason="killed")).status == "error"
    assert check(state(alive=0, seen=77.0)) == services.Check("error", "молчит 77 с")
    assert check(state(instances=2)).status == "error"  # beside one of two daemons it is dead
    assert check(state(instances=0, alive=0)) == services.Check("error", "не запущена")


def test_two_services_of_one_name_are_refused() -> None:
    module = ModuleType("twins")
    module.SERVICES = (Service("twin", lambda _: None), Service("twin", lambda _: None))  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="two services are called twin"):
        services.defined([Workload("twins", module)])


def test_signs_of_life_and_deaths_are_kept_by_daemon_and_go_with_it(database: str, sql: Queries) -> None:
    own = Database(database, "test")
    me, other = (Worker.this_process(600) for _ in range(2))

    def sign(worker: Worker, process: int) -> None:
        with own.statement() as cursor:
            said = {"name": "cook", "worker": worker.id, "process": process, "trouble": None}
            cursor.execute(services._SIGN, said)

    def look() -> State:
        with own.statement() as cursor:
            [found] = services.states(cursor, ["cook"])
        return found

    sign(me, 1)  # before the daemon is in the list: nobody knows it
    assert look() == State("cook", 0, 0, None, None, None, 0, None, None)
    with own.transaction() as cursor:
        me.renew(cursor)
        other.renew(cursor)
    sign(me, 1)
    sign(other, 2)
    assert look().up
    with own.statement() as cursor:
        services.record_death(cursor, "cook", other.id, "killed")
    assert (look().instances, look().alive, look().restarts, look().reason) == (2, 1, 1, "killed")
    sign(other, 3)
    assert look().up
    sql("UPDATE tksva_q.service_instance SET seen_at = seen_at - interval '1 minute' WHERE process = 1")
    assert (look().alive, look().up) == (1, False)
    with own.transaction() as cursor:
        me.leave(cursor)
        other.leave(cursor)
    assert (look().instances, look().restarts) == (0, 1)
    own.close()
