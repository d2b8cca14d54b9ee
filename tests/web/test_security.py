"""What OWASP lists: each way in is tried, and refused."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.database import Queries
from tests.waiting import wait_for
from tests.web.inside import Inside
from tests.web.server import TOKEN, Web, form_token, new_job, plain_client

BEARER = {"Authorization": f"Bearer {TOKEN}".encode()}
MUTATING = [
    "/api/jobs",
    "/api/jobs/1/cancel",
    "/api/jobs/1/retry",
    "/jobs",
    "/jobs/1/retry",
    "/jobs/1/cancel",
    "/jobs/retry",
]


@pytest.fixture
def guarded(start_web: Callable[..., Web]) -> Iterator[httpx.Client]:
    """A client of a web process that wants a token."""
    with start_web(api_token=TOKEN).client() as client:
        yield client


def failed_job(sql: Queries, **columns: object) -> int:
    known = {"form": "f", "state": "failed", "error": "нет", "file_name": "a.csv", "user_id": 1} | columns
    names = ", ".join(known)
    marks = ", ".join(["%s"] * len(known))
    return int(
        sql.value(
            f"INSERT INTO tksva_q.job ({names}, finished_at) VALUES ({marks}, now()) RETURNING id", *known.values()
        )
    )


# --- broken access control, broken authentication ---------------------------------------------------------------------


@pytest.mark.parametrize("path", MUTATING)
def test_whoever_changes_something_needs_the_token(guarded: httpx.Client, path: str) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic Og=="},
        {"Authorization": "Bearer"},
    ):
        answer = guarded.post(path, json=new_job(), headers=headers)
        assert answer.status_code == 401
        assert "Basic" in answer.headers["www-authenticate"]


def test_files_need_the_token_and_lists_do_not(guarded: httpx.Client, sql: Queries, tmp_path: Path) -> None:
    job = failed_job(sql, state="done", error=None)
    folder = tmp_path / "files" / "1"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("secret")
    assert guarded.get(f"/api/jobs/{job}/file").status_code == 401
    assert guarded.get(f"/api/jobs/{job}/file", headers=BEARER).text == "secret"
    assert guarded.get(f"/api/jobs/{job}/file", auth=(b"anybody", TOKEN.encode())).text == "secret"
    assert guarded.get("/api/jobs").status_code == 200
    assert guarded.get("/").status_code == 200


@pytest.mark.parametrize("token", ["ключ-х", "ключ-Р"])
def test_a_token_may_end_in_any_letter(start_inside: Callable[..., Inside], token: str) -> None:
    """Read as latin-1, the last byte of these is what Python takes for a space."""
    inside = start_inside(api_token=token)
    answer = inside.post("/api/jobs/1/cancel", headers={"Authorization": f"Bearer {token}".encode()})
    assert answer.status_code == 404


def test_a_session_lets_the_browser_in_until_it_is_forged(guarded: httpx.Client, sql: Queries) -> None:
    job = failed_job(sql)
    assert guarded.get("/login").status_code == 401
    login = guarded.get("/login", auth=(b"admin", TOKEN.encode()))
    assert login.status_code == 303
    cookie = login.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    page = guarded.get("/").text
    assert guarded.post(f"/jobs/{job}/retry", data={"token": form_token(page)}).status_code == 303
    until, _, signature = guarded.cookies["tksva_q_session"].partition(".")
    for forged in (f"{int(until) + 1}.{signature}", f"{until}.x", "9" * 30, "x", f"{until}."):
        with plain_client(str(guarded.base_url), cookies={"tksva_q_session": forged}) as thief:
            assert thief.post("/api/jobs", json=new_job()).status_code == 401


def test_an_old_session_is_none() -> None:
    from starlette.requests import Request  # noqa: PLC0415

    from settings import Settings  # noqa: PLC0415
    from web.security import Guard  # noqa: PLC0415

    now = 1_000_000.0
    guard = Guard(Settings(api_token="x"), b"key", clock=lambda: now)  # type: ignore[arg-type]
    cookie = f"tksva_q_session={guard.session()}".encode()
    request = Request({"type": "http", "headers": [(b"cookie", cookie)]})
    assert guard.has_session(request)
    now += 12 * 3600 + 1
    assert not guard.has_session(request)


def test_guessing_tokens_is_stopped_after_a_few(guarded: httpx.Client) -> None:
    answers = [guarded.post("/api/jobs/1/cancel", headers={"Authorization": f"Bearer {n}"}) for n in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) > 0
    assert guarded.post("/api/jobs/1/cancel", headers=BEARER).status_code == 429
    assert guarded.get("/healthz").status_code == 503  # of the queue, not of the guesser


def test_without_a_token_only_this_machine_is_answered(start_web: Callable[..., Web]) -> None:
    web = start_web(web_host="0.0.0.0")  # noqa: S104 -- what is tested
    wait_for(lambda: any("web_on_loopback_only" in line for line in web.lines), 60)
    with pytest.raises(ConnectionRefusedError):  # of this machine, and not what it listens on
        socket.create_connection(("127.0.0.2", web.port), timeout=60)


def test_with_a_token_every_address_is_listened_to(start_web: Callable[..., Web]) -> None:
    web = start_web(web_host="0.0.0.0", api_token=TOKEN)  # noqa: S104 -- what is tested
    wait_for(lambda: any("host=0.0.0.0" in line for line in web.lines), 60)
    socket.create_connection(("127.0.0.2", web.port), timeout=60).close()


def test_a_name_that_leads_here_from_elsewhere_is_refused(client: httpx.Client) -> None:
    for path in ("/", "/api/jobs", "/static/app.js"):
        assert client.get(path, headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/api/jobs", headers={"Host": "localhost:1"}).status_code == 200
    assert client.get("/api/jobs", headers={"Host": "[::1]:1"}).status_code == 200


# --- cross-site request forgery ---------------------------------------------------------------------------------------


def test_a_foreign_page_changes_nothing(client: httpx.Client) -> None:
    for path in MUTATING:
        for name, value in (
            ("Origin", "http://evil.example"),
            ("Origin", "null"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-site"),
        ):
            assert client.post(path, json=new_job(), headers={name: value}).status_code == 403


def test_a_form_without_our_token_changes_nothing(client: httpx.Client, web: Web, sql: Queries) -> None:
    job = failed_job(sql)
    client.get("/")
    for token in ("", "x", "я"):
        for path in (f"/jobs/{job}/retry", f"/jobs/{job}/cancel", "/jobs/retry", "/jobs", "/logout"):
            assert client.post(path, data={"token": token}).status_code == 403
    with web.client() as other:  # a token is good for the browser that got it
        assert client.post("/jobs/retry", data={"token": form_token(other.get("/").text)}).status_code == 403
    assert sql.value("SELECT state FROM tksva_q.job") == "failed"
    assert client.post("/jobs/retry", data={"token": form_token(client.get("/").text)}).status_code == 303
    assert sql.value("SELECT state FROM tksva_q.job") == "waiting"


# --- cross-site scripting ---------------------------------------------------------------------------------------------

SCRIPT = """<script>alert('1')</script>"><img src=x onerror=alert(2)>"""


