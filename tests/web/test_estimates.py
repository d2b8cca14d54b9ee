"""How many rows a form asks for: counted beside everything else, by a few at a time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from errors import QueueError, UserError, WarehouseError
from settings import Settings
from tests.daemons import make_settings
from tests.waiting import wait_for
from tests.web.inside import Inside, run
from web import estimates
from web.app import create_app
from web.choices import FORMS
from web.estimates import SEATS, Estimates

STATION = (next(form for form in FORMS if form.name == "DownloadForStationForm"), "Тайшет", "2024-01-01", "2024-12-31")


class Silent:
    """A warehouse that takes connections and never says a word."""

    def __init__(self) -> None:
        self._door = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.url = f"postgresql://a:b@127.0.0.1:{self._door.getsockname()[1]}/dwh"

    def close(self) -> None:
        self._door.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    silent = Silent()
    yield silent
    silent.close()


def complaint(counting: Estimates) -> str:
    with pytest.raises(QueueError) as refused:
        run(counting.count(*STATION))
    return str(refused.value)


def test_the_rows_of_a_form_are_counted(database: str, tmp_path: Path) -> None:
    assert run(Estimates(make_settings(database, tmp_path)).count(*STATION)) == 1000


def test_what_is_wrong_with_a_form_or_the_warehouse_is_said_as_often_as_it_is_asked(
    database: str, tmp_path: Path
) -> None:
    counting = Estimates(make_settings(database, tmp_path))
    form, place, start, _ = STATION
    for _ in range(SEATS + 1):
        with pytest.raises(UserError, match="finish_date"):
            run(counting.count(form, place, start, "вчера"))
    away = Estimates(make_settings(database, tmp_path, dwh_url="postgresql://a:b@127.0.0.1:1/dwh"))
    with pytest.raises(WarehouseError):
        run(away.count(*STATION))


def test_nobody_waits_long_and_nobody_joins_those_that_hang(
    silent: Silent, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "ESTIMATE_SECONDS", 0.05)
    counting = Estimates(make_settings(database, tmp_path, dwh_url=silent.url))
    complaints = [complaint(counting) for _ in range(SEATS + 1)]
    assert complaints == ["строк так много, что их не сосчитать за несколько секунд"] * SEATS + [
        "хранилище ещё считает строки для других, попробуйте позже"
    ]
    silent.close()
    wait_for(lambda: "попробуйте позже" not in complaint(counting), 60)


def test_however_many_wait_for_a_warehouse_that_hangs_health_is_told(
    silent: Silent, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.dsn", lambda settings: database)
    inside = Inside(create_app(Settings(var_dir=tmp_path, dwh_url=silent.url)))  # type: ignore[arg-type]
    query = dict(zip(("form", "place", "start_date", "finish_date"), (STATION[0].name, *STATION[1:]), strict=True))

    async def ask() -> tuple[int, list[int]]:
        many = [asyncio.ensure_future(inside._client.get("/estimate", params=query)) for _ in range(60)]
        await asyncio.sleep(0)
        health = await inside._client.get("/healthz/detailed")
        still = sum(not one.done() for one in many)
        assert still == SEATS, "they were to hang until health was told"
        return health.status_code, [answer.status_code for answer in await asyncio.gather(*many)]

    try:
        status, answers = inside.run(ask())
        assert (status, set(answers)) == (503, {422})  # no daemon, no rows
    finally:
        inside.close()
