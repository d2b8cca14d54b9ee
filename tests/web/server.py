"""A real web process on a free port of this machine, and what one sends to it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from faults.ports import free_port
from tests import ROOT
from tests.daemons import environment
from tests.waiting import wait_for

TOKEN = "длинный-ключ-0123456789"
STATION = {"station_name": "Тайшет", "start_date": "2024-01-01", "finish_date": "2024-12-31"}

FINISHED = """
INSERT INTO tksva_q.job (form, user_id, file_name, state, attempt, rows, bytes, finished_at)
VALUES ('f', 1, 'Ворсино.csv', 'done', 1, 1000, 4, now()) RETURNING id
"""


def busy(seconds: float) -> float:
    """A time that is promised on a machine with nothing else to do, as long as this one takes for it now."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class Web:
    """`python -m web` in a process of its own."""

    def __init__(self, conninfo: str, folder: Path, **settings: object) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        known = environment(conninfo, folder, web_port=self.port, **settings)
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "web"],
            cwd=folder,
            env=known | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, **{"timeout": 15} | options)

    def await_answer(self) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, "\n".join(self.lines)
            try:
                with self.client() as client:
                    client.get("/static/icon.svg")
            except httpx.TransportError:
                return False
            return True

        wait_for(answers, 60, lambda: "\n".join(self.lines))

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            raise AssertionError("the web process did not stop:\n" + "\n".join(self.lines)) from None
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(60)
            if self.process.stdout:
                self.process.stdout.close()


def form_token(page: str) -> str:
    """The token that a form of this page carries."""
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found, page
    return found[1]


def new_job(**changed: object) -> dict[str, object]:
    return {"form": "DownloadForStationForm", "user_id": 1, "file_name": "a.csv", "conditions": STATION} | changed
