"""`manage.py deals ...`: who may get deals, and who got which."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

import db
import listing
import settings
from db import Cursor, Database
from errors import QueueError
from integrations.deals import book

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="Вывести JSON.")]
UserId = Annotated[str, typer.Argument(help="Код сотрудника в Битрикс24: ASSIGNED_BY_ID.")]
app = typer.Typer(no_args_is_help=True, help="Сделки и менеджеры.")
WHY = {"contact": "ответственный контакта", "draw": "жребий"}


def _run(work: Callable[[Cursor], T]) -> T:
    database = Database(db.dsn(settings.load()), "tksva_q manage")
    try:
        with database.transaction() as cursor:
            return work(cursor)
    finally:
        database.close()


@app.command("list")
def everybody(as_json: AsJson = False) -> None:
    """Все менеджеры: код, имя, в отпуске ли, сколько сделок по жребию."""
    _show(_run(book.managers), as_json=as_json)


@app.command()
def available(as_json: AsJson = False) -> None:
    """Менеджеры, которые не в отпуске."""
    _show([manager for manager in _run(book.managers) if not manager.is_excluded], as_json=as_json)


def _show(found: list[book.Manager], *, as_json: bool) -> None:
    if as_json:
        listing.print_json(found)
        return
    for one in found:
        leave = "в отпуске" if one.is_excluded else "работает"
        typer.echo(f"{one.user_id}\t{one.user_name}\t{leave}\t{one.deals}")


@app.command()
def exclude(user_id: UserId) -> None:
    """Отправить в отпуск."""
    _leave(user_id, True)


@app.command()
def include(user_id: UserId) -> None:
    """Вернуть из отпуска."""
    _leave(user_id, False)


def _leave(user_id: str, excluded: bool) -> None:
    if not _run(lambda cursor: book.exclude(cursor, user_id, excluded)):
        raise QueueError(f"нет менеджера {user_id}; все: manage.py deals list")


@app.command()
def add(user_id: UserId, user_name: Annotated[str, typer.Argument(help="Имя.")]) -> None:
    """Добавить менеджера или изменить имя."""
    _run(lambda cursor: book.add(cursor, user_id, user_name))


@app.command()
def assignments(
    limit: Annotated[int, typer.Option(min=1, help="Сколько последних.")] = 100, as_json: AsJson = False
) -> None:
    """Кому, когда и почему досталась каждая сделка; в конце — сколько кому по жребию."""
    found = _run(lambda cursor: book.assignments(cursor, limit))
    managers = _run(book.managers)
    if as_json:
        listing.print_json({"assignments": found, "drawn": {one.user_id: one.deals for one in managers}})
        return
    for one in found:
        when = f"{one.done_at.astimezone():%Y-%m-%d %H:%M:%S}"
        typer.echo(f"{one.deal_id}\t{one.cont_id}\t{one.user_id}\t{one.user_name}\t{when}\t{WHY[one.why]}")
    typer.echo("По жребию:")
    for manager in managers:
        typer.echo(f"{manager.user_id}\t{manager.user_name}\t{manager.deals}")
