"""What every request goes through: before the application, and on the way back."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import Request, Response
from fastapi.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from settings import Settings
from web.middleware import LARGEST_BODY, Around
from web.security import HEADERS, Guard, Refused


class App:
    """An application that keeps what reaches it and answers with its body's length."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.read = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] != "http":
            return
        more = True
        while more:
            message = await receive()
            self.read += len(message.get("body", b""))
            more = message.get("more_body", False)
        answer = PlainTextResponse(str(self.read), headers={"X-Frame-Options": "SAMEORIGIN"})
        await answer(scope, receive, send)


def refuse(request: Request, status: int, text: str, headers: dict[str, str]) -> Response:
    return PlainTextResponse(text, status, headers)


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def around(app: App) -> Around:
    return Around(app, Guard(Settings(), b"key"), refuse)


def ask(
    around: Around, headers: dict[str, str] | None = None, body: tuple[bytes, ...] = (b"",)
) -> tuple[int, Any, str]:
    """Send a request in these pieces; return the status, the headers and the text of the answer."""
    pieces = iter([*({"body": part, "more_body": True} for part in body[:-1]), {"body": body[-1]}])
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"} | next(pieces)

    async def send(message: Message) -> None:
        sent.append(message)

    given = {"host": "localhost"} | (headers or {})
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()],
    }
    asyncio.run(around(scope, receive, send))
    text = b"".join(message.get("body", b"") for message in sent).decode()
    return sent[0]["status"], httpx.Headers(sent[0]["headers"]), text


def test_every_answer_has_the_headers_and_keeps_its_own(around: Around) -> None:
    status, headers, _ = ask(around)
    assert status == 200
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers.get_list("x-frame-options") == ["SAMEORIGIN"]
    assert all(headers[name] == value for name, value in HEADERS.items() if name != "X-Frame-Options")


def test_a_refusal_has_the_headers_too_and_never_reaches_the_application(around: Around, app: App) -> None:
    status, headers, text = ask(around, {"host": "evil.example"})
    assert status == 403
    assert "API_TOKEN" in text
    assert all(headers[name] == value for name, value in HEADERS.items())
    assert app.scopes == []


@pytest.mark.parametrize("length", [str(LARGEST_BODY + 1), "-1", "1e3", "", " 5", "0x10", "²"])
def test_a_length_that_is_too_great_or_none_is_refused_unread(around: Around, app: App, length: str) -> None:
    status, _, text = ask(around, {"content-length": length}, (b"x",))
    assert status == 413
    assert text == f"тело запроса больше {LARGEST_BODY} байт"
    assert app.scopes == []


def test_the_largest_body_is_taken_and_one_byte_more_is_not(around: Around, app: App) -> None:
    pieces = (b"x" * (LARGEST_BODY - 1), b"x")
    assert ask(around, {"content-length": str(LARGEST_BODY)}, pieces)[2] == str(LARGEST_BODY)
    app.read = 0
    with pytest.raises(Refused) as refused:
        ask(around, body=(*pieces, b"y", b"never read"))
    assert refused.value.status == 413
    assert app.read == LARGEST_BODY


def test_what_is_no_request_passes_through_untouched(around: Around, app: App) -> None:
    async def never(*_: object) -> Any:
        raise AssertionError

    scope = {"type": "lifespan"}
    asyncio.run(around(scope, never, never))
    assert app.scopes == [scope]


def test_a_body_without_end_is_refused(client: httpx.Client) -> None:
    assert client.post("/api/jobs", content=b"x" * 70_000).status_code == 413
    assert client.post("/api/jobs", content=(b"x" * 1000 for _ in range(200))).status_code in {400, 413}


def test_one_request_does_not_use_up_the_room_of_the_next(around: Around, app: App) -> None:
    half = b"x" * (LARGEST_BODY // 2)
    assert [ask(around, body=(half,))[0] for _ in range(3)] == [200, 200, 200]
    assert app.read == 3 * len(half)
