"""The words of `post.task_status`: the web UI compares with them, so they stand here a second time."""

from __future__ import annotations

import pytest

import statuses


def test_the_words_are_the_contracts_to_the_letter() -> None:
    words = {name: value for name, value in vars(statuses).items() if name.isupper()}
    assert words == {
        "WAITING": "в очереди",
        "PREPARED": "файл подготовлен",
        "FAILED": "ошибка",
        "DOWNLOADED": "файл загружен",
        "HIDDEN_BY_USER": "скрыта пользователем",
        "PURGED": "скрыта менеджером очереди",
        "LOADING_PREFIX": "загружено ",
    }


@pytest.mark.parametrize(
    ("rows", "total", "text"),
    [
        (0, 0, "загружено 0 из 0"),
        (50_000, 1_234_567, "загружено 50000 из 1234567"),
        (10**15, 10**15, f"загружено {10**15} из {10**15}"),
    ],
)
def test_progress_is_rows_of_rows_without_a_separator(rows: int, total: int, text: str) -> None:
    assert statuses.loading(rows, total) == text
    assert len(text) <= 140
