"""What the values of settings may look like: a parser each, whose complaint becomes the line that stops the start."""

import math
import os
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

#: Seconds in a unit of time, by what administrators write after the number, in English and in Russian.
_UNITS = {
    1: "s sec secs second seconds с сек секунд секунда секунды",
    60: "m min mins minute minutes м мин минут минута минуты",
    3600: "h hr hrs hour hours ч час часа часов",
    86400: "d day days д день дня дней сутки суток",
}
_SECONDS = {word: seconds for seconds, words in _UNITS.items() for word in words.split()}
_DURATION = re.compile(r"(\d+(?:[.,]\d+)?)\s*([^\W\d_]*)\.?\s*")
_SWITCH = {word: True for word in "1 true yes on да вкл".split()} | {
    word: False for word in "0 false no off нет выкл".split()
}
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
BROKERS = ("amqp", "amqps", "redis", "rediss", "nats")
MAX_PORT = 65535
#: Bytes that keys may begin with: a user's number and the longest name of a file follow, and 1024 are the limit.
LONGEST_PREFIX = 700
YEAR = 366 * 86400.0


def parse_duration(text: str, unit: float = 1) -> float:
    """Read `90`, `6 h`, `"72 hours"`, `1 d 12 h`, `1,5 часа`.

    Args:
        text: numbers, each with a unit or, when there is only one number, without.
        unit: seconds in the unit of a number that has none.

    Returns:
        Seconds.

    Raises:
        ValueError: the text is not a duration.
    """
    parts = []
    position = 0
    while part := _DURATION.match(text, position):
        parts.append((float(part[1].replace(",", ".")), part[2].lower()))
        position = part.end()
    if not parts or position < len(text):
        raise ValueError(f"{_shown(text)} — не длительность")
    if len(parts) == 1 and not parts[0][1]:
        return parts[0][0] * unit
    if any(word not in _SECONDS for _, word in parts):
        raise ValueError(f"{_shown(text)} — не длительность: единица времени должна быть s, min, h или d")
    return sum(number * _SECONDS[word] for number, word in parts)


def _shown(value: object) -> str:
    """Return a value for an error message: one line, of a sensible length."""
    text = repr(str(value))[1:-1]
    return f"«{text[:40]}…»" if len(text) > 40 else f"«{text}»"  # noqa: PLR2004 -- a line's worth


def stripped(value: Any) -> Any:
    """Return a text without the blanks around it."""
    return value.strip() if isinstance(value, str) else value


def whole(low: int, high: int) -> Callable[[Any], Any]:
    """Return a parser of whole numbers between `low` and `high`."""

    def parse(value: Any) -> Any:
        if value is None:
            return None
        if not re.fullmatch(r"[+-]?\d{1,18}", str(value).strip()):
            raise ValueError(f"{_shown(value)} — не целое число")
        number = int(str(value))
        if not low <= number <= high:
            raise ValueError(f"{number} — не от {low} до {high}")
        return number

    return parse


def duration(low: float, high: float, unit: float = 1) -> Callable[[Any], float]:
    """Return a parser of durations between `low` and `high` seconds whose result is counted in `unit` seconds."""

    def parse(value: Any) -> float:
        seconds = parse_duration(str(value).strip(), unit)
        if not math.isfinite(seconds) or not low <= seconds <= high:
            raise ValueError(f"{_shown(value)} — не от {low / unit:g} до {high / unit:g} {_UNIT_NAMES[unit]}")
        return seconds / unit

    return parse


_UNIT_NAMES: dict[float, str] = {1: "с", 3600: "ч"}


def switch(value: Any) -> Any:
    """Read `on` or `off`, in many spellings."""
    try:
        return _SWITCH[str(value).strip().lower()]
    except KeyError:
        raise ValueError(f"{_shown(value)} — не «on» и не «off»") from None


def host_name(value: str) -> str:
    """Refuse an URL where a host belongs."""
    value = value.strip()
    if "://" in value or "@" in value[1:] or any(c.isspace() for c in value):
        # Not shown: an URL pasted here has a password in it.
        raise ValueError("нужно имя узла, адрес или папка сокета, а не URL")
    return value


