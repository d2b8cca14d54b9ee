"""Finished files are announced where the settings say so, with links that expire."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from faults.ports import free_port
from tests.database import Queries
from tests.waiting import wait_for
from tests.web.server import TOKEN, Web

FINISHED = """
INSERT INTO tksva_q.job (form, user_id, file_name, state, attempt, rows, bytes, finished_at)
VALUES ('f', 1, 'Ворсино.csv', 'done', 1, 1000, 4, now()) RETURNING id
"""


class Hook:
    """A webhook that keeps what it gets, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, str]] = []
        self.failures = 0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.calls.append((body, self.headers["x-tksva-signature"]))
                self.send_response(500 if len(hook.calls) <= hook.failures else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?token=s3cret-hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "files" / "1"
    folder.mkdir(parents=True)
    (folder / "Ворсино.csv").write_text("1234")
    return folder / "Ворсино.csv"


def test_a_webhook_gets_a_signed_word_and_a_link_that_works(
    hook: Hook, file: Path, start_web: Callable[..., Web], sql: Queries
) -> None:
    web = start_web(notify_webhook=hook.url, api_token=TOKEN)
    job = sql.value(FINISHED)
    wait_for(lambda: sql("SELECT 1 FROM tksva_q.announcement WHERE job_id = %s AND sent_at IS NOT NULL", job))
    [(body, signature)] = hook.calls
    word = json.loads(body)
    assert (word["event"], word["job"], word["file_name"], word["rows"]) == ("file_ready", job, "Ворсино.csv", 1000)
    key = hashlib.sha256(b"tksva_q web " + TOKEN.encode()).digest()
    assert signature == "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
    with httpx.Client(trust_env=False) as stranger:
        assert stranger.get(word["link"]).text == "1234"
        for changed in (
            word["link"].replace("until=1", "until=2"),
            word["link"] + "x",
            word["link"].replace(f"/files/{job}", f"/files/{job + 1}"),
            re.sub("signature=.*", "signature=", word["link"]),
        ):
            assert stranger.get(changed).status_code == 403
        assert stranger.get(f"{web.url}/files/{job}").status_code == 422
    assert not [line for line in web.lines if "s3cret-hook" in line]


def test_a_webhook_that_fails_is_tried_again(hook: Hook, start_web: Callable[..., Web], sql: Queries) -> None:
    hook.failures = 1
    web = start_web(notify_webhook=hook.url)
    job = sql.value(FINISHED)
    wait_for(lambda: sql("SELECT 1 FROM tksva_q.announcement WHERE job_id = %s AND error IS NOT NULL", job))
    assert any("not_announced" in line for line in web.lines)
    sql("UPDATE tksva_q.announcement SET next_at = now()")
    wait_for(lambda: sql("SELECT 1 FROM tksva_q.announcement WHERE job_id = %s AND sent_at IS NOT NULL", job))
    assert sql("SELECT tries, error FROM tksva_q.announcement") == [(2, None)]


def test_two_web_processes_say_it_once_and_old_news_are_none(
    hook: Hook, start_web: Callable[..., Web], sql: Queries
) -> None:
    sql(FINISHED.replace("now()", "now() - interval '2 hours'"))
    for _ in range(2):
        start_web(notify_webhook=hook.url)
    jobs = [sql.value(FINISHED) for _ in range(10)]
    wait_for(lambda: sql.value("SELECT count(*) FROM tksva_q.announcement WHERE sent_at IS NOT NULL") == 10)
    assert sorted(json.loads(body)["job"] for body, _ in hook.calls) == jobs


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        self.mails.append(envelope.content or b"")  # type: ignore[arg-type]
        return "250 OK"


def test_the_user_gets_a_mail(start_web: Callable[..., Web], sql: Queries, file: Path) -> None:
    mailbox = Mailbox()
    port = free_port()
    server = Controller(mailbox, hostname="127.0.0.1", port=port)
    server.start()
    try:
        start_web(notify_smtp=f"smtp://127.0.0.1:{port}", notify_from="queue@example.org")
        sql.value(FINISHED)
        wait_for(lambda: mailbox.mails)
    finally:
        server.stop()
    mail = message_from_bytes(mailbox.mails[0], policy=policy.default)
    assert (mail["to"], mail["from"]) == ("user1@example.org", "queue@example.org")
    assert mail["subject"] == "Файл готов: Ворсино.csv"
    text = mail.get_content()
    assert "1\u202f000 строк" in text
    link = re.search(r"http://\S+", text)
    assert link
    with httpx.Client(trust_env=False) as client:
        assert client.get(link[0]).text == "1234"


def test_nothing_is_announced_by_default(web: Web, sql: Queries) -> None:
    sql.value(FINISHED)
    with web.client() as client:
        assert client.get("/").status_code == 200
    assert "announcer" not in " ".join(web.lines)
    assert sql.value("SELECT count(*) FROM tksva_q.announcement") == 0
