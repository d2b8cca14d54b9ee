"""What the tests of the web process share: the process, a client, a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page

import db
from settings import Settings
from tests.daemons import make_settings
from tests.web.inside import Inside
from tests.web.installation import Installation, installed
from tests.web.server import Web
from web.app import create_app


@pytest.fixture
def start_web(database: str, tmp_path: Path) -> Iterator[Callable[..., Web]]:
    """Start web processes on the test's database and folder; they are stopped at the end."""
    with ExitStack() as after:

        def start(**settings: object) -> Web:
            web = Web(database, tmp_path, **settings)
            after.callback(web.stop)
            web.await_answer()
            return web

        yield start


@pytest.fixture
def web(start_web: Callable[..., Web]) -> Web:
    """A web process that needs no token."""
    return start_web()


@pytest.fixture
def client(web: Web) -> Iterator[httpx.Client]:
    with web.client() as client:
        yield client


@pytest.fixture
def start_inside(database: str, tmp_path: Path) -> Iterator[Callable[..., Inside]]:
    """Start applications in this process, on the test's database and folder; they are stopped at the end."""
    with ExitStack() as after:

        def start(**settings: object) -> Inside:
            inside = Inside(create_app(make_settings(database, tmp_path, **settings)))
            after.callback(inside.close)
            return inside

        yield start


@pytest.fixture
def inside(start_inside: Callable[..., Inside]) -> Inside:
    """An application that needs no token."""
    return start_inside()


@pytest.fixture
def embedded(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inside]:
    """An application that takes the test's database for the embedded one."""
    monkeypatch.setattr(db, "dsn", lambda settings: database)
    inside = Inside(create_app(Settings(var_dir=tmp_path)))
    yield inside
    inside.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(locale="ru-RU", timezone_id="Europe/Moscow", accept_downloads=True)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if "Content Security" in message.text else None)
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def installation() -> Iterator[Installation]:
    with installed() as installation:
        yield installation
