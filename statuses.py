"""The words of `post.task_status`, to the letter of what the web UI compares with."""

from typing import Final

WAITING: Final = "в очереди"
PREPARED: Final = "файл подготовлен"
FAILED: Final = "ошибка"
DOWNLOADED: Final = "файл загружен"
HIDDEN_BY_USER: Final = "скрыта пользователем"
PURGED: Final = "скрыта менеджером очереди"

#: What every progress text begins with.
LOADING_PREFIX: Final = "загружено "


def loading(rows: int, total: int) -> str:
    """Return the status of a job that is being prepared: `rows` of `total` are in the file."""
    return f"{LOADING_PREFIX}{rows} из {total}"
