"""The application in this process: its event loop in a thread, asked without a socket. Quicker than a real process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import httpx
from fastapi import FastAPI

from web.context import Context

T = TypeVar("T")
#: Seconds that anything asked of it may take.
PATIENCE = 60


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run something in an event loop of its own."""

    async def limited() -> T:
        return await asyncio.wait_for(work, PATIENCE)

    return asyncio.run(limited())


class Inside:
    """An application that has started; requests come from this machine and follow no redirects.

    Args:
        app: what answers.
        host: under which name it is called.
    """

    def __init__(self, app: FastAPI, host: str = "localhost") -> None:
        self.app = app
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._lifespan = app.router.lifespan_context(app)
        self.run(self._lifespan.__aenter__())
        # An error of ours is an answer here, too, not an exception of the test's.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url=f"http://{host}")

    @property
    def context(self) -> Context:
        """What the handlers share."""
        context: Context = self.app.state.context
        return context

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the application's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.run(self._client.get(path, **options))

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.run(self._client.post(path, **options))

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.run(self._client.request(method, path, **options))

    def close(self) -> None:
        if self.loop.is_closed():
            return
        self.run(self._client.aclose())
        self.run(self._lifespan.__aexit__(None, None, None))
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()
