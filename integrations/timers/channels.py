"""Where alerts are said: mail, Telegram, a webhook. What could not be sent is tried again later."""

import datetime
import http.client
import json
import smtplib
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

from db import Cursor, Database, one_line
from integrations.timers.options import TimerSettings
from logs import Secrets, log, redact

#: Seconds that a server may take.
SEND_SECONDS = 10.0
#: Messages that one look sends.
BATCH = 20
#: Tries before a message is given up; the pauses between them grow from a minute.
TRIES = 12
#: Seconds that a server may ask to be left alone.
LONGEST_PAUSE = 86400.0
#: Bytes of a refusal that are read, and characters of it that are kept.
_REFUSAL, _REASON = 64 * 1024, 300
#: Characters of a message to Telegram, which takes 4096.
_TELEGRAM = 4000

_CLAIM = """
UPDATE tksva_q.timer_message m SET tries = m.tries + 1, next_at = %(now)s + (m.tries + 1) * interval '1 minute'
FROM (SELECT id FROM tksva_q.timer_message WHERE sent_at IS NULL AND tries < %(tries)s AND next_at <= %(now)s
      ORDER BY id LIMIT %(batch)s FOR UPDATE SKIP LOCKED) due
WHERE m.id = due.id RETURNING m.id, m.channel, m.subject, m.body
"""


@dataclass(frozen=True)
class Message:
    """What is said through one channel."""

    id: int
    channel: str
    subject: str
    body: str


@dataclass(frozen=True)
class Failure:
    """Why a message could not be sent."""

    reason: str
    pause: float = 0.0  # seconds that the server wants to be left alone


class Refused(Exception):
    """A server has answered that it does not take the message."""

    def __init__(self, status: int, said: str, pause: float) -> None:
        super().__init__(f"HTTP {status}: {said}" if said else f"HTTP {status}")
        self.pause = pause


def names(settings: TimerSettings) -> tuple[str, ...]:
    """Return the channels that are set up."""
    wanted = {
        "mail": settings.smtp_host and settings.alert_email_to,
        "telegram": settings.tg_bot_token.get_secret_value() and settings.tg_chat_id,
        "webhook": settings.alert_webhook,
    }
    return tuple(name for name, there in wanted.items() if there)


def send_due(database: Database, settings: TimerSettings, now: datetime.datetime) -> int:
    """Send what is due; return how many messages went out."""
    with database.statement() as cursor:
        due = _claim(cursor, now)
    sent = 0
    for message in due:
        failure = _send(settings, message)
        reason, pause = (failure.reason, failure.pause) if failure else (None, 0.0)
        with database.statement() as cursor:
            cursor.execute(
                "UPDATE tksva_q.timer_message SET error = %s, sent_at = %s,"
                " next_at = greatest(next_at, %s + make_interval(secs => %s)) WHERE id = %s",
                (reason, None if failure else now, now, pause, message.id),
            )
        sent += failure is None
    return sent


def _claim(cursor: Cursor, now: datetime.datetime) -> list[Message]:
    cursor.execute(_CLAIM, {"now": now, "tries": TRIES, "batch": BATCH})
    return sorted((Message(*row) for row in cursor.fetchall()), key=lambda message: message.id)


def _send(settings: TimerSettings, message: Message) -> Failure | None:
    """Send a message; return why not, None where it went out."""
    try:
        match message.channel:
            case "mail":
                _mail(settings, message)
            case "telegram":
                token = settings.tg_bot_token.get_secret_value()
                text = f"{message.subject}\n{message.body}"[:_TELEGRAM]
                _post(f"{settings.tg_api_url}/bot{token}/sendMessage", {"chat_id": settings.tg_chat_id, "text": text})
            case "webhook" if settings.alert_webhook:
                _post(settings.alert_webhook.get_secret_value(), {"title": message.subject, "message": message.body})
            case _:
                return Failure("канал больше не настроен")
    except (OSError, ValueError, smtplib.SMTPException, http.client.HTTPException, Refused) as error:
        reason = redact(_secrets(settings).hide(one_line(error)))
        log.warning("alert_not_sent", extra={"channel": message.channel, "reason": reason})
        return Failure(reason, error.pause if isinstance(error, Refused) else 0.0)
    log.info("alert_sent", extra={"channel": message.channel, "title": message.subject})
    return None


def _secrets(settings: TimerSettings) -> Secrets:
    """Return what no error may tell: of a webhook all but its host."""
    secrets = Secrets()
    secrets.add([settings.tg_bot_token.get_secret_value(), settings.smtp_password.get_secret_value()])
    if settings.alert_webhook:
        parts = urllib.parse.urlsplit(settings.alert_webhook.get_secret_value())
        secrets.add([parts.path.strip("/"), parts.query])
    return secrets


def _post(url: str, content: dict[str, str]) -> None:
    body = json.dumps(content, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json; charset=utf-8"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 -- the settings let only http and https in
    try:
        with urllib.request.urlopen(request, timeout=SEND_SECONDS):  # noqa: S310 -- as above
            pass
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error) from None


def _refusal(error: urllib.error.HTTPError) -> Refused:
    """Return what a server says, as the Bot API does: `description`, and `retry_after` where it is asked too often."""
    try:
        said: Any = json.loads(error.read(_REFUSAL))
    except (OSError, ValueError, http.client.HTTPException):
        said = {}
    said = said if isinstance(said, dict) else {}
    parameters = said.get("parameters")
    wanted = parameters.get("retry_after") if isinstance(parameters, dict) else error.headers.get("Retry-After")
    try:
        pause = min(LONGEST_PAUSE, max(0.0, float(wanted or 0)))
    except (TypeError, ValueError):  # a date, or no number at all
        pause = 0.0
    return Refused(error.code, str(said.get("description") or error.reason or "")[:_REASON], pause)


def _mail(settings: TimerSettings, message: Message) -> None:
    letter = EmailMessage()
    letter["From"] = settings.alert_email_from
    letter["To"] = settings.alert_email_to
    letter["Subject"] = " ".join(message.subject.split())
    letter.set_content(message.body)
    with smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=SEND_SECONDS) as server:
        if settings.smtp_use_tls:
            server.starttls(context=ssl.create_default_context())
        if settings.smtp_user:
            server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
        server.send_message(letter)