def delimiter(value: str) -> str:
    r"""Read the character between fields; `\t` is a tab."""
    value = "\t" if value == "\\t" else value
    if len(value) != 1 or not value.isascii() or value.isalnum() or value in "\"'\r\n\0":
        raise ValueError(f"{_shown(value)} — не один знак ASCII (не буква, не цифра, не кавычка, не конец строки)")
    return value


def level(value: str) -> str:
    """Read the name of a level of the log."""
    value = value.strip().upper()
    value = "WARNING" if value == "WARN" else value
    if value not in _LEVELS:
        raise ValueError(f"{_shown(value)} — не уровень журнала; бывают {', '.join(_LEVELS)}")
    return value


def url(*schemes: str) -> Callable[[Any], Any]:
    """Return a check of an URL's scheme; what follows may be a password and is never shown."""

    def check(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        value = value.strip()
        scheme = re.match(r"([a-zA-Z][\w.+-]*)://", value)
        if not scheme:
            raise ValueError("не URL: нет «схема://» в начале")
        if schemes and scheme[1] not in schemes:
            raise ValueError(f"схема {_shown(scheme[1])} неизвестна; бывают {', '.join(schemes)}")
        return value

    return check


def bucket(value: Any) -> Any:
    """Read an URL of a bucket in a store, `s3://bucket` or `s3://bucket/prefix`, without a slash at its end."""
    if not isinstance(value, str):
        return value
    value = url("s3")(value).rstrip("/")
    name, *folders = value.removeprefix("s3:").removeprefix("//").split("/")
    if "@" in name or ":" in name:  # not shown: it may be a password
        raise ValueError("ключи пишутся в AWS_ACCESS_KEY_ID и AWS_SECRET_ACCESS_KEY, узел — в AWS_ENDPOINT_URL")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", name):
        raise ValueError(f"{_shown(name)} — не имя бакета" if name else "нет имени бакета")
    prefix = "/".join(folders)
    if len(prefix.encode()) > LONGEST_PREFIX or not all(
        folder.strip(".") and not re.search(r"[\x00-\x1f\x7f\\?#]", folder) for folder in folders
    ):
        raise ValueError(f"{_shown(prefix)} — не начало ключей: имена через «/», вместе до {LONGEST_PREFIX} байт")
    missing = [module for module in ("fsspec", "s3fs") if find_spec(module) is None]
    if missing:
        raise ValueError(f"не установлен {missing[0]}: pip install -r requirements-s3.txt")
    return value


def module_names(value: Any) -> Any:
    """Read names of modules, separated by commas."""
    if not isinstance(value, str):
        return value
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    for name in names:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"{_shown(name)} — не название модуля: строчные латинские буквы, цифры и «_»")
    return names


def address(value: str) -> str:
    """Refuse what is no address of mail."""
    value = value.strip()
    if not re.fullmatch(r"[^\s@<>,;]+@[^\s@<>,;]+", value, re.ASCII):
        raise ValueError(f"{_shown(value)} — не почтовый адрес")
    return value


def group_name(value: Any) -> Any:
    """Refuse a group that this machine does not know: files would be left where the web server cannot read them."""
    value = stripped(value)
    if value and not value.isdigit():
        import grp  # noqa: PLC0415 -- most installations never need it

        try:
            grp.getgrnam(value)
        except KeyError:
            raise ValueError(f"группы {_shown(value)} на этой машине нет") from None
    return value or None


def folder(value: Any) -> Path:
    """Return an absolute path."""
    try:
        return Path(os.path.abspath(Path(stripped(value)).expanduser()))
    except RuntimeError:
        raise ValueError(f"{_shown(value)} — такого пользователя на этой машине нет") from None


Text = Annotated[str, BeforeValidator(stripped)]
Host = Annotated[str, BeforeValidator(host_name)]
Port = Annotated[int | None, BeforeValidator(whole(1, MAX_PORT))]
Switch = Annotated[bool, BeforeValidator(switch)]
Folder = Annotated[Path, BeforeValidator(folder)]