def test_whatever_is_called_a_script_is_shown_as_text(client: httpx.Client, sql: Queries) -> None:
    job = failed_job(sql, form=SCRIPT, file_name=SCRIPT, error=SCRIPT, params='{"station_name": "<script>x</script>"}')
    sql("INSERT INTO tksva_q.job (form, file_name, error) VALUES (%s, %s, %s)", SCRIPT, SCRIPT, SCRIPT)
    sql("UPDATE dwh_tables_info SET dwh_table_name = %s, wants_to_refresh = true", SCRIPT)
    for path in ("/", "/live", "/jobs", f"/jobs/{job}", f"/jobs/{SCRIPT}", f"/jobs?state={SCRIPT}", f"/{SCRIPT}"):
        answer = client.get(path, headers={"Accept": "text/html"})
        assert answer.headers["content-type"].startswith("text/html")
        assert "<script>" not in answer.text.replace('<script src="/static/app.js" defer></script>', "")
        assert "<img src=x" not in answer.text
    assert "&lt;script&gt;" in client.get(f"/jobs/{job}").text


def test_no_page_needs_an_inline_script_or_another_address(client: httpx.Client, sql: Queries) -> None:
    job = failed_job(sql)
    for path in ("/", "/jobs", f"/jobs/{job}", "/docs", "/nowhere"):
        answer = client.get(path, headers={"Accept": "text/html"})
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "script-src 'self'" in policy
        assert not re.search(r"\son\w+=|style=|javascript:|<style|<script>", answer.text)
        assert not re.search(r"(?:src|href|action)=.?(?:https?:)?//", answer.text)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"


