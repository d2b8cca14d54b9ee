"""Groups of tasks, and tasks."""

import uuid
from typing import Any

from db import Cursor
from integrations.parsers import crud, groups, models
from integrations.parsers.crud import CHANGED, FOUND, LOOKED, MADE, REMOVED, Id, PageNumber, PageSize, Router
from integrations.parsers.records import GROUPS, TASKS, Conflict
from integrations.parsers.statuses import FINAL
from web.context import Authorized, Open

router = Router(prefix="/api/v1", tags=["парсеры: задачи"])


@router.get("/task_group/", summary="группы задач, новые первыми", response_description="страница", responses=LOOKED)
async def task_groups(  # noqa: PLR0913, PLR0917 -- the filters
    context: Open,
    source_type: models.SourceType | None = None,
    task_type_id: models.Id | None = None,
    status: models.TaskStatus | None = None,
    page: PageNumber = 1,
    size: PageSize = None,
) -> models.Page[models.Group]:
    """All groups, or those of a source type, a task type, or a status."""
    wanted = {"source_type": source_type, "task_type_id": task_type_id, "status": status}
    return models.Page(**await crud.page(context, GROUPS, wanted, page, size))


@router.get("/task_group/{id}", summary="группа задач", response_description="она", responses=FOUND)
async def task_group(context: Open, id: Id) -> models.Group:
    """One group."""
    return models.Group(**await crud.one(context, GROUPS, id))


@router.patch("/task_group/{id}", summary="изменить группу", response_description="изменена", responses=CHANGED)
async def change_task_group(context: Authorized, id: Id, new: models.GroupChange) -> models.Group:
    """Change when it was planned or expires."""
    return models.Group(**await crud.change(context, GROUPS, new, id))


@router.delete("/task_group/{id}", status_code=204, summary="удалить группу вместе с её задачами", responses=REMOVED)
async def remove_task_group(context: Authorized, id: Id) -> None:
    """Delete a group and its tasks; what parsers still say of them is then of no task."""
    await crud.remove(context, GROUPS, id)


# --- tasks ------------------------------------------------------------------------------------------------------------


@router.get("/task/", summary="задачи, новые первыми", response_description="страница", responses=LOOKED)
async def tasks(  # noqa: PLR0913, PLR0917 -- the filters
    context: Open,
    group_id: models.Id | None = None,
    source_id: models.Id | None = None,
    status: models.TaskStatus | None = None,
    page: PageNumber = 1,
    size: PageSize = None,
) -> models.Page[models.Task]:
    """All tasks, or those of a group, a source, or a status."""
    wanted = {"group_id": group_id, "source_id": source_id, "status": status}
    return models.Page(**await crud.page(context, TASKS, wanted, page, size))


@router.post(
    "/task/", status_code=201, summary="добавить задачу в группу", response_description="создана", responses=MADE
)
async def add_task(context: Authorized, new: models.NewTask) -> models.Task:
    """Add a task; it is sent as the others are."""

    def work(cursor: Cursor) -> dict[str, Any]:
        task_id = groups.add(cursor, new.group_id, new.source_id)
        if task_id is None:
            raise Conflict("нет такой группы, или источника её типа")
        return crud.found(TASKS.get(cursor, task_id))

    return models.Task(**await crud.write(context, work))


@router.get("/task/{id}", summary="задача", response_description="она", responses=FOUND)
async def task(context: Open, id: uuid.UUID) -> models.Task:
    """One task."""
    return models.Task(**await crud.one(context, TASKS, str(id)))


@router.patch("/task/{id}", summary="закончить задачу", response_description="закончена", responses=CHANGED)
async def change_task(context: Authorized, id: uuid.UUID, new: models.TaskChange) -> models.Task:
    """End a task by hand; one that has ended stays as it is."""

    def work(cursor: Cursor) -> dict[str, Any] | None:
        cursor.execute("SELECT status FROM parsers.task WHERE id = %s FOR UPDATE", (str(id),))
        status = (crud.found(cursor.fetchone()))[0]
        if status in FINAL:
            raise Conflict(f"задача уже закончена: {status}")
        cursor.execute(
            "UPDATE parsers.task SET status = %s, error = %s, finished_at = now() WHERE id = %s",
            (new.status, new.error, str(id)),
        )
        return TASKS.get(cursor, str(id))

    return models.Task(**crud.found(await crud.write(context, work)))


@router.delete("/task/{id}", status_code=204, summary="удалить задачу", responses=REMOVED)
async def remove_task(context: Authorized, id: uuid.UUID) -> None:
    """Delete a task."""
    await crud.remove(context, TASKS, str(id))
