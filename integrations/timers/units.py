"""Units of systemd from the same definitions, for a machine whose clock is to be systemd's.

A unit runs `manage.py timers start T --wait`: the run is the queue's, with its journal, limits and retries. The same
timer must then be off in the queue (`manage.py timers disable T`), else it begins twice.
"""

import re
import sys
from pathlib import Path

from attempts import longest_pauses
from db import HERE
from errors import SettingsError
from integrations.timers.definitions import GRACE_SECONDS, Definitions, Timer

FOLDER = Path("etc/systemd/system")
#: What a field of cron may hold, in their order.
_RANGES = {
    "секунды": (0, 59),
    "минуты": (0, 59),
    "часы": (0, 23),
    "день": (1, 31),
    "месяц": (1, 12),
    "день недели": (0, 7),
}
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_PART = re.compile(r"(?:(\d+)(?:-(\d+))?|(\*))(?:/(\d+))?")


def write(wanted: Definitions, root: Path) -> list[Path]:
    """Write the units below `root`; return their paths. The same definitions give the same bytes.

    Raises:
        SettingsError: a cron line that systemd cannot say.
    """
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in files(wanted).items():
        (folder / name).write_text(text, encoding="utf-8")
        written.append(folder / name)
    return written


def files(wanted: Definitions) -> dict[str, str]:
    """Return the units by their names."""
    found = {}
    for name, timer in wanted.timers.items():
        found[f"tksva_q_{name}.timer"] = _timer(wanted, name, timer)
        found[f"tksva_q_{name}.service"] = _service(wanted, name, timer)
    return found


def _timer(wanted: Definitions, name: str, timer: Timer) -> str:
    lines = [
        "# Written by `manage.py timers install --systemd` from schedules.toml",
        "[Unit]",
        f"Description=tksva_q: timer {name}",
        "",
        "[Timer]",
        *(f"OnCalendar={calendar} {wanted.zone}" for calendar in calendars(timer.cron)),
        f"RandomizedDelaySec={timer.jitter:g}",
        "AccuracySec=1s",
        f"Persistent={'false' if wanted.missed == 'skip' else 'true'}",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return "\n".join(lines) + "\n"


def _service(wanted: Definitions, name: str, timer: Timer) -> str:
    # All attempts with their pauses, each waiting a little for a worker; the queue itself keeps the limit of each.
    attempts = wanted.retries + 1
    limit = (timer.time_limit + 2 * GRACE_SECONDS) * attempts + longest_pauses(attempts, wanted.retry_seconds)
    folder, python = str(HERE).replace("%", "%%"), sys.executable.replace("%", "%%")
    lines = [
        "# Written by `manage.py timers install --systemd` from schedules.toml",
        "[Unit]",
        f"Description=tksva_q: {timer.job}",
        "After=tksva_q.service",
        "",
        "[Service]",
        "Type=oneshot",
        f"WorkingDirectory={folder}",
        f'ExecStart="{python}" manage.py timers start {name} --wait',
        f"TimeoutStartSec={limit:.0f}",
    ]
    return "\n".join(lines) + "\n"


def calendars(cron: str) -> list[str]:
    """Return a cron line as calendar events, see systemd.time(7): two, where a day of the month or of the week counts.

    Both have to hold, and it is one event, where one of the two begins with `*`: so it is in Debian's cron, crontab(5).

    Raises:
        SettingsError: it has more than numbers, ranges, steps and lists.
    """
    fields = cron.split()
    fields = fields if len(fields) == len(_RANGES) else ["0", *fields]
    if len(fields) != len(_RANGES):
        raise SettingsError(f"cron {cron}: не пять и не шесть полей")
    second, minute, hour, day, month, weekday = (
        _values(cron, text, *bounds) for text, bounds in zip(fields, _RANGES.values(), strict=True)
    )
    clock = f"{_list(hour)}:{_list(minute)}:{_list(second)}"
    any_day = f"*-{_list(month)}-* {clock}"
    of_month = f"*-{_list(month)}-{_list(day)} {clock}"
    if weekday is None:
        return [of_month]
    names = ",".join(dict.fromkeys(_DAYS[number] for number in weekday))
    if fields[3].startswith("*") or fields[5].startswith("*"):
        return [f"{names} {of_month}"]
    return [of_month, f"{names} {any_day}"]


def _values(cron: str, text: str, low: int, high: int) -> list[int] | None:
    """Return the numbers of a field, None for all of them."""
    if text == "*":
        return None
    numbers: set[int] = set()
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if not found:
            raise SettingsError(f"cron {cron}: «{part}» — не число, не промежуток и не шаг")
        first = low if found[3] else int(found[1])
        last = int(found[2]) if found[2] else high if found[3] or found[4] else first
        step = int(found[4] or 1)
        if not step:
            raise SettingsError(f"cron {cron}: «{part}» — шаг не может быть нулевым")
        numbers |= set(range(first, last + 1, step))
    if not numbers or not low <= min(numbers) <= max(numbers) <= high:
        raise SettingsError(f"cron {cron}: «{text}» — не от {low} до {high}")
    return sorted(numbers)


def _list(numbers: list[int] | None) -> str:
    return "*" if numbers is None else ",".join(f"{number:02d}" for number in numbers)
