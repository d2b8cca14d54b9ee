"""What all lists of the parser manager's API have in common: pages, 404, 409, 422."""

from collections.abc import Callable, Mapping
from math import ceil
from typing import Annotated, Any, TypeVar

import psycopg2.errors
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from db import Cursor, Database
from integrations.parsers.records import BadValue, Conflict, Table
from integrations.parsers.settings import ParserSettings
from settings import load_part
from web.api import LAST_PAGE, SECURED, problems
from web.context import Context
from web.models import MAX_ID
from web.security import Refused

#: Seconds that writing may take: an answer comes within five, whatever the database does.
WRITE_SECONDS = 3.0
#: Rows of a page that may be asked for.
LARGEST_PAGE = 1000

LOOKED = problems(403, 422, 503)
FOUND = problems(403, 404, 422, 503)
MADE = problems(400, 409, *SECURED)
CHANGED = problems(400, 404, 409, *SECURED)
REMOVED = problems(404, 409, *SECURED)

Id = Annotated[int, Path(ge=1, le=MAX_ID)]
PageNumber = Annotated[int, Query(ge=1, le=LAST_PAGE, description="какая страница")]
PageSize = Annotated[
    int | None, Query(ge=1, le=LARGEST_PAGE, description="строк на странице; без него — DEFAULT_PAGINATION_SIZE")
]

T = TypeVar("T")


class Router(APIRouter):
    """Answers with and without the slash at the end: crontabs and clients that know either are out there."""

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Add a path that ends with a slash, and silently the one without."""
        super().add_api_route(path, endpoint, **options)
        if path.endswith("/"):
            super().add_api_route(path[:-1], endpoint, **options | {"include_in_schema": False})


async def page(
    context: Context, table: Table, wanted: Mapping[str, Any], number: int, size: int | None
) -> dict[str, Any]:
    """Return a page of the rows that have these values."""
    length = size or load_part(ParserSettings).default_pagination_size
    rows, total = await context.pool.read(lambda cursor: table.page(cursor, wanted, number, length))
    return {"items": rows, "page": number, "size": length, "total": total, "pages": ceil(total / length)}


async def one(context: Context, table: Table, *key: Any) -> dict[str, Any]:
    """Return a row, or refuse the request with 404."""
    return found(await context.pool.read(lambda cursor: table.get(cursor, *key)))


async def add(context: Context, table: Table, given: BaseModel) -> dict[str, Any]:
    """Add a row."""
    return await write(context, lambda cursor: table.add(cursor, given.model_dump()))


async def change(context: Context, table: Table, given: BaseModel, *key: Any) -> dict[str, Any]:
    """Change what was given of a row."""
    values = given.model_dump(exclude_unset=True)
    return found(await write(context, lambda cursor: table.change(cursor, values, *key)))


async def remove(context: Context, table: Table, *key: Any) -> None:
    """Delete a row."""
    if not await write(context, lambda cursor: table.remove(cursor, *key)):
        found(None)


async def write(context: Context, work: Callable[[Cursor], T]) -> T:
    """Do work in a transaction; what the database does not let be so is 409, a value it does not take 422."""

    def writing(database: Database) -> T:
        try:
            with database.transaction(WRITE_SECONDS) as cursor:
                return work(cursor)
        except psycopg2.errors.UniqueViolation:
            raise Conflict("такая запись уже есть") from None

    try:
        return await context.pool.run(writing)
    except Conflict as error:
        raise Refused(409, str(error)) from None
    except BadValue as error:
        raise Refused(422, str(error)) from None


def found(row: T | None) -> T:
    """Return what was found, or refuse the request with 404."""
    if row is None:
        raise Refused(404, "такой записи нет")
    return row
