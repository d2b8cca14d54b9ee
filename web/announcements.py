"""A finished file is announced: to its user by mail, to another program by a webhook; off unless NOTIFY_* says so.

Which files were announced stands in the database: each is claimed before it is sent, by one web process, and tried
again later where the sending failed. An announcement may come twice after a crash, never not at all.
"""

import hashlib
import hmac
import json
import smtplib
import ssl
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

import psycopg2

from db import Cursor, Database, DatabaseAway, one_line
from logs import log, redact
from settings import Settings
from web.words import count, size

#: Seconds between two looks for finished files.
LOOK_SECONDS = 2.0
#: Files announced by one look.
BATCH = 20
#: Tries before a file is not announced at all; the pauses between them grow from a minute to hours.
TRIES = 6
#: Seconds that a mail server or a webhook may take.
SEND_SECONDS = 10.0

# Files that were finished while nothing was announced yet are old news after an hour.
_CLAIM = f"""
WITH due AS (
    (SELECT id FROM tksva_q.job WHERE state = 'done' AND file_name IS NOT NULL AND purged_at IS NULL
       AND finished_at > now() - interval '1 hour'
       AND NOT EXISTS (SELECT FROM tksva_q.announcement WHERE job_id = job.id)
     ORDER BY finished_at LIMIT {BATCH})
    UNION ALL
    (SELECT job_id FROM tksva_q.announcement WHERE sent_at IS NULL AND tries < {TRIES} AND next_at <= now()
     ORDER BY next_at LIMIT {BATCH})
), claimed AS (
    INSERT INTO tksva_q.announcement AS a (job_id, tries, next_at)
    SELECT id, 1, now() + interval '1 min' FROM due ORDER BY id
    ON CONFLICT (job_id) DO UPDATE SET tries = a.tries + 1, next_at = now() + a.tries * a.tries * interval '5 min'
        WHERE a.sent_at IS NULL AND a.next_at <= now()
    RETURNING job_id
)
SELECT j.id, j.user_id, j.form, j.file_name, j.rows, j.bytes, u.username, u.email
FROM claimed JOIN tksva_q.job j ON j.id = claimed.job_id LEFT JOIN "user" u ON u.id = j.user_id
ORDER BY j.id
"""  # noqa: S608 -- put together from this file's own constants


@dataclass(frozen=True)
class Ready:
    """A finished file that is to be announced."""

    job_id: int
    user_id: int | None
    form: str | None
    file_name: str
    rows: int
    bytes: int
    user_name: str | None
    email: str | None


def claim(cursor: Cursor) -> list[Ready]:
    """Return files to be announced now; nobody else gets them for a minute."""
    cursor.execute(_CLAIM)
    return [Ready(*row) for row in cursor.fetchall()]


def note(cursor: Cursor, job_id: int, error: str | None) -> None:
    """Note that a file was announced, or why it was not."""
    cursor.execute(
        "UPDATE tksva_q.announcement SET error = %s, sent_at = CASE WHEN %s::text IS NULL THEN now() END"
        " WHERE job_id = %s",
        (error, error, job_id),
    )


class Announcer:
    """Sends the announcements, in a thread of its own.

    Args:
        settings: of this installation.
        address: of the database.
        key: signs what the webhook gets.
        link: makes the link to the file of a job.
    """

    def __init__(self, settings: Settings, address: Callable[[], str], key: bytes, link: Callable[[int], str]) -> None:
        self._settings = settings
        self._address = address
        self._key = key
        self._link = link
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)

    def start(self) -> None:
        """Begin, where there is anybody to tell."""
        if self._settings.notify_webhook or self._settings.notify_smtp:
            self._thread.start()

    def stop(self) -> None:
        """Stop after what is being sent."""
        self._stop.set()

    def _run(self) -> None:
        database: Database | None = None
        while not self._stop.wait(LOOK_SECONDS):
            try:
                database = database or Database(self._address(), "tksva_q web announcer")
                self._look(database)
            except (DatabaseAway, psycopg2.Error) as error:
                log.debug("announcements_wait", extra={"reason": one_line(error)})

    def _look(self, database: Database) -> None:
        with database.statement() as cursor:
            ready = claim(cursor)
        for file in ready:
            error = self._announce(file)
            with database.statement() as cursor:
                note(cursor, file.job_id, error)

    def _announce(self, file: Ready) -> str | None:
        """Tell everybody; return why not, None where it went well."""
        try:
            link = self._link(file.job_id)
            if self._settings.notify_webhook:
                self._post(self._settings.notify_webhook.get_secret_value(), file, link)
            if self._settings.notify_smtp and file.email:
                self._mail(self._settings.notify_smtp.get_secret_value(), file, link)
        except (OSError, ValueError, smtplib.SMTPException) as error:
            reason = redact(one_line(error))
            log.warning("not_announced", extra={"job": file.job_id, "reason": reason})
            return reason
        log.info("announced", extra={"job": file.job_id, "user": file.user_id})
        return None

    def _post(self, url: str, file: Ready, link: str) -> None:
        body = json.dumps(
            {
                "event": "file_ready",
                "job": file.job_id,
                "user_id": file.user_id,
                "form": file.form,
                "file_name": file.file_name,
                "rows": file.rows,
                "bytes": file.bytes,
                "link": link,
                "link_hours": self._settings.link_hours,
            },
            ensure_ascii=False,
        ).encode()
        signature = hmac.new(self._key, body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json; charset=utf-8", "X-Tksva-Signature": f"sha256={signature}"}
        request = urllib.request.Request(url, body, headers)  # noqa: S310 -- the settings let only http and https in
        with urllib.request.urlopen(request, timeout=SEND_SECONDS):  # noqa: S310 -- as above
            pass

    def _mail(self, url: str, file: Ready, link: str) -> None:
        message = EmailMessage()
        message["From"] = self._settings.notify_from
        message["To"] = file.email
        message["Subject"] = f"Файл готов: {file.file_name}"
        message.set_content(
            f"Здравствуйте{f', {file.user_name}' if file.user_name else ''}!\n\n"
            f"Файл «{file.file_name}» готов: {count(file.rows, 'строка', 'строки', 'строк')}, {size(file.bytes)}.\n\n"
            f"{link}\n\nСсылка действует {self._settings.link_hours:g} ч.\n"
        )
        server = urlsplit(url)
        host = server.hostname or "localhost"
        secure = ssl.create_default_context()
        if server.scheme == "smtps":
            mail: smtplib.SMTP = smtplib.SMTP_SSL(host, server.port or 465, timeout=SEND_SECONDS, context=secure)
        else:
            mail = smtplib.SMTP(host, server.port or 25, timeout=SEND_SECONDS)
        with mail:
            mail.ehlo()
            if server.scheme == "smtp" and mail.has_extn("starttls"):
                mail.starttls(context=secure)
            if server.username:
                mail.login(unquote(server.username), unquote(server.password or ""))
            mail.send_message(message)
