"""Sources, types of tasks, and which source has tasks of which type."""

from typing import Any

from integrations.parsers import crud, models
from integrations.parsers.crud import CHANGED, FOUND, LOOKED, MADE, REMOVED, Id, PageNumber, PageSize, Router
from integrations.parsers.records import SOURCE_TASK_TYPES, SOURCES, TASK_TYPES
from web.context import Authorized, Open

router = Router(prefix="/api/v1", tags=["парсеры: источники"])


@router.get("/source/", summary="источники", response_description="страница", responses=LOOKED)
async def sources(
    context: Open,
    type: models.SourceType | None = None,
    is_active: bool | None = None,
    page: PageNumber = 1,
    size: PageSize = None,
) -> models.Page[models.Source]:
    """All sources, or those of a type."""
    wanted = {"type": type, "is_active": is_active}
    return models.Page(**await crud.page(context, SOURCES, wanted, page, size))


@router.post("/source/", status_code=201, summary="новый источник", response_description="создан", responses=MADE)
async def add_source(context: Authorized, new: models.NewSource) -> models.Source:
    """Make a source; type and external id are unique together."""
    return models.Source(**await crud.add(context, SOURCES, new))


@router.get("/source/{id}", summary="источник", response_description="источник", responses=FOUND)
async def source(context: Open, id: Id) -> models.Source:
    """One source."""
    return models.Source(**await crud.one(context, SOURCES, id))


@router.patch("/source/{id}", summary="изменить источник", response_description="изменён", responses=CHANGED)
async def change_source(context: Authorized, id: Id, new: models.SourceChange) -> models.Source:
    """Change what is given."""
    return models.Source(**await crud.change(context, SOURCES, new, id))


@router.delete("/source/{id}", status_code=204, summary="удалить источник", responses=REMOVED)
async def remove_source(context: Authorized, id: Id) -> None:
    """Delete a source that nothing refers to; one that has tasks is switched off instead."""
    await crud.remove(context, SOURCES, id)


# --- which source has tasks of which type -----------------------------------------------------------------------------


@router.get("/source_task_type/", summary="типы задач источников", response_description="страница", responses=LOOKED)
async def source_task_types(
    context: Open,
    source_id: models.Id | None = None,
    task_type_id: models.Id | None = None,
    page: PageNumber = 1,
    size: PageSize = None,
) -> models.Page[models.SourceTaskType]:
    """All of them, or those of a source or a type."""
    wanted = {"source_id": source_id, "task_type_id": task_type_id}
    return models.Page(**await crud.page(context, SOURCE_TASK_TYPES, wanted, page, size))


@router.post(
    "/source_task_type/",
    status_code=201,
    summary="дать источнику тип задач",
    response_description="создано",
    responses=MADE,
)
async def add_source_task_type(context: Authorized, new: models.NewSourceTaskType) -> models.SourceTaskType:
    """Let a source have tasks of a type."""
    return models.SourceTaskType(**await crud.add(context, SOURCE_TASK_TYPES, new))


_PAIR = "/source_task_type/{source_id}/{task_type_id}"


@router.get(_PAIR, summary="тип задач источника", response_description="он", responses=FOUND)
async def source_task_type(context: Open, source_id: Id, task_type_id: Id) -> models.SourceTaskType:
    """Whether and how often."""
    return models.SourceTaskType(**await crud.one(context, SOURCE_TASK_TYPES, source_id, task_type_id))


@router.patch(_PAIR, summary="изменить тип задач источника", response_description="изменено", responses=CHANGED)
async def change_source_task_type(
    context: Authorized, source_id: Id, task_type_id: Id, new: models.SourceTaskTypeChange
) -> models.SourceTaskType:
    """Change what is given; null as the interval: the type's own."""
    return models.SourceTaskType(**await crud.change(context, SOURCE_TASK_TYPES, new, source_id, task_type_id))


@router.delete(_PAIR, status_code=204, summary="отнять у источника тип задач", responses=REMOVED)
async def remove_source_task_type(context: Authorized, source_id: Id, task_type_id: Id) -> None:
    """Let a source have no more tasks of a type."""
    await crud.remove(context, SOURCE_TASK_TYPES, source_id, task_type_id)


# --- dictionaries -----------------------------------------------------------------------------------------------------


@router.get("/dictionary/", summary="словари", response_description="словари", responses=LOOKED)
async def dictionaries(context: Open) -> models.Dictionaries:
    """The words that the other answers use."""
    types: list[dict[str, Any]] = await context.pool.read(lambda cursor: TASK_TYPES.page(cursor, {}, 1, 1000)[0])
    return models.Dictionaries(
        source_types=["rss", "vk", "youtube"],
        task_statuses=["created", "sent", "in_progress", "success", "error", "cancelled"],
        final_statuses=["success", "error", "cancelled"],
        task_types=[models.TaskType(**one) for one in types],
    )


@router.get("/dictionary/task_type/", summary="типы задач", response_description="страница", responses=LOOKED)
async def task_types(context: Open, page: PageNumber = 1, size: PageSize = None) -> models.Page[models.TaskType]:
    """All types of tasks."""
    return models.Page(**await crud.page(context, TASK_TYPES, {}, page, size))


@router.post(
    "/dictionary/task_type/", status_code=201, summary="новый тип задач", response_description="создан", responses=MADE
)
async def add_task_type(context: Authorized, new: models.NewTaskType) -> models.TaskType:
    """Make a type of tasks; its code is unique."""
    return models.TaskType(**await crud.add(context, TASK_TYPES, new))


@router.get("/dictionary/task_type/{id}", summary="тип задач", response_description="он", responses=FOUND)
async def task_type(context: Open, id: Id) -> models.TaskType:
    """One type of tasks."""
    return models.TaskType(**await crud.one(context, TASK_TYPES, id))


@router.patch(
    "/dictionary/task_type/{id}", summary="изменить тип задач", response_description="изменён", responses=CHANGED
)
async def change_task_type(context: Authorized, id: Id, new: models.TaskTypeChange) -> models.TaskType:
    """Change what is given."""
    return models.TaskType(**await crud.change(context, TASK_TYPES, new, id))


@router.delete("/dictionary/task_type/{id}", status_code=204, summary="удалить тип задач", responses=REMOVED)
async def remove_task_type(context: Authorized, id: Id) -> None:
    """Delete a type that nothing refers to."""
    await crud.remove(context, TASK_TYPES, id)
