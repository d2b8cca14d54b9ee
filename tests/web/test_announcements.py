"""Finished files are announced where the settings say so, with links that expire."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.database import Queries
from tests.mailbox import Mailbox, mail_server
from tests.waiting import wait_for
from tests.web.inside import Inside
from tests.web.server import FINISHED, TOKEN, Web, plain_client


class Hook:
    """A webhook that keeps what it gets, and fails, or does not speak HTTP, as often as it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, str]] = []
        self.failures = 0
        self.babble = 0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.calls.append((body, self.headers["x-tksva-signature"]))
                if len(hook.calls) <= hook.babble:
                    self.wfile.write(b"SSH-2.0-no web server\r\n")
                    return
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


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


def announced(sql: Queries, job: int) -> None:
    wait_for(lambda: sql("SELECT 1 FROM tksva_q.announcement WHERE job_id = %s AND sent_at IS NOT NULL", job), 60)


def reason(sql: Queries, job: int) -> str:
    """Wait until it is noted why a file was not announced."""
    probe = "SELECT error FROM tksva_q.announcement WHERE job_id = %s AND error IS NOT NULL"
    return str(wait_for(lambda: sql(probe, job), 60)[0][0])


# --- the webhook ------------------------------------------------------------------------------------------------------


def test_a_webhook_gets_a_signed_word_and_a_link_that_works(
    hook: Hook, file: Path, start_web: Callable[..., Web], sql: Queries
) -> None:
    web = start_web(notify_webhook=hook.url, api_token=TOKEN)
    job = sql.value(FINISHED)
    announced(sql, job)
    [(body, signature)] = hook.calls
    word = json.loads(body)
    assert (word["event"], word["job"], word["file_name"], word["rows"]) == ("file_ready", job, "Ворсино.csv", 1000)
    key = hashlib.sha256(b"tksva_q web " + TOKEN.encode()).digest()
    assert signature == "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
    with plain_client() as stranger:
        assert stranger.get(word["link"]).text == "1234"
        for changed in (
            word["link"].replace("until=1", "until=2"),
            word["link"] + "x",
            word["link"].replace(f"/files/{job}", f"/files/{job + 1}"),
            re.sub("signature=.*", "signature=", word["link"]),
        ):
            assert stranger.get(changed).status_code == 403
        assert stranger.get(f"{web.url}/files/{job}").status_code == 422
    web.stop()
    assert not [line for line in web.lines if "s3cret-hook" in line]


def test_a_webhook_that_fails_is_tried_again(hook: Hook, start_web: Callable[..., Web], sql: Queries) -> None:
    hook.failures = 1
    web = start_web(notify_webhook=hook.url)
    job = sql.value(FINISHED)
    assert "500" in reason(sql, job)
    wait_for(lambda: any("not_announced" in line for line in web.lines), 60)
    sql("UPDATE tksva_q.announcement SET next_at = now()")
    announced(sql, job)
    assert sql("SELECT tries, error FROM tksva_q.announcement") == [(2, None)]


def test_a_webhook_that_does_not_speak_http_ends_nothing(
    hook: Hook, start_web: Callable[..., Web], sql: Queries
) -> None:
    hook.babble = 1
    start_web(notify_webhook=hook.url)
    assert reason(sql, sql.value(FINISHED)).startswith("webhook: BadStatusLine: SSH-2.0")
    announced(sql, sql.value(FINISHED))


def test_two_web_processes_say_it_once_and_old_news_are_none(
    hook: Hook, start_web: Callable[..., Web], sql: Queries
) -> None:
    sql(FINISHED.replace("now()", "now() - interval '2 hours'"))
    for _ in range(2):
        start_web(notify_webhook=hook.url)
    jobs = [sql.value(FINISHED) for _ in range(10)]
    wait_for(lambda: sql.value("SELECT count(*) FROM tksva_q.announcement WHERE sent_at IS NOT NULL") == 10, 60)
    assert sorted(json.loads(body)["job"] for body, _ in hook.calls) == jobs


# --- the mail ---------------------------------------------------------------------------------------------------------


def test_the_user_gets_a_mail(start_web: Callable[..., Web], sql: Queries, file: Path, mailbox: Mailbox) -> None:
    with mail_server(mailbox):
        start_web(notify_smtp=f"smtp://127.0.0.1:{mailbox.port}", notify_from="queue@example.org")
        sql.value(FINISHED)
        wait_for(lambda: mailbox.letters)
    [mail] = mailbox.letters
    assert (mail["to"], mail["from"]) == ("user1@example.org", "queue@example.org")
    assert mail["subject"] == "Файл готов: Ворсино.csv"
    text = mail.get_content()
    assert "1\u202f000 строк" in text
    link = re.search(r"http://\S+", text)
    assert link
    with plain_client() as client:
        assert client.get(link[0]).text == "1234"


