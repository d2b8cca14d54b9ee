"""The client of Bitrix24: what is tried again, what fails at once, what a batch is, and what nobody may read."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable

import pytest

import logs
from db import Database
from errors import Interrupted, UserError
from faults.bitrix import SECRET, Bitrix
from integrations.deals import bitrix as client
from integrations.deals.bitrix import BitrixError, PassingError, TooManyError, UnreachableError
from integrations.deals.options import DealSettings
from tests.database import Queries
from tests.deals.conftest import MakeTask, queue

Options = Callable[..., DealSettings]
Make = Callable[..., client.Bitrix]


@pytest.fixture
def connect(deals: Database, make_task: MakeTask, options: Options) -> Make:
    """A client of the stand-in."""

    def make(stopping: Callable[[], bool] = lambda: False, **changed: object) -> client.Bitrix:
        queue(deals, 1)
        return client.Bitrix(make_task(stopping), options(**changed))

    return make


def update(rest: client.Bitrix, refused: Callable[[], None] = lambda: None) -> object:
    return rest.call("crm.deal.update", lambda: {"id": 5, "fields": {"ASSIGNED_BY_ID": "7"}}, refused)


def errors(sql: Queries) -> int:
    return int(sql.value("SELECT number FROM tksva_q.deal_counter WHERE name = 'bitrix'"))


def test_a_call_is_a_post_of_json_to_the_webhook_and_the_method(connect: Make, bitrix: Bitrix) -> None:
    rest = connect()
    assert update(rest) is True
    assert bitrix.deals == {5: "7"}
    assert rest.call("crm.contact.get", lambda: {"id": 9}) == {"ID": "9", "ASSIGNED_BY_ID": "1111"}
    assert [call.method for call in bitrix.calls] == ["crm.deal.update", "crm.contact.get"]


@pytest.mark.parametrize("fault", ["429", "500", "limit", "half", "nothing", "html", "slow"])
def test_what_may_pass_is_tried_again_with_growing_pauses(
    connect: Make, bitrix: Bitrix, sql: Queries, fault: str
) -> None:
    left = iter([fault, fault])
    bitrix.fault = lambda _method, _number: next(left, "")
    bitrix.slow = 3.0
    limit = 1 if fault == "slow" else 20
    assert update(connect(bitrix_timeout=limit, bitrix_pause=0.2)) is True
    assert bitrix.deals == {5: "7"}
    first, second, third = bitrix.requests
    waited = 1.0 if fault == "slow" else 0.0
    assert second - first >= 0.2 + waited
    assert third - second >= 0.4 + waited
    assert errors(sql) == 2


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("429", "crm.deal.update: 429"),
        ("500", "crm.deal.update: 500"),
        ("limit", "QUERY_LIMIT_EXCEEDED"),
        ("half", "RemoteProtocolError"),
        ("nothing", "RemoteProtocolError"),
        ("html", "crm.deal.update: 200 <html>"),
        ("slow", "ReadTimeout"),
    ],
)
def test_what_does_not_pass_is_told_in_the_answers_own_words(
    connect: Make, bitrix: Bitrix, sql: Queries, fault: str, said: str
) -> None:
    bitrix.fault = lambda _method, _number: fault
    bitrix.slow = 1.0
    with pytest.raises(PassingError, match=said) as error:
        update(connect(bitrix_timeout=0.2 if fault == "slow" else 20))
    assert SECRET not in str(error.value)
    assert len(bitrix.requests) == 3
    assert errors(sql) == 3


def test_a_refusal_is_not_tried_again(connect: Make, bitrix: Bitrix, sql: Queries) -> None:
    bitrix.absent.add(5)
    with pytest.raises(BitrixError, match=r"crm.deal.update: 400 .*Not found"):
        update(connect())
    assert len(bitrix.requests) == 1
    assert errors(sql) == 1


def test_nobody_listens_there(connect: Make, bitrix: Bitrix, sql: Queries) -> None:
    bitrix.stop()
    with pytest.raises(UnreachableError, match="ConnectError") as error:
        update(connect())
    assert SECRET not in str(error.value)
    assert errors(sql) == 3


def test_an_answer_that_drips_has_a_time_limit_as_a_whole(connect: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def drip() -> None:
            wire, _ = server.accept()
            with wire:
                wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not over.wait(0.05):
                    try:
                        wire.sendall(b" ")
                    except OSError:
                        return

        threading.Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/rest/1/{SECRET}/"
        with pytest.raises(PassingError, match="does not come to its end"):
            update(connect(webhook_carex=url, bitrix_attempts=1, bitrix_timeout=0.5))
        over.set()


@pytest.mark.parametrize(
    ("fault", "certain"),
    [("429", True), ("limit", True), ("400", True), ("500", False), ("nothing", False), ("half", False)],
)
def test_it_is_told_when_something_has_certainly_not_been_accepted(
    connect: Make, bitrix: Bitrix, fault: str, certain: bool
) -> None:
    bitrix.fault = lambda _method, _number: fault
    told: list[str] = []
    with pytest.raises(BitrixError) as error:
        update(connect(), lambda: told.append("refused"))
    assert error.value.accepted is not certain
    assert len(told) == (len(bitrix.requests) if certain else 0)


def test_a_pause_ends_when_the_worker_stops(connect: Make, bitrix: Bitrix) -> None:
    asked = threading.Event()
    bitrix.fault = lambda _method, _number: "500"
    bitrix.before = lambda _method, _number: asked.set()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        update(connect(asked.is_set, bitrix_pause=50))
    assert time.monotonic() - began < 40
    assert len(bitrix.requests) == 1


def test_without_a_webhook_the_deal_fails_and_the_reason_says_what_to_set(make_task: MakeTask, deals: Database) -> None:
    queue(deals, 1)
    with pytest.raises(UserError, match="WEBHOOK_CAREX: не задан"):
        client.Bitrix(make_task(), DealSettings())


# --- whose a contact is -----------------------------------------------------------------------------------------------


def test_a_contact_is_somebodys_or_nobodys(connect: Make) -> None:
    rest = connect()
    for somebody in ("77", 77):
        assert rest.owner({"ASSIGNED_BY_ID": somebody}) == "77"
    for nobody in ("1111", 1111, "0", 0, "", None):
        assert rest.owner({"ASSIGNED_BY_ID": nobody}) == ""
    empty: tuple[object, ...] = ({}, [], None)
    assert [rest.owner(contact) for contact in empty] == ["", "", ""]
    assert rest.owner("yes") is None


def test_the_technical_account_is_a_setting(connect: Make) -> None:
    rest = connect(tech_account="5")
    assert (rest.owner({"ASSIGNED_BY_ID": "5"}), rest.owner({"ASSIGNED_BY_ID": "1111"})) == ("", "1111")


# --- many at once -----------------------------------------------------------------------------------------------------


def bodies(*numbers: int) -> Callable[[], dict[int, client.Body]]:
    return lambda: {number: {"id": number, "fields": {"ASSIGNED_BY_ID": "7 & 8"}} for number in numbers}


def test_a_batch_is_one_request_with_a_result_for_each(connect: Make, bitrix: Bitrix) -> None:
    assert connect().batch("crm.deal.update", bodies(*range(1, 51))) == dict.fromkeys(range(1, 51), True)
    assert len(bitrix.requests) == 1
    assert bitrix.deals == dict.fromkeys(range(1, 51), "7 & 8")


def test_what_fails_in_a_batch_takes_nothing_with_it(connect: Make, bitrix: Bitrix, sql: Queries) -> None:
    bitrix.absent = {2, 3}
    rest = connect()
    assert rest.batch("crm.deal.update", bodies(1, 2, 3, 4)) == {1: True, 4: True}
    assert errors(sql) == 2
    bitrix.absent = {1, 2}
    assert rest.batch("crm.deal.update", bodies(1, 2)) == {}


def test_an_empty_batch_is_not_sent(connect: Make, bitrix: Bitrix) -> None:
    assert connect().batch("crm.deal.update", bodies()) == {}
    assert bitrix.requests == []


@pytest.mark.parametrize("fault", ["500", "nothing", "odd", "400"])
def test_a_batch_that_fails_as_a_whole_is_not_tried_again(
    connect: Make, bitrix: Bitrix, sql: Queries, fault: str
) -> None:
    bitrix.fault = lambda method, _number: fault if method == "batch" else ""
    with pytest.raises(BitrixError):
        connect().batch("crm.deal.update", bodies(1, 2))
    assert len(bitrix.requests) == 1
    assert errors(sql) == 1


def test_a_batch_that_came_too_soon_is(connect: Make, bitrix: Bitrix) -> None:
    left = iter(["limit", "429"])
    bitrix.fault = lambda method, _number: next(left, "") if method == "batch" else ""
    rest = connect()
    assert rest.batch("crm.deal.update", bodies(1, 2)) == {1: True, 2: True}
    bitrix.fault = lambda method, _number: "429" if method == "batch" else ""
    with pytest.raises(TooManyError):
        rest.batch("crm.deal.update", bodies(1, 2))


# --- the secret -------------------------------------------------------------------------------------------------------


def test_the_webhooks_secret_is_hidden_however_it_is_written(connect: Make) -> None:
    connect()
    for text in ("/rest/1/{}/crm.deal.update", "\\/rest\\/1\\/{}\\/x", "rest%2F1%2F{}%2F", "the key {} is wrong"):
        assert SECRET not in logs.redact(text.format(SECRET))


def test_what_httpx_logs_of_the_address_is_not_written(
    connect: Make, bitrix: Bitrix, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        update(connect())
    assert SECRET not in caplog.text
