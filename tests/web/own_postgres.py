"""A PostgreSQL of a test's own, which it may stop, freeze and start again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import psycopg2.extensions
import pytest

import embedded
from schema import migrate
from tests.folders import for_servers


@contextmanager
def own_postgres() -> Iterator[tuple[str, Path]]:
    """A server with the queue's schema, stopped at the end: its connection string, and the VAR_DIR that it is in."""
    # Not below pytest's own folder, which another session of the same user closes to the server's user.
    folder = for_servers()
    try:
        conninfo = psycopg2.extensions.make_dsn(embedded.embedded_dsn(folder))
        migrate(conninfo)
        yield conninfo, folder
    finally:
        embedded._release(folder / "postgres", os.getpid())
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_server() -> Iterator[tuple[str, Path]]:
    with own_postgres() as server:
        yield server


def postmaster(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "postgres" / "postmaster.pid").read_text().split()[0]))


@contextmanager
def frozen(folder: Path) -> Iterator[None]:
    """Nobody of a server moves any more; at the end, however it comes, all go on."""
    with ExitStack() as after:
        server = postmaster(folder)
        _freeze(server, after)  # first: it makes no more children
        for child in server.children():
            with suppress(psutil.NoSuchProcess):
                _freeze(child, after)
        yield


def _freeze(process: psutil.Process, after: ExitStack) -> None:
    process.suspend()
    after.callback(process.resume)
