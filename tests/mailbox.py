"""A mail server of the tests' own, which keeps the letters that it takes."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from faults.ports import free_port


class Mailbox:
    """Letters that the mail server has taken; nobody listens at its port before."""

    def __init__(self) -> None:
        self.port = free_port()
        self.letters: list[EmailMessage] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.letters.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"

    def subjects(self) -> list[str]:
        return [str(letter["Subject"]) for letter in self.letters]


@contextmanager
def mail_server(box: Mailbox, **options: Any) -> Iterator[int]:
    """Take letters for a mailbox, with options of aiosmtpd's controller; its port on loopback."""
    controller = Controller(box, hostname="127.0.0.1", port=box.port, **options)
    controller.start()
    try:
        yield box.port
    finally:
        controller.stop()
