"""Pages as a person reads them, and buttons as a person presses them."""

from __future__ import annotations

import re

import httpx

from tests.database import Queries
from tests.web.inside import Inside
from tests.web.server import TOKEN, form_token
from words import NARROWLY, THIN

BEARER = {"Authorization": f"Bearer {TOKEN}".encode()}


def text(answer: httpx.Response) -> str:
    """A page as it is read: without its tags, with usual spaces."""
    words = re.sub(r"<[^>]+>", " ", answer.text).replace(THIN, " ").replace(NARROWLY, " ")
    return " ".join(words.split())


def put(sql: Queries, state: str, **columns: object) -> int:
    """A job in this state."""
    known = {"form": "DownloadForStationForm", "file_name": "a.csv", "user_id": 1, "state": state} | columns
    names = ", ".join(known)
    ended = "NULL" if state in {"waiting", "running"} else "now()"
    worker = "gen_random_uuid()" if state == "running" else "NULL"
    return int(
        sql.value(
            f"INSERT INTO tksva_q.job (finished_at, worker, {names})"
            f" VALUES ({ended}, {worker}, {', '.join(['%s'] * len(known))}) RETURNING id",
            *known.values(),
        )
    )


def press(inside: Inside, path: str, page: str = "/", **fields: str) -> httpx.Response:
    """Send a form of this page, as a browser that has just seen it does."""
    token = form_token(inside.get(page, headers=BEARER).text)
    # The browser's cookie is kept by the client.
    return inside.post(path, data={"token": token} | fields, headers=BEARER)
