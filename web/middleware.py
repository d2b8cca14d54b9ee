"""What every request goes through: the name of this process, the size of the body, the headers of the answer."""

from collections.abc import Callable

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.security import HEADERS, Guard, Refused

#: Bytes that the body of a request may have.
LARGEST_BODY = 64 * 1024


class Around:
    """ASGI middleware without a copy of what streams through it: 200 open pages go through it, too.

    Args:
        app: what answers.
        guard: knows the names of this process.
        refuse: makes the answer to a refused request.
    """

    def __init__(
        self, app: ASGIApp, guard: Guard, refuse: Callable[[Request, int, str, dict[str, str]], Response]
    ) -> None:
        self._app = app
        self._guard = guard
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        try:
            self._guard.check_host(request)
            length = request.headers.get("content-length", "0")
            if not length.isdecimal() or int(length) > LARGEST_BODY:
                raise _too_large()
        except Refused as refused:
            answer = self._refuse(request, refused.status, refused.text, refused.headers)
            await answer(scope, receive, send_with_headers)
            return
        await self._app(scope, _limited(receive), send_with_headers)


def _limited(receive: Receive) -> Receive:
    """Return a reader that stops at LARGEST_BODY: a body may come without its length."""
    got = 0

    async def limited() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > LARGEST_BODY:
            raise _too_large()
        return message

    return limited


def _too_large() -> Refused:
    return Refused(413, f"тело запроса больше {LARGEST_BODY} байт")