# --- injection --------------------------------------------------------------------------------------------------------

INJECTION = "'; DROP TABLE tksva_q.job; --"


def test_sql_in_a_parameter_is_a_text_like_any_other(client: httpx.Client, sql: Queries) -> None:
    job = failed_job(sql)
    assert client.get("/api/jobs", params={"form": INJECTION}).json()["jobs"] == []
    assert client.get("/api/jobs", params={"form": "a\x00b"}).status_code == 422
    for path in (f"/api/jobs/{INJECTION}", "/api/jobs/1 OR 1=1", "/api/jobs/99999999999999999999"):
        assert client.get(path).status_code in {404, 422}
    conditions = {"station_name": "' OR 1=1", "start_date": "2024-01-01", "finish_date": "2024-01-02"}
    assert client.post("/api/jobs", json=new_job(conditions=conditions)).status_code == 201
    assert client.get(f"/api/jobs/{job}").status_code == 200


def test_a_header_cannot_be_put_into_a_files_name(client: httpx.Client, sql: Queries, tmp_path: Path) -> None:
    name = 'a"; x=\\"y%0d%0a.csv'
    folder = tmp_path / "files" / "1"
    folder.mkdir(parents=True)
    (folder / name.replace("\\", "")).write_text("1")
    job = failed_job(sql, state="done", error=None, file_name=name.replace("\\", ""))
    answer = client.get(f"/api/jobs/{job}/file")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith('attachment; filename="a_; x=_y_0d_0a.csv"; filename*=')


# --- path traversal ---------------------------------------------------------------------------------------------------


def test_a_job_with_a_planted_name_gives_nothing_away(client: httpx.Client, sql: Queries, tmp_path: Path) -> None:
    (tmp_path / "files" / "1").mkdir(parents=True)
    (tmp_path / "files" / "secret.csv").write_text("secret")
    (tmp_path / "files" / "1" / ".env").write_text("secret")
    for name in ("../secret.csv", "/etc/passwd", "..", ".env", "a/../../secret.csv", "a\x01.csv", "."):
        job = failed_job(sql, state="done", error=None, file_name=name)
        answer = client.get(f"/api/jobs/{job}/file")
        assert answer.status_code == 410
        assert "secret" not in answer.text


def test_a_link_in_a_folder_leads_nowhere(client: httpx.Client, sql: Queries, tmp_path: Path) -> None:
    files = tmp_path / "files"
    (files / "1").mkdir(parents=True)
    (tmp_path / "secret.csv").write_text("secret")
    (files / "1" / "a.csv").symlink_to(tmp_path / "secret.csv")
    (files / "2").symlink_to(tmp_path)
    first = failed_job(sql, state="done", error=None)
    second = failed_job(sql, state="done", error=None, file_name="secret.csv", user_id=2)
    assert [client.get(f"/api/jobs/{job}/file").status_code for job in (first, second)] == [410, 410]


def test_the_static_folder_is_left_by_no_path(web: Web) -> None:
    for path in ("/static/../security.py", "/static/%2e%2e/security.py", "/static/..%2fsecurity.py"):
        with socket.create_connection(("127.0.0.1", web.port), timeout=5) as wire:
            wire.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: wire.recv(65536), b""))
        assert b" 404 " in answer.split(b"\r\n")[0]
        assert b"import" not in answer


# --- the log ----------------------------------------------------------------------------------------------------------


def test_a_log_has_no_token_in_it(start_web: Callable[..., Web]) -> None:
    web = start_web(api_token=TOKEN, log_level="DEBUG")
    with web.client() as client:
        client.post("/api/jobs", json=new_job(), headers=BEARER)
        client.post("/api/jobs", json=new_job(), headers={"Authorization": "Bearer guess-me"})
    web.stop()
    assert not [line for line in web.lines if TOKEN in line or "guess-me" in line]
