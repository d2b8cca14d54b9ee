"""The parser manager over HTTP."""

from fastapi import APIRouter
from pydantic import BaseModel

from db import Database
from integrations.parsers import groups
from integrations.parsers.settings import ParserSettings
from settings import load_part
from web.api import SECURED, problems
from web.context import Authorized, Context

router = APIRouter(prefix="/api/v1", tags=["парсеры"])


class Group(BaseModel):
    """A group of tasks that was made."""

    id: int
    task_type: str
    source_type: str
    tasks: int
    topic: str


class Generated(BaseModel):
    """What a generation made."""

    groups: list[Group]
    tasks_total: int


class Expired(BaseModel):
    """What was cancelled."""

    cancelled_groups: int
    cancelled_tasks: int


@router.post(
    "/task_group/",
    status_code=201,
    summary="создать задачи, чей срок настал",
    response_description="созданы",
    responses=problems(*SECURED),
)
async def generate(context: Authorized) -> Generated:
    """One group for each source type and task type with something due; calls at once end as one."""
    settings = load_part(ParserSettings)

    def work(database: Database) -> list[groups.Group]:
        with database.transaction() as cursor:
            return groups.generate(cursor)

    made = [Group(**vars(one), topic=settings.topic(one.source_type)) for one in await context.pool.run(work)]
    return Generated(groups=made, tasks_total=sum(one.tasks for one in made))


async def _cancel(context: Context) -> Expired:
    def work(database: Database) -> tuple[int, int]:
        with database.transaction() as cursor:
            return groups.cancel_expired(cursor)

    cancelled, tasks = await context.pool.run(work)
    return Expired(cancelled_groups=cancelled, cancelled_tasks=tasks)


@router.post(
    "/task_group/cancel_expired_task_group",
    summary="отменить просроченное",
    response_description="отменено",
    responses=problems(*SECURED),
)
async def cancel_expired(context: Authorized) -> Expired:
    """Cancel what is past its time and has not ended."""
    return await _cancel(context)


@router.get(
    "/task_group/cancel_expired_task_group",
    summary="отменить просроченное (для старых crontab)",
    response_description="отменено",
    responses=problems(*SECURED),
)
async def cancel_expired_by_get(context: Authorized) -> Expired:
    """The same, for crontabs that only know GET."""
    return await _cancel(context)
