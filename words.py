"""Numbers, times and names as a Russian reader writes them: on the page and on the command line."""

import datetime

#: Between the thousands of a number: narrow, and never at a line's end.
THIN = "\u202f"
#: Between a number and its unit: no line ends there.
NARROWLY = "\u00a0"
#: The states of a job.
STATE_NAMES = {
    "waiting": "в очереди",
    "running": "выполняется",
    "done": "готово",
    "failed": "ошибка",
    "cancelled": "отменено",
}
#: How an attempt ends; one without an outcome goes on.
OUTCOMES = {
    "done": "готово",
    "failed": "ошибка",
    "retry": "будет повтор",
    "given back": "возвращено в очередь",
    "cancelled": "отменено",
}
GOES_ON = "идёт"

_SIZES = ("байт", "КБ", "МБ", "ГБ", "ТБ")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def thousands(number: float | None) -> str:
    """Return `1 234 567`."""
    return "—" if number is None else f"{number:,.0f}".replace(",", THIN)


def size(number: int | None) -> str:
    """Return bytes as `12,3 МБ`."""
    if number is None:
        return "—"
    value, unit = float(number), 0
    while round(value, 1) >= 1000 and unit < len(_SIZES) - 1:  # noqa: PLR2004 -- decimal units
        value, unit = value / 1000, unit + 1
    text = f"{value:.1f} {_SIZES[unit]}".replace(".", ",") if unit else f"{number} байт"
    return text.replace(" ", NARROWLY)


def duration(seconds: float | None) -> str:
    """Return seconds as `2 ч 05 мин`, `3 мин 20 с`, `4,2 с`."""
    return "" if seconds is None else _duration(max(0.0, seconds)).replace(" ", NARROWLY)


def _duration(seconds: float) -> str:
    if round(seconds, 1) < 10:  # noqa: PLR2004 -- tenths matter only there
        return f"{seconds:.1f} с".replace(".", ",")
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} с"
    if whole < _HOUR:
        return f"{whole // _MINUTE} мин {whole % _MINUTE:02d} с"
    if whole < _DAY:
        return f"{whole // _HOUR} ч {whole % _HOUR // _MINUTE:02d} мин"
    return f"{whole // _DAY} д {whole % _DAY // _HOUR} ч"


def speed(rows: float | None) -> str:
    """Return rows a second as `12 300 строк/с`."""
    return "" if rows is None else f"{thousands(rows)}{NARROWLY}строк/с"


def moment(when: datetime.datetime | None) -> str:
    """Return a time of this machine's zone, without the date where it is today's."""
    if when is None:
        return "—"
    local = when.astimezone() if when.tzinfo else when
    today = datetime.datetime.now().astimezone().date()
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%d.%m.%Y %H:%M}"


def count(number: int, one: str, few: str, many: str) -> str:
    """Return `1 строка`, `2 строки`, `5 строк`."""
    tail = number % 100
    if tail % 10 == 1 and tail != 11:  # noqa: PLR2004 -- Russian grammar
        word = one
    elif tail % 10 in {2, 3, 4} and tail not in {12, 13, 14}:
        word = few
    else:
        word = many
    return f"{thousands(number)} {word}"
