"""What the tests of the timers share: the tables, a file of definitions, a real mail server."""

from __future__ import annotations

import email
import email.policy
import socket
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

import schema
from db import Database


@pytest.fixture
def tables(database: str) -> str:
    """Connection string of a database with the tables of the timers."""
    schema.migrate(database, workloads=["timers"])
    return database


@pytest.fixture
def queue(tables: str) -> Iterator[Database]:
    connection = Database(tables, "tests")
    yield connection
    connection.close()


class Mailbox:
    """Letters that the mail server has taken."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.letters.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"

    def subjects(self) -> list[str]:
        return [str(letter["Subject"]) for letter in self.letters]


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    box = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    keys = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": port, "SMTP_USE_TLS": "off", "ALERT_EMAIL_TO": "duty@example.org"}
    for key, value in keys.items():
        monkeypatch.setenv(key, str(value))
    yield box
    controller.stop()


@pytest.fixture
def define(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write `schedules.toml` and have the timers read it."""

    def write(text: str) -> Path:
        path = tmp_path / "schedules.toml"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setenv("SCHEDULES_FILE", str(path))
        return path

    return write
