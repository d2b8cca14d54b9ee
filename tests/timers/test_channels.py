"""Alerts are said by mail, Telegram and a webhook; whatever cannot be sent is tried again and tells no secret."""

from __future__ import annotations

import datetime
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword

from db import Database
from integrations.timers import alerts, channels, definitions
from integrations.timers.alerts import Problem
from tests.database import Queries
from tests.mailbox import Mailbox, mail_server
from tests.timers.conftest import START
from tests.timers.servers import Peer, peer

TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
HOOK = "/hooks/n0body-may-know"
MINUTE = datetime.timedelta(minutes=1)


@pytest.fixture
def telegram(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    with peer() as server:
        monkeypatch.setenv("TG_API_URL", server.url)
        monkeypatch.setenv("TG_BOT_TOKEN", TOKEN)
        monkeypatch.setenv("TG_CHAT_ID", "-100123")
        yield server


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    with peer() as server:
        monkeypatch.setenv("ALERT_WEBHOOK", server.url + HOOK)
        yield server


@pytest.fixture
def say(queue: Database) -> Callable[..., int]:
    """Say something, and send what is due at a moment; how many messages went out."""

    def run(message: str | None = "код выхода 1", at: datetime.datetime = START) -> int:
        settings = definitions.options()
        if message is not None:
            with queue.transaction() as cursor:
                problem = Problem(message[:50], "loader", "error", "Беда", message)
                alerts.keep(cursor, [problem], at, datetime.timedelta(days=1), channels.names(settings))
        return channels.send_due(queue, settings, at)

    return run


def error(sql: Queries) -> str:
    return str(sql.value("SELECT error FROM tksva_q.timer_message ORDER BY id LIMIT 1"))


def test_only_channels_that_are_set_up_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert channels.names(definitions.options()) == ()
    monkeypatch.setenv("TG_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("SMTP_HOST", "127.0.0.1")
    assert channels.names(definitions.options()) == ()
    for key, value in {"TG_CHAT_ID": "1", "ALERT_EMAIL_TO": "a@b.org", "ALERT_WEBHOOK": "http://a/b"}.items():
        monkeypatch.setenv(key, value)
    assert channels.names(definitions.options()) == ("mail", "telegram", "webhook")


# --- Telegram ---------------------------------------------------------------------------------------------------------


def test_telegram_is_told_as_the_bot_api_wants_it(say: Callable[..., int], telegram: Peer) -> None:
    assert say("строка 1\nстрока 2") == 1
    [call] = telegram.calls
    assert (call.method, call.path) == ("POST", f"/bot{TOKEN}/sendMessage")
    assert call.kind.startswith("application/json")
    assert call.content == {"chat_id": "-100123", "text": "Беда\nстрока 1\nстрока 2"}


def test_a_message_that_is_too_long_for_telegram_is_cut(say: Callable[..., int], telegram: Peer) -> None:
    say("я" * 10_000)
    assert 3900 < len(telegram.calls[0].content["text"]) <= 4096


def test_telegram_is_left_alone_for_as_long_as_it_wants(say: Callable[..., int], telegram: Peer, sql: Queries) -> None:
    telegram.answers.append(
        (429, {"ok": False, "error_code": 429, "description": "Too Many Requests: retry after 420",
               "parameters": {"retry_after": 420}}),
    )  # fmt: skip
    assert say() == 0
    assert error(sql) == "HTTP 429: Too Many Requests: retry after 420"
    assert say(None, START + 6 * MINUTE) == 0
    assert len(telegram.calls) == 1
    assert say(None, START + 7 * MINUTE) == 1
    assert sql("SELECT error, sent_at FROM tksva_q.timer_message") == [(None, START + 7 * MINUTE)]


def test_a_bot_that_is_not_let_in_is_named_as_telegram_says_it(
    say: Callable[..., int], telegram: Peer, sql: Queries, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = {"ok": False, "error_code": 403, "description": "Forbidden: bot was kicked from the group chat"}
    telegram.answers.append((403, refusal))
    assert say() == 0
    assert error(sql) == "HTTP 403: Forbidden: bot was kicked from the group chat"
    assert say(None, START + MINUTE) == 1
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    "answer", ["<html>", "[]", '{"parameters": 1}', '{"parameters": {"retry_after": "soon"}}', '{"parameters": null}']
)
def test_a_refusal_of_any_shape_is_tried_again(
    say: Callable[..., int], telegram: Peer, sql: Queries, answer: str
) -> None:
    telegram.answers.append((502, answer))
    assert say() == 0
    assert error(sql) == "HTTP 502: Bad Gateway"
    assert say(None, START + MINUTE) == 1


def test_a_server_can_not_ask_for_silence_without_end(say: Callable[..., int], telegram: Peer) -> None:
    telegram.answers.append((429, {"parameters": {"retry_after": 10**12}}))
    assert say() == 0
    assert say(None, START + datetime.timedelta(days=1)) == 1


@pytest.mark.parametrize("token", [TOKEN, TOKEN + " \N{NO-BREAK SPACE}", TOKEN + " x"])
@pytest.mark.usefixtures("telegram")
def test_no_error_tells_the_token(
    say: Callable[..., int],
    sql: Queries,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    token: str,
) -> None:
    monkeypatch.setenv("TG_BOT_TOKEN", token)
    monkeypatch.setenv("TG_API_URL", "http://127.0.0.1:1")
    assert say() == 0
    assert error(sql)
    for text in (error(sql), caplog.text, *(str(record.__dict__) for record in caplog.records)):
        assert TOKEN not in text


def test_a_server_that_hangs_up_is_tried_again(
    say: Callable[..., int], telegram: Peer, monkeypatch: pytest.MonkeyPatch, sql: Queries
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude, monkeypatch.context() as other:

        def hang_up() -> None:
            connection, _ = rude.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"nonsense\r\n\r\n")

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        other.setenv("TG_API_URL", f"http://127.0.0.1:{rude.getsockname()[1]}")
        assert say() == 0
        thread.join(10)
    assert error(sql)
    assert say(None, START + MINUTE) == 1


# --- a webhook --------------------------------------------------------------------------------------------------------


def test_a_webhook_gets_title_and_message_as_json(say: Callable[..., int], webhook: Peer) -> None:
    assert say("код выхода 1") == 1
    [call] = webhook.calls
    assert (call.method, call.path, call.content) == ("POST", HOOK, {"title": "Беда", "message": "код выхода 1"})
    assert call.kind == "application/json; charset=utf-8"


def test_a_webhooks_address_is_a_secret(
    say: Callable[..., int], webhook: Peer, sql: Queries, caplog: pytest.LogCaptureFixture
) -> None:
    webhook.answers.append((404, {"description": f"no such hook: {HOOK}"}))
    assert say() == 0
    assert error(sql) == "HTTP 404: no such hook: /***"
    assert HOOK.rsplit("/", 1)[1] not in caplog.text


# --- what all channels share ------------------------------------------------------------------------------------------


def test_a_channel_that_is_away_holds_no_other_back(
    say: Callable[..., int], telegram: Peer, webhook: Peer, mailbox: Mailbox
) -> None:
    telegram.answers.append((500, ""))
    assert say() == 2
    assert (len(webhook.calls), mailbox.subjects()) == (1, ["Беда"])
    assert say(None, START + MINUTE) == 1
    assert (len(telegram.calls), len(webhook.calls), len(mailbox.letters)) == (2, 1, 1)


def test_a_message_is_given_up_after_an_hour_and_more_of_growing_pauses(
    say: Callable[..., int], telegram: Peer
) -> None:
    telegram.answers.extend([(500, "")] * 100)
    say()
    for minutes in range(1, 200):
        say(None, START + minutes * MINUTE)
    assert len(telegram.calls) == channels.TRIES


def test_a_channel_that_is_no_longer_set_up_is_said_to_be_so(
    say: Callable[..., int], webhook: Peer, sql: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook.answers.append((500, ""))
    say()
    monkeypatch.delenv("ALERT_WEBHOOK")
    assert say(None, START + MINUTE) == 0
    assert error(sql) == "канал больше не настроен"


# --- mail -------------------------------------------------------------------------------------------------------------


def test_a_mail_server_that_is_away_gets_the_letter_later(
    say: Callable[..., int], mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, sql: Queries
) -> None:
    with monkeypatch.context() as away:
        away.setenv("SMTP_PORT", "1")
        assert say() == 0
    assert (mailbox.letters, "refused" in error(sql)) == ([], True)
    assert say(None, START + 2 * MINUTE) == 1
    [letter] = mailbox.letters
    assert (letter["From"], letter["To"], letter["Subject"]) == ("tksva_q@localhost", "duty@example.org", "Беда")
    assert letter.get_content().strip() == "код выхода 1"


def test_mail_is_not_sent_in_clear_where_it_is_to_be_encrypted(
    say: Callable[..., int], mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, sql: Queries
) -> None:
    monkeypatch.setenv("SMTP_USE_TLS", "on")
    assert say() == 0
    assert mailbox.letters == []
    assert "STARTTLS" in error(sql)


def test_mail_is_encrypted_and_the_password_never_told(
    say: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sql: Queries,
    caplog: pytest.LogCaptureFixture,
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost")
    names = ("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate))
    subprocess.run(["openssl", *words, *names], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    right = LoginPassword(b"robot", b"very-secret-word")
    box = Mailbox()
    monkeypatch.setenv("ALERT_EMAIL_TO", "duty@example.org")
    with mail_server(
        box,
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=lambda *given: AuthResult(success=given[-1] == right, handled=False),
    ) as port:
        given = {"HOST": "127.0.0.1", "PORT": port, "USER": "robot", "PASSWORD": "another-secret-word"}
        for name, value in given.items():
            monkeypatch.setenv(f"SMTP_{name}", str(value))
        assert say() == 0
        assert "CERTIFICATE_VERIFY_FAILED" in error(sql)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert say(None, START + 5 * MINUTE) == 0
        assert error(sql).startswith("(535")
        monkeypatch.setenv("SMTP_PASSWORD", "very-secret-word")
        assert say(None, START + 20 * MINUTE) == 1
    assert box.subjects() == ["Беда"]
    assert "secret-word" not in caplog.text
