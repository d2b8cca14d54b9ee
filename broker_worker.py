"""A worker behind the broker that BROKER_URL names; WORKERS is the number of jobs that it runs at a time.

python broker_worker.py                             # looks at the settings, then does the same as
python -m taskiq worker broker_worker:broker --workers 1 --no-configure-logging
"""

import logging
import multiprocessing
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import brokers
import dwh
import logs
import prepared
import settings as settings_module
import workloads
from errors import SettingsError
from parent_death import end_with_parent

if TYPE_CHECKING:
    from listening import ListeningBroker

HERE = str(Path(__file__).resolve().parent)


def _load() -> settings_module.Settings:
    try:
        settings = settings_module.load()
        workloads.load(settings.integrations)
        if settings.broker_url is None:
            raise SettingsError(settings_module.line(settings_module.Settings, "broker_url", "не задан"))
        brokers.make(settings)
        dwh.check(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    return settings


def main() -> NoReturn:
    """Become TaskIQ's worker, where the settings make sense; its own options may follow."""
    _load()
    worker = [sys.executable, "-m", "taskiq", "worker", "broker_worker:broker", "--app-dir", HERE, "--workers", "1"]
    os.execv(sys.executable, [*worker, "--no-configure-logging", "--log-level", "WARNING", *sys.argv[1:]])  # noqa: S606 -- as systemd would


def broker() -> "ListeningBroker":
    """Return what TaskIQ's worker listens to; called in each of its processes."""
    settings = _load()
    if multiprocessing.parent_process() is not None:
        end_with_parent()  # TaskIQ's own processes would outlive the one that looks after them
    # TaskIQ's command line may have set up handlers that hide no secrets.
    logging.getLogger().handlers.clear()
    logs.setup(settings)
    if settings.psql_pooled:
        prepared.go_without()
    logging.getLogger("taskiq").setLevel(logging.ERROR)  # what it receives is told by the jobs' own lines
    from listening import ListeningBroker  # noqa: PLC0415 -- after the settings, which say whether TaskIQ is there

    return ListeningBroker(settings)


if __name__ == "__main__":
    main()
