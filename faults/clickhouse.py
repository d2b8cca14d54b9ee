"""A real ClickHouse of the tests' own, and today's dialect: chdb in a process of its own behind the driver's calls."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clickhouse_driver import Client  # type: ignore[import-untyped]
from clickhouse_driver.errors import ServerException  # type: ignore[import-untyped]
from clickhouse_driver.util.escape import escape_params  # type: ignore[import-untyped]

from faults.daemon import wait_for
from faults.ports import free_port
from faults.program import PATIENCE
from settings import Settings

PASSWORD = "пароль & <тайна>"
#: A query that the server would work on for hours.
SLOW = "SELECT toInt64(number) AS rownumber, toString(cityHash64(number)) AS a FROM system.numbers LIMIT 100000000000"
CONFIG = """<yandex>
<logger><level>warning</level><log>{folder}/log</log><errorlog>{folder}/errors</errorlog></logger>
<tcp_port>{port}</tcp_port><tcp_port_secure>{secure}</tcp_port_secure><listen_host>127.0.0.1</listen_host>
<openSSL><server><certificateFile>{folder}/cert.pem</certificateFile><privateKeyFile>{folder}/key.pem</privateKeyFile>
<verificationMode>none</verificationMode><loadDefaultCAFile>false</loadDefaultCAFile></server></openSSL>
<path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path><users_config>{folder}/users.xml</users_config>
<default_profile>default</default_profile><default_database>default</default_database>
<mark_cache_size>67108864</mark_cache_size><timezone>Asia/Irkutsk</timezone>
</yandex>"""
USERS = """<yandex><profiles><default/><reader><readonly>1</readonly></reader></profiles><quotas><default/></quotas>
<users><default><password>{password}</password><networks><ip>127.0.0.1</ip></networks>
<profile>default</profile><quota>default</quota></default>
<reader><password>{password}</password><networks><ip>127.0.0.1</ip></networks>
<profile>reader</profile><quota>default</quota></reader></users></yandex>"""

CHDB = """
import json, sys
from chdb import session
opened = session.Session(sys.argv[1])
opened.query("SET allow_suspicious_low_cardinality_types = 1")
for line in sys.stdin:
    try:
        answer = {"rows": opened.query(json.loads(line), "JSONCompactEachRow").bytes().decode()}
    except Exception as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""


class Server:
    """Debian's clickhouse-server."""

    def __init__(self, folder: Path, port: int, secure: int) -> None:
        self.folder, self.port, self.secure = folder, port, secure
        self.certificate = folder / "cert.pem"
        self.start()

    def start(self) -> None:
        program = shutil.which("clickhouse-server", path="/usr/sbin:/usr/bin:/usr/local/bin")
        assert program, "clickhouse-server is missing: make system"
        with (self.folder / "out").open("wb") as out:
            command = [program, f"--config-file={self.folder}/config.xml"]
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=out, stderr=subprocess.STDOUT)
        wait_for(self._answers, (self.folder / "errors").read_text)

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "out").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    @contextmanager
    def client(self, **options: Any) -> Iterator[Client]:
        opened = Client("127.0.0.1", port=self.port, password=PASSWORD, **options)
        try:
            yield opened
        finally:
            opened.disconnect()

    def run(self, query: str, rows: Any = None) -> Any:
        """Run a statement on a connection of its own."""
        with self.client() as client:
            return client.execute(query, rows, settings={"allow_experimental_low_cardinality_type": 1})

    def running(self, part: str) -> list[str]:
        """Queries that the server is working on and that have this part."""
        rows = self.run(
            f"SELECT query FROM system.processes WHERE position(query, '{part}') > 0 AND query NOT LIKE '%system.proc%'"
        )
        return [row[0] for row in rows]


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    """Start a server in the folder and stop it at the end."""
    for name in ("data", "tmp"):
        (folder / name).mkdir()
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    port, secure = free_port(), free_port()
    password = PASSWORD.replace("&", "&amp;").replace("<", "&lt;")
    (folder / "config.xml").write_text(CONFIG.format(folder=folder, port=port, secure=secure))
    (folder / "users.xml").write_text(USERS.format(password=password))
    started = Server(folder, port, secure)
    try:
        yield started
    finally:
        started.stop()


def click_settings(server: Server, **keys: object) -> Settings:
    """Settings of a warehouse in the server."""
    chosen = {"click_host": "127.0.0.1", "click_port": server.port, "click_pwd": PASSWORD, **keys}
    return Settings(**chosen)  # type: ignore[arg-type]


class Today:
    """The two calls of the driver's client that the warehouse makes, answered by chdb."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHDB, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def execute(self, query: str, values: dict[str, Any] | None = None, query_id: str = "") -> list[tuple[Any, ...]]:
        text = query % escape_params(values, None) if values is not None else query
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(text) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise ServerException(answer["error"], 0)
        return [tuple(map(_as_bytes, json.loads(row))) for row in answer["rows"].splitlines()]

    def execute_iter(
        self, query: str, values: dict[str, Any], query_id: str, chunk_size: int
    ) -> Iterator[list[tuple[Any, ...]]]:
        rows = self.execute(query, values)
        for start in range(0, len(rows), chunk_size):
            yield rows[start : start + chunk_size]

    def disconnect(self) -> None:
        """Nothing: the process serves every test."""

    def stop(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()


def _as_bytes(value: Any) -> Any:
    if isinstance(value, str):
        return int(value) if value.lstrip("-").isdigit() else value.encode()
    return value


def table(clickhouse: Server, name: str, columns: str, rows: str) -> str:
    """Make a table of these columns, filled by the query `rows`; give its name."""
    clickhouse.run(f"DROP TABLE IF EXISTS {name}")
    clickhouse.run(f"CREATE TABLE {name} ({columns}) ENGINE = MergeTree ORDER BY tuple()")
    clickhouse.run(f"INSERT INTO {name} {rows}")
    return name


def slow(clickhouse: Server) -> str:
    """Make a view that is never read to its end; give its name."""
    clickhouse.run("DROP TABLE IF EXISTS slow")
    clickhouse.run(f"CREATE VIEW slow AS {SLOW}")
    return "slow"
