"""`python -m web`: where it listens, how it refuses to start, how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from settings import Settings
from tests import ROOT
from tests.daemons import environment
from tests.waiting import wait_for
from tests.web.server import TOKEN, Web
from web import __main__ as main


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({"web_host": "0.0.0.0", "api_token": TOKEN}, "0.0.0.0"),  # noqa: S104
        ({"web_host": "0.0.0.0"}, "127.0.0.1"),  # noqa: S104
        ({"web_host": "192.0.2.1"}, "127.0.0.1"),
        ({"web_host": "::"}, "127.0.0.1"),
        ({"web_host": "queue.example"}, "127.0.0.1"),
        ({"web_host": "::1"}, "::1"),
        ({"web_host": "localhost"}, "localhost"),
        ({"web_host": "127.0.0.2"}, "127.0.0.2"),
        ({}, "127.0.0.1"),
    ],
)
def test_without_a_token_none_but_this_machine_is_listened_to(settings: dict[str, Any], host: str) -> None:
    assert main.host(Settings(**settings)) == host


def test_listening_elsewhere_than_asked_is_said_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        main.host(Settings(web_host="192.0.2.1"))
        main.host(Settings(web_host="192.0.2.1", api_token=TOKEN))  # type: ignore[arg-type]
        main.host(Settings())
    [record] = caplog.records
    assert record.message == "web_on_loopback_only"
    assert "WEB_HOST=192.0.2.1 без API_TOKEN; пример: API_TOKEN=" in record.reason  # type: ignore[attr-defined]


def test_it_serves_with_the_settings_address_and_writes_no_log_of_the_servers_own(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: dict[str, Any] = {}

    def serve(app: FastAPI, **options: Any) -> None:
        served.update(options, app=app)

    monkeypatch.setattr(uvicorn, "run", serve)
    monkeypatch.setattr(main.logs, "setup", lambda settings: None)
    settings = Settings(web_host="::1", web_port=8123, var_dir=tmp_path)
    monkeypatch.setattr(main.settings_module, "load", lambda: settings)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 0
    assert (served["host"], served["port"]) == ("::1", 8123)
    assert (served["log_config"], served["access_log"], served["server_header"]) == (None, False, False)
    assert served["timeout_graceful_shutdown"] == main.STOP_SECONDS
    assert served["app"].state.context.settings is settings


# --- a process of its own ---------------------------------------------------------------------------------------------


def start(database: str, folder: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    """Start it where it cannot."""
    return subprocess.run(
        [sys.executable, "-m", "web"],
        cwd=folder,
        env=environment(database, folder, **settings) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"web_port": "many"}, "WEB_PORT"), ({"integrations": "nonsense"}, "INTEGRATIONS")],
)
def test_a_wrong_setting_stops_the_start_with_one_line(
    database: str, tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    ended = start(database, tmp_path, **settings)
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"{words}: ")
    assert f"; пример: {words}=" in line


def test_a_key_that_cannot_be_kept_stops_the_start_with_the_reason(database: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = start(database, tmp_path, var_dir=tmp_path / "file")
    assert ended.returncode == 1
    [line] = (ended.stdout + ended.stderr).splitlines()
    assert " web_not_started " in line
    assert "reason=" in line


def test_it_ends_when_it_is_asked_to_though_somebody_watches(start_web: Callable[..., Web]) -> None:
    web = start_web()
    wait_for(lambda: any(" web_listens " in line and f"port={web.port}" in line for line in web.lines), 60)
    with web.client() as client, client.stream("GET", "/api/events") as stream:
        next(stream.iter_lines())
        assert web.stop() == -signal.SIGTERM
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", web.port), timeout=5)
    assert "Traceback" not in "\n".join(web.lines)
