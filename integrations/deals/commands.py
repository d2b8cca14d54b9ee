"""`manage.py deals ...`: who may get deals, and who got which."""

from collections.abc import Callable
from typing import TypeVar

import typer

import db
import settings
from db import Cursor, Database
from integrations.deals import book

T = TypeVar("T")
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
def everybody() -> None:
    """Все менеджеры."""
    _show(_run(book.managers))


@app.command()
def available() -> None:
    """Менеджеры, которые не в отпуске."""
    _show([manager for manager in _run(book.managers) if not manager.is_excluded])


def _show(found: list[book.Manager]) -> None:
    for one in found:
        leave = "в отпуске" if one.is_excluded else "работает"
        typer.echo(f"{one.user_id}\t{one.user_name}\t{leave}\t{one.deals}")


@app.command()
def exclude(user_id: str) -> None:
    """Отправить в отпуск."""
    _leave(user_id, True)


@app.command()
def include(user_id: str) -> None:
    """Вернуть из отпуска."""
    _leave(user_id, False)


def _leave(user_id: str, excluded: bool) -> None:
    if not _run(lambda cursor: book.exclude(cursor, user_id, excluded)):
        typer.echo(f"нет менеджера {user_id}", err=True)
        raise typer.Exit(1)


@app.command()
def add(user_id: str, user_name: str) -> None:
    """Добавить менеджера."""
    _run(lambda cursor: book.add(cursor, user_id, user_name))


@app.command()
def assignments() -> None:
    """Кому, когда и почему досталась каждая сделка; в конце — сколько кому по жребию."""
    for deal, contact, user, when, why in _run(book.assignments):
        typer.echo(f"{deal}\t{contact}\t{user}\t{when.astimezone():%Y-%m-%d %H:%M:%S}\t{WHY[why]}")
    for one in _run(book.managers):
        typer.echo(f"{one.user_name}: {one.deals}")
