"""The environment of a command: KEY=value lines of a file that only the service may read."""

import os
import re
import stat
from pathlib import Path

from errors import UserError

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)")
#: What a command gets of the service's own environment: no key of `.env`, which holds passwords.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME")


def environment(values: dict[str, str]) -> dict[str, str]:
    """Return the whole environment of a command."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | {"PYTHONUNBUFFERED": "1"} | values


def read(path: Path) -> dict[str, str]:
    """Return the variables of an environment file.

    Raises:
        UserError: it cannot be read, others may read it, or a line is no variable.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            found = os.fstat(file.fileno())
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise UserError(f"{path}: файл доступен не только службе; исправить: chmod 600 {path}")
            if found.st_uid not in {0, os.geteuid()}:
                raise UserError(f"{path}: файл принадлежит другому пользователю; исправить: chown")
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: не читается ({getattr(error, 'strerror', None) or 'не UTF-8'})") from None
    return dict(_variable(path, number, line.strip()) for number, line in enumerate(lines, 1) if _counts(line))


def _counts(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _variable(path: Path, number: int, line: str) -> tuple[str, str]:
    found = _LINE.fullmatch(line)
    if not found:
        raise UserError(f"{path}, строка {number}: не КЛЮЧ=значение")
    value = found[2]
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return found[1], value
