"""What the parts of a run share: the server, the warehouse in it, the sizes."""

from functools import cached_property
from pathlib import Path

from benchmarks.daemon import Daemon
from benchmarks.plan import Plan
from benchmarks.server import Server
from benchmarks.warehouse import Warehouse


class Bench:
    """One run.

    Args:
        folder: for everything that is written; on the disk whose speed counts.
        plan: how much is measured.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan
        self.server = Server(folder)

    @cached_property
    def warehouse(self) -> Warehouse:
        """The demo warehouse in a database of its own, with the queue's tables beside it."""
        return Warehouse(self.server.database("warehouse"))

    def daemon(self, conninfo: str, **settings: object) -> Daemon:
        """Start a daemon on a database; what it prepares lies in the run's folder."""
        return Daemon(conninfo, self.folder / "daemon", "queue_manager.py", **settings)

    def worker(self, conninfo: str, **settings: object) -> Daemon:
        """Start a worker behind a broker, beside the daemon."""
        return Daemon(conninfo, self.folder / "daemon", "broker_worker.py", **settings)

    def written(self, name: str) -> Path:
        """Return where a peer may write a file."""
        return self.folder / name