@pytest.mark.parametrize("address", ["a@", "a@[", "a@b\nBcc: c@d"])
def test_an_address_that_is_none_keeps_nobody_else_from_his_mail(
    start_web: Callable[..., Web], sql: Queries, mailbox: Mailbox, address: str
) -> None:
    sql('UPDATE "user" SET email = %s WHERE id = 1', address)
    with mail_server(mailbox):
        start_web(notify_smtp=f"smtp://127.0.0.1:{mailbox.port}")
        assert reason(sql, sql.value(FINISHED)).startswith("mail: ")
        announced(sql, sql.value(FINISHED.replace("'f', 1", "'f', 2")))
    [mail] = mailbox.letters
    assert mail["to"] == "user2@example.org"


def test_a_mail_server_that_is_away_repeats_no_word_to_the_webhook(
    hook: Hook, start_web: Callable[..., Web], sql: Queries, mailbox: Mailbox
) -> None:
    web = start_web(notify_webhook=hook.url, notify_smtp=f"smtp://127.0.0.1:{mailbox.port}")
    job = sql.value(FINISHED)
    assert reason(sql, job).startswith("mail: ")
    with mail_server(mailbox):
        sql("UPDATE tksva_q.announcement SET next_at = now()")
        announced(sql, job)
    web.stop()
    assert (len(hook.calls), len(mailbox.letters)) == (1, 1)


def test_a_webhook_that_is_away_keeps_nobody_from_his_mail(
    start_web: Callable[..., Web], sql: Queries, mailbox: Mailbox
) -> None:
    with mail_server(mailbox):
        start_web(notify_webhook="http://127.0.0.1:1/", notify_smtp=f"smtp://127.0.0.1:{mailbox.port}")
        assert reason(sql, sql.value(FINISHED)).startswith("webhook: ")
    assert len(mailbox.letters) == 1


# --- rights -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def role(sql: Queries) -> Iterator[str]:
    """A database user with the rights that the queue's documentation asks for where nobody gets mail."""
    name = f"role_{uuid.uuid4().hex[:8]}"
    sql(
        f"CREATE ROLE {name} LOGIN; GRANT SELECT, UPDATE ON post, dwh_tables_info TO {name};"
        f"GRANT USAGE ON SCHEMA tksva_q TO {name}; GRANT ALL ON ALL TABLES IN SCHEMA tksva_q TO {name}"
    )
    yield name
    sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_the_webhook_needs_no_right_to_the_table_of_users(
    hook: Hook, start_web: Callable[..., Web], sql: Queries, role: str, mailbox: Mailbox
) -> None:
    web = start_web(psql_user=role, notify_webhook=hook.url, notify_smtp=f"smtp://127.0.0.1:{mailbox.port}")
    job = sql.value(FINISHED)
    assert reason(sql, job).startswith("mail: InsufficientPrivilege: ")
    assert len(hook.calls) == 1
    with mail_server(mailbox):
        sql(f'GRANT SELECT (id, username, email) ON "user" TO {role}; UPDATE tksva_q.announcement SET next_at = now()')
        announced(sql, job)
    assert len(mailbox.letters) == 1
    web.stop()


def test_a_statement_that_fails_is_said_once_and_once_that_it_is_over(
    hook: Hook, start_web: Callable[..., Web], sql: Queries
) -> None:
    def said(event: str) -> int:
        return sum(f" {event} " in f"{line} " for line in web.lines)

    sql("ALTER TABLE tksva_q.announcement RENAME TO away")
    web = start_web(notify_webhook=hook.url, log_level="DEBUG")
    job = sql.value(FINISHED)
    failures = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    wait_for(lambda: said("announcements_wait"), 60)
    before = sql.value(failures)
    wait_for(lambda: sql.value(failures) > before + 1, 60)  # it goes on failing
    sql("ALTER TABLE tksva_q.away RENAME TO announcement")
    announced(sql, job)
    web.stop()
    assert (said("announcements_wait"), said("announcements_go_on")) == (1, 1)


def test_nothing_is_announced_by_default(start_inside: Callable[..., Inside]) -> None:
    def announcers() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "announcer"}

    before = announcers()
    start_inside()
    assert announcers() <= before
    start_inside(notify_webhook="http://127.0.0.1:1/")
    assert len(announcers() - before) == 1
