"""Where alerts are said: mail, Telegram, a webhook. What could not be sent is tried again later."""

import datetime
import json
import smtplib
import ssl
import urllib.request
from dataclasses import dataclass
from email.message import EmailMessage

from db import Cursor, Database, one_line
from integrations.timers.options import TimerSettings
from logs import log, redact

#: Seconds that a server may take.
SEND_SECONDS = 10.0
#: Messages that one look sends.
BATCH = 20
#: Tries before a message is given up; the pauses between them grow from a minute.
TRIES = 12

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
        error = _send(settings, message)
        with database.statement() as cursor:
            cursor.execute(
                "UPDATE tksva_q.timer_message SET error = %s, sent_at = CASE WHEN %s::text IS NULL THEN %s END"
                " WHERE id = %s",
                (error, error, now, message.id),
            )
        sent += error is None
    return sent


def _claim(cursor: Cursor, now: datetime.datetime) -> list[Message]:
    cursor.execute(_CLAIM, {"now": now, "tries": TRIES, "batch": BATCH})
    return sorted((Message(*row) for row in cursor.fetchall()), key=lambda message: message.id)


def _send(settings: TimerSettings, message: Message) -> str | None:
    """Send a message; return why not, None where it went out."""
    try:
        match message.channel:
            case "mail":
                _mail(settings, message)
            case "telegram":
                token = settings.tg_bot_token.get_secret_value()
                text = f"{message.subject}\n{message.body}"[:4000]
                _post(f"{settings.tg_api_url}/bot{token}/sendMessage", {"chat_id": settings.tg_chat_id, "text": text})
            case "webhook" if settings.alert_webhook:
                _post(settings.alert_webhook.get_secret_value(), {"title": message.subject, "message": message.body})
            case _:
                return "канал больше не настроен"
    except (OSError, ValueError, smtplib.SMTPException) as error:
        reason = redact(one_line(error))
        log.warning("alert_not_sent", extra={"channel": message.channel, "reason": reason})
        return reason
    log.info("alert_sent", extra={"channel": message.channel, "title": message.subject})
    return None


def _post(url: str, content: dict[str, str]) -> None:
    body = json.dumps(content, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json; charset=utf-8"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 -- the settings let only http and https in
    with urllib.request.urlopen(request, timeout=SEND_SECONDS):  # noqa: S310 -- as above
        pass


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
