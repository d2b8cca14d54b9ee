"""What the handlers of requests share."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from settings import Settings
from web.background import BackgroundCheck
from web.dashboard import Dashboard
from web.database import Pool
from web.estimates import Estimates
from web.monitor import Monitor
from web.security import Guard
from workloads import Workload


@dataclass(frozen=True)
class Context:
    """Everything that a request may need."""

    settings: Settings
    pool: Pool
    monitor: Monitor
    guard: Guard
    warehouse: BackgroundCheck
    disk: BackgroundCheck
    dashboard: Dashboard
    estimates: Estimates
    workloads: tuple[Workload, ...] = ()
    broker: BackgroundCheck | None = None  # where BROKER_URL is set


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def _authorized(request: Request) -> Context:
    context = _context(request)
    context.guard.authorize(request)
    return context


#: For whoever may look.
Open = Annotated[Context, Depends(_context)]
#: For whoever knows the token.
Authorized = Annotated[Context, Depends(_authorized)]
