"""What the parser manager's API takes and gives, as `GET /docs` describes it."""

import datetime
import json
import uuid
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from web.models import MAX_ID

#: Levels of brackets that the settings of a source may have.
DEEPEST = 50
#: The years in which a group may be planned or expire.
YEARS = range(2000, 2200)

SourceType = Literal["rss", "vk", "youtube"]
TaskStatus = Literal["created", "sent", "in_progress", "success", "error", "cancelled"]


def _text(longest: int) -> StringConstraints:
    """Return a text without the one character that PostgreSQL cannot store, and not a blank one."""
    return StringConstraints(min_length=1, max_length=longest, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$")


def _plain(value: Any, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise ValueError(f"вложенность больше {DEEPEST}")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("знак с кодом 0 недопустим")
    parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    for part in parts:
        _plain(part, depth + 1)


def _settings(value: dict[str, Any]) -> dict[str, Any]:
    _plain(value)
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        raise ValueError("есть число или знак, которых нет в JSON") from None
    return value


def _sensible(value: datetime.datetime) -> datetime.datetime:
    if value.year not in YEARS:
        raise ValueError(f"год не от {YEARS[0]} до {YEARS[-1]}")
    return value


Name = Annotated[str, _text(500)]
Code = Annotated[str, _text(140)]
Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Seconds = Annotated[int, Field(ge=1, le=2**31 - 1)]
SourceSettings = Annotated[dict[str, Any], AfterValidator(_settings)]
Moment = Annotated[AwareDatetime, AfterValidator(_sensible)]

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """A page of a list."""

    items: list[T]
    page: int
    size: int = Field(description="строк на странице")
    total: int = Field(description="строк всего")
    pages: int = Field(description="страниц всего")


class _Given(BaseModel):
    """What somebody sends: a name that nobody knows is a mistake of theirs."""

    model_config = ConfigDict(extra="forbid")


def _kept() -> Any:
    """Return the default of what a change leaves as it is: it is never looked at, and null is none."""
    return Field(default_factory=lambda: None)


class NewSource(_Given):
    """A source to be made."""

    name: Name
    type: SourceType
    external_id: Name = Field(description="чем источник известен снаружи: адрес ленты, номер группы, канал")
    is_active: bool = True
    settings: SourceSettings = Field(default_factory=dict, description="для парсера, передаются как есть")


class SourceChange(_Given):
    """What of a source is to change."""

    name: Name = _kept()
    type: SourceType = _kept()
    external_id: Name = _kept()
    is_active: bool = _kept()
    settings: SourceSettings = _kept()


class Source(BaseModel):
    """A source."""

    id: int
    name: str
    type: SourceType
    external_id: str
    is_active: bool
    settings: dict[str, Any]
    created_at: datetime.datetime
    updated_at: datetime.datetime


class NewTaskType(_Given):
    """A type of tasks to be made."""

    code: Code
    title: Name
    interval_seconds: Seconds = Field(description="как часто, если у источника не указано иное")
    timeout_seconds: Seconds = Field(description="через сколько задача просрочена")
    is_active: bool = True


class TaskTypeChange(_Given):
    """What of a type of tasks is to change."""

    code: Code = _kept()
    title: Name = _kept()
    interval_seconds: Seconds = _kept()
    timeout_seconds: Seconds = _kept()
    is_active: bool = _kept()


class TaskType(BaseModel):
    """A type of tasks."""

    id: int
    code: str
    title: str
    interval_seconds: int
    timeout_seconds: int
    is_active: bool


class NewSourceTaskType(_Given):
    """That a source has tasks of a type."""

    source_id: Id
    task_type_id: Id
    is_active: bool = True
    interval_seconds: Seconds | None = None


class SourceTaskTypeChange(_Given):
    """What of it is to change."""

    is_active: bool = _kept()
    interval_seconds: Seconds | None = None


class SourceTaskType(BaseModel):
    """That a source has tasks of a type, and how often."""

    source_id: int
    task_type_id: int
    is_active: bool
    interval_seconds: int | None = Field(description="null — как у типа задач")


class GroupChange(_Given):
    """What of a group is to change."""

    planned_for: Moment = _kept()
    expires_at: Moment = _kept()


class Group(BaseModel):
    """A group of tasks; its status follows from theirs."""

    id: int
    task_type_id: int
    source_type: SourceType
    planned_for: datetime.datetime
    status: TaskStatus
    expires_at: datetime.datetime
    created_at: datetime.datetime
    updated_at: datetime.datetime
    tasks: int = Field(description="сколько в ней задач")


class NewTask(_Given):
    """A task to be added to a group; its source is of the group's type."""

    group_id: Id
    source_id: Id


class TaskChange(_Given):
    """The end of a task that has not ended."""

    status: Literal["success", "error", "cancelled"]
    error: Name | None = Field(default=None, description="почему")


class Task(BaseModel):
    """A task, as it was sent to the parser and as the parser has answered."""

    id: uuid.UUID
    group_id: int
    source_id: int
    status: TaskStatus
    payload: dict[str, Any]
    items: int | None
    created_at: datetime.datetime
    sent_at: datetime.datetime | None
    started_at: datetime.datetime | None
    finished_at: datetime.datetime | None
    error: str | None


class GeneratedGroup(BaseModel):
    """A group that was made."""

    id: int
    task_type: str
    source_type: SourceType
    tasks: int
    topic: str


class Generated(BaseModel):
    """What a generation made."""

    groups: list[GeneratedGroup]
    tasks_total: int


class Expired(BaseModel):
    """What was cancelled."""

    cancelled_groups: int
    cancelled_tasks: int


class Dictionaries(BaseModel):
    """The words that the other answers use."""

    source_types: list[SourceType]
    task_statuses: list[TaskStatus]
    final_statuses: list[TaskStatus]
    task_types: list[TaskType]
