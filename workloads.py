"""The workloads that INTEGRATIONS switches on: each is a module of `integrations/`, and what it brings along.

A workload registers its processings when it is imported (`@processing`, `@form`, `@computed`). Whatever else it brings
is found in its module under these names, each of them optional; what they return is imported only where it is used, so
that the daemon and its children never pay for a web framework:

    TITLE = "Заявки"                  # in the page's navigation, which leads to /<name>
    SETTINGS = DealSettings           # a class of settings, read from the same `.env` by `settings.load_part`
    SCHEDULES = (Schedule(...), ...)  # or a function that returns them; see schedules.py
    SERVICES = (Service(...), ...)    # or such a function: processes that run beside the loop; see services.py
    def routes() -> fastapi.APIRouter: ...
    def commands() -> typer.Typer: ...      # becomes `manage.py <name> ...`
    def metrics(cursor) -> Iterable[prometheus_client.Metric]: ...
    def health(cursor) -> dict[str, Check]: ...
    def sources(cursor): ...                # how fresh each source is, for /healthz/freshness

Its tables are made by its own Alembic tree, `migrations/<name>`, where there is one.
"""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import settings as settings_module
from errors import SettingsError
from logs import hide_secrets


@dataclass(frozen=True)
class Check:
    """Whether one thing that a workload needs, or promises, is as it should be."""

    status: str  # ok, warning, error
    text: str  # in Russian


@dataclass(frozen=True)
class Workload:
    """A module of `integrations/` that is switched on."""

    name: str
    module: ModuleType

    def offers(self, part: str) -> bool:
        """Tell whether the workload brings something along under this name."""
        return hasattr(self.module, part)

    def part(self, part: str, *arguments: Any) -> Any:
        """Return what the workload brings along under a name, () where that is nothing."""
        found = getattr(self.module, part, ())
        return found(*arguments) if callable(found) else found

    @property
    def title(self) -> str:
        """What the page calls it; empty: it has no page."""
        return str(getattr(self.module, "TITLE", ""))


def load(integrations: Iterable[str]) -> tuple[Workload, ...]:
    """Import the modules that INTEGRATIONS names, and read the settings that each has of its own.

    Raises:
        SettingsError: there is no such module, or one of its settings makes no sense.
    """
    return tuple(_load(name) for name in integrations)


def _load(name: str) -> Workload:
    try:
        module = importlib.import_module(f"integrations.{name}")
    except ModuleNotFoundError as error:
        raise SettingsError(f"INTEGRATIONS: {name}: {error}; пример: INTEGRATIONS=timers") from None
    part = getattr(module, "SETTINGS", None)
    if part is not None:
        hide_secrets(settings_module.load_part(part))
    return Workload(name, module)
