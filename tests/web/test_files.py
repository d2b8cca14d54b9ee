"""A finished file on its way to the browser: which one, by what name, and that it arrives whole."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from email.message import Message as Mail
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message

from reports import JobRow
from settings import Settings
from tests.records import BEGAN, job_row
from web.files import Download, disposition, download
from web.security import Refused

NAME = "отчёт.csv"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(var_dir=tmp_path)


@pytest.fixture
def folder(settings: Settings) -> Path:
    folder = settings.files_dir / "1"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def file(folder: Path) -> Path:
    (folder / NAME).write_bytes(b"0123456789")
    return folder / NAME


def done(**changed: Any) -> JobRow:
    return job_row(**{"state": "done", "file_name": NAME} | changed)


def descriptors() -> set[str]:
    """The files that this process has open."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(os.readlink(entry))
        except FileNotFoundError:  # the one of the listing itself
            continue
    return found


def sent(answer: Download, send: Callable[[Message], None] = lambda message: None, **headers: str) -> tuple[int, bytes]:
    """Let the answer be sent; return its status and body."""
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)
        send(message)

    async def receive() -> Message:
        await asyncio.Event().wait()  # the browser says nothing more
        raise AssertionError

    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(answer({"type": "http", "method": "GET", "headers": given}, receive, keep))
    return messages[0]["status"], b"".join(message.get("body", b"") for message in messages)


#: What a file in a folder is sent for, whatever the request says: its ranges are read when it goes.
REQUEST = Request({"type": "http", "method": "GET", "headers": []})


def refused(settings: Settings, job: JobRow) -> tuple[int, str]:
    with pytest.raises(Refused) as told:
        download(settings, job, REQUEST)()
    return told.value.status, told.value.text


# --- its name ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        NAME,
        "a.csv",
        'Чита "1" (2).xlsx',
        "100 % + №.csv",
        "a\r\nSet-Cookie: b.csv",
        "a;b='c'.csv",
        "back\\slash",
        "😀.csv",
    ],
)
def test_every_browser_understands_the_name(name: str) -> None:
    header = disposition(name)
    assert header.isascii()
    assert header.isprintable()
    kind, plain, extended = re.fullmatch(r'(\w+); (filename="[^"\\%]*"); (filename\*=\S+)', header).groups()  # type: ignore[union-attr]
    assert kind == "attachment"
    mail = Mail()
    mail["Content-Disposition"] = f"{kind}; {extended}"
    assert mail.get_filename() == name
    assert len(plain) == len(f'filename="{name}"')


def test_a_browser_that_reads_only_ascii_gets_a_name_too() -> None:
    assert 'filename="_____ _1_ (2).csv"' in disposition('отчёт "1" (2).csv')


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("a.csv", "text/csv; charset=utf-8"),
        ("a.XLSX", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("a.html", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_a_browser_is_told_what_the_file_is_and_never_shows_it_as_a_page(
    settings: Settings, folder: Path, name: str, type_: str
) -> None:
    (folder / name).touch()
    answer = download(settings, done(file_name=name), REQUEST)()
    assert answer.headers["content-type"] == type_
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["cache-control"] == "private, no-cache"
    sent(answer)


# --- whether there is one ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "status", "text"),
    [
        (job_row(state="running"), 409, "у задания нет готового файла"),
        (job_row(state="failed"), 409, "у задания нет готового файла"),
        (done(file_name=None), 409, "у задания нет готового файла"),
        (done(user_id=None), 409, "у задания нет готового файла"),
        (done(purged_at=BEGAN), 410, "файл уже удалён"),
    ],
)
def test_a_job_without_a_file_says_why(settings: Settings, file: Path, job: JobRow, status: int, text: str) -> None:
    assert refused(settings, job) == (status, text)


def test_a_file_that_is_gone_says_so(settings: Settings, file: Path) -> None:
    assert refused(settings, done(user_id=2)) == (410, "файл уже удалён")
    file.unlink()
    assert refused(settings, done()) == (410, "файл уже удалён")


@pytest.mark.parametrize("name", ["../2/other.csv", "/etc/passwd", ".hidden", "a\x00.csv", ".tksva_q-7-1.part", ""])
def test_a_name_that_nobody_may_write_is_not_read_either(settings: Settings, folder: Path, name: str) -> None:
    (folder / ".hidden").touch()
    (folder / ".tksva_q-7-1.part").touch()
    (folder.parent / "2").mkdir()
    (folder.parent / "2" / "other.csv").touch()
    assert refused(settings, done(file_name=name))[0] == 410


def test_a_link_a_folder_and_a_pipe_are_no_files(settings: Settings, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / NAME).write_text("secret")
    (folder / NAME).symlink_to(secret / NAME)
    assert refused(settings, done())[0] == 410
    (folder.parent / "2").symlink_to(secret)
    assert refused(settings, done(user_id=2))[0] == 410
    (folder / "folder.csv").mkdir()
    assert refused(settings, done(file_name="folder.csv"))[0] == 410
    os.mkfifo(folder / "pipe.csv")
    assert refused(settings, done(file_name="pipe.csv"))[0] == 410
    assert not [path for path in descriptors() if path.startswith(str(tmp_path))]


# --- that it arrives --------------------------------------------------------------------------------------------------


def test_a_file_arrives_whole_though_it_is_replaced_and_deleted_meanwhile(settings: Settings, file: Path) -> None:
    answer = download(settings, done(), REQUEST)()
    (file.parent / "new").write_bytes(b"another")
    (file.parent / "new").replace(file)
    file.unlink()
    assert sent(answer) == (200, b"0123456789")
    assert not [path for path in descriptors() if path.startswith(str(file.parent))]


def test_a_range_of_it_arrives(settings: Settings, file: Path) -> None:
    assert sent(download(settings, done(), REQUEST)(), range="bytes=2-4") == (206, b"234")


def test_a_browser_that_goes_away_leaves_no_open_file(settings: Settings, file: Path) -> None:
    def gone(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        sent(download(settings, done(), REQUEST)(), gone)
    assert str(file) not in descriptors()
