"""A finished file is announced: to its user by mail, to another program by a webhook; off unless NOTIFY_* says so.

Which files were announced stands in the database: each is claimed before it is sent, by one web process, and what did
not go through is tried again later, TRIES times within two and a half hours. After a crash, or where the database was
away, an announcement may come twice; a file that was finished more than an hour before the first look at it has none.
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
from functools import partial
from urllib.parse import unquote, urlsplit

import psycopg2

from db import Cursor, Database, DatabaseAway, one_line, unforeseen
from logs import log, redact
from settings import Settings
from words import count, size

#: Seconds between two looks for finished files.
LOOK_SECONDS = 2.0
#: Files announced by one look.
BATCH = 20
#: Tries before what has not gone through is given up; the pauses between them grow from a minute to more than an hour.
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
    RETURNING job_id, went
)
SELECT j.id, j.user_id, j.form, j.file_name, j.rows, j.bytes, claimed.went
FROM claimed JOIN tksva_q.job j ON j.id = claimed.job_id
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
    went: list[str]  # the ways by which it was announced before


def claim(cursor: Cursor) -> list[Ready]:
    """Return files to be announced now; nobody else gets them for a minute."""
    cursor.execute(_CLAIM)
    return [Ready(*row) for row in cursor.fetchall()]


def note(cursor: Cursor, job_id: int, went: list[str], error: str | None) -> None:
    """Note by which ways a file was announced, and why not by the others."""
    cursor.execute(
        "UPDATE tksva_q.announcement SET went = %s, error = %s, sent_at = CASE WHEN %s::text IS NULL THEN now() END"
        " WHERE job_id = %s",
        (went, error, error, job_id),
    )


def recipient(cursor: Cursor, user_id: int | None) -> tuple[str, str] | None:
    """Return a user's name and address, None where there is nobody to write to."""
    cursor.execute("SELECT coalesce(username, ''), email FROM \"user\" WHERE id = %s AND email <> ''", (user_id,))
    return cursor.fetchone()


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
        self._ways: dict[str, Callable[[Database, Ready], None]] = {}
        if settings.notify_webhook:
            self._ways["webhook"] = partial(self._post, settings.notify_webhook.get_secret_value())
        if settings.notify_smtp:
            self._ways["mail"] = partial(self._mail, settings.notify_smtp.get_secret_value())

    def start(self) -> None:
        """Begin, where there is anybody to tell."""
        if self._ways:
            self._thread.start()

    def stop(self) -> None:
        """Stop after what is being sent."""
        self._stop.set()

    def _run(self) -> None:
        database: Database | None = None
        waits = False
        while not self._stop.wait(LOOK_SECONDS):
            try:
                database = database or Database(self._address(), "tksva_q web announcer")
                self._look(database)
            except (DatabaseAway, psycopg2.Error) as error:
                if not waits:
                    log.warning("announcements_wait", extra={"reason": redact(one_line(error))})
                waits = True
            else:
                if waits:
                    log.info("announcements_go_on")
                waits = False

    def _look(self, database: Database) -> None:
        with database.statement() as cursor:
            ready = claim(cursor)
        for file in ready:
            went, troubles = self._announce(database, file)
            with database.statement() as cursor:
                note(cursor, file.job_id, went, "; ".join(troubles) or None)

    def _announce(self, database: Database, file: Ready) -> tuple[list[str], list[str]]:
        """Tell everybody who was not told before; return by which ways it is told now, and why not by others."""
        went, troubles = list(file.went), []
        for way, send in self._ways.items():
            if way in went:
                continue
            try:
                send(database, file)
            except Exception as error:  # whatever it is, the next file is announced
                troubles.append(f"{way}: {redact(_reason(error))}")
            else:
                went.append(way)
        if troubles:
            log.warning("not_announced", extra={"job": file.job_id, "reason": "; ".join(troubles)})
        else:
            log.info("announced", extra={"job": file.job_id, "user": file.user_id})
        return went, troubles

    def _post(self, url: str, _database: Database, file: Ready) -> None:
        body = json.dumps(
            {
                "event": "file_ready",
                "job": file.job_id,
                "user_id": file.user_id,
                "form": file.form,
                "file_name": file.file_name,
                "rows": file.rows,
                "bytes": file.bytes,
                "link": self._link(file.job_id),
                "link_hours": self._settings.link_hours,
            },
            ensure_ascii=False,
        ).encode()
        signature = hmac.new(self._key, body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json; charset=utf-8", "X-Tksva-Signature": f"sha256={signature}"}
        request = urllib.request.Request(url, body, headers)  # noqa: S310 -- the settings let only http and https in
        with urllib.request.urlopen(request, timeout=SEND_SECONDS):  # noqa: S310 -- as above
            pass

    def _mail(self, url: str, database: Database, file: Ready) -> None:
        with database.statement() as cursor:
            somebody = recipient(cursor, file.user_id)
        if somebody is None:
            return
        name, address = somebody
        message = EmailMessage()
        message["From"] = self._settings.notify_from
        message["To"] = address
        message["Subject"] = f"Файл готов: {file.file_name}"
        message.set_content(
            f"Здравствуйте{f', {name}' if name else ''}!\n\n"
            f"Файл «{file.file_name}» готов: {count(file.rows, 'строка', 'строки', 'строк')}, {size(file.bytes)}.\n\n"
            f"{self._link(file.job_id)}\n\nСсылка действует {self._settings.link_hours:g} ч.\n"
        )
        self._hand_over(url, message)

    @staticmethod
    def _hand_over(url: str, message: EmailMessage) -> None:
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


def _reason(error: Exception) -> str:
    return one_line(error) if isinstance(error, OSError | ValueError | smtplib.SMTPException) else unforeseen(error)
