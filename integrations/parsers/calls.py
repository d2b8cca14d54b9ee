"""The two calls that make work and end it: the queue's schedules do the same, older crontabs still call."""

from db import Cursor
from integrations.parsers import crud, groups, models
from integrations.parsers.crud import Router
from integrations.parsers.settings import ParserSettings
from settings import load_part
from web.api import SECURED, problems
from web.context import Authorized, Context

router = Router(prefix="/api/v1/task_group", tags=["парсеры"])


@router.post(
    "/",
    status_code=201,
    summary="создать задачи, чей срок настал",
    response_description="созданы",
    responses=problems(*SECURED),
)
async def generate(context: Authorized) -> models.Generated:
    """One group for each source type and task type with something due; calls at once end as one."""

    def work(cursor: Cursor) -> list[groups.Group]:
        return groups.generate(cursor)

    settings = load_part(ParserSettings)
    made = [
        models.GeneratedGroup(**vars(one), topic=settings.topic(one.source_type))
        for one in await crud.write(context, work)
    ]
    return models.Generated(groups=made, tasks_total=sum(one.tasks for one in made))


async def _cancel(context: Context) -> models.Expired:
    cancelled, tasks = await crud.write(context, groups.cancel_expired)
    return models.Expired(cancelled_groups=cancelled, cancelled_tasks=tasks)


@router.post(
    "/cancel_expired_task_group",
    summary="отменить просроченное",
    response_description="отменено",
    responses=problems(*SECURED),
)
async def cancel_expired(context: Authorized) -> models.Expired:
    """Cancel what is past its time and has not ended."""
    return await _cancel(context)


@router.get(
    "/cancel_expired_task_group",
    summary="отменить просроченное (для старых crontab)",
    response_description="отменено",
    responses=problems(*SECURED),
)
async def cancel_expired_by_get(context: Authorized) -> models.Expired:
    """The same, for crontabs that only know GET."""
    return await _cancel(context)
