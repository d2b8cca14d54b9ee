"""A real web process on a free port of this machine, and what one sends to it."""

from __future__ import annotations

import re
import socket
import ssl
import sys
from pathlib import Path

import httpx

from faults.ports import free_port
from tests.daemons import Warm, environment
from tests.waiting import wait_for

#: Reading all certificates that a machine trusts takes longer than most requests; these go to plain HTTP.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TOKEN = "длинный-ключ-0123456789"
STATION = {"station_name": "Тайшет", "start_date": "2024-01-01", "finish_date": "2024-12-31"}

FINISHED = """
INSERT INTO tksva_q.job (form, user_id, file_name, state, attempt, rows, bytes, finished_at)
VALUES ('f', 1, 'Ворсино.csv', 'done', 1, 1000, 4, now()) RETURNING id
"""


class Web(Warm):
    """`python -m web` in a process of its own."""

    module = "web.__main__"

    def __init__(self, conninfo: str, folder: Path, **settings: object) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        known = environment(conninfo, folder, web_port=self.port, **settings)
        words = (sys.executable, "-m", "web")
        super().__init__(words, folder, known, apart=False)

    def client(self, **options: object) -> httpx.Client:
        return plain_client(self.url, **{"timeout": 15} | options)

    def await_answer(self) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, "\n".join(self.lines)
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        wait_for(answers, 60, lambda: "\n".join(self.lines))


def plain_client(url: str = "", **options: object) -> httpx.Client:
    """A client of whoever answers at that address."""
    return httpx.Client(base_url=url, trust_env=False, verify=NO_CERTIFICATES, **options)  # type: ignore[arg-type]


def form_token(page: str) -> str:
    """The token that a form of this page carries."""
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found, page
    return found[1]


def new_job(**changed: object) -> dict[str, object]:
    return {"form": "DownloadForStationForm", "user_id": 1, "file_name": "a.csv", "conditions": STATION} | changed
