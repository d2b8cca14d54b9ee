"""The timers of `schedules.toml`: what each runs, when, and within which limits."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from errors import SettingsError
from integrations.timers.options import TimerSettings
from schedules import Schedule, fault_of_time
from settings import load_part

#: Seconds that the queue leaves the run beyond its limit, to end the command and to write the journal.
GRACE_SECONDS = 30.0
#: The schedule that looks after the others every minute.
WATCH = "timers_watch"

Seconds = Annotated[float, Field(ge=0, le=7 * 86400)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Timer(_Model):
    """A command that begins by the clock."""

    job: Name  # what the journal calls it
    command: tuple[str, ...] = Field(min_length=1)  # an argument list; no shell reads it
    cron: str
    jitter: Seconds = 0
    time_limit: Seconds = Field(gt=0)
    enabled: bool = True
    env_file: Path | None = None
    folder: Path = Path()
    reserve_of: Name | None = None  # the timer that this one steps in for

    @field_validator("cron")
    @classmethod
    def _due(cls, cron: str) -> str:
        if fault := fault_of_time(Schedule("", cron, "timer")):
            raise ValueError(fault)
        return cron


class Source(_Model):
    """A table of PostgreSQL whose newest date is watched."""

    name: str
    table: str = Field(pattern=r"^[\w.]+$")
    date_column: str = Field(pattern=r"^\w+$")


class Definitions(_Model):
    """Everything in `schedules.toml`."""

    zone: str = "Europe/Moscow"
    missed: Literal["skip", "once", "all"] = "once"
    overlap: Literal["skip", "queue", "replace"] = "skip"
    retries: int = Field(default=3, ge=0, le=100)
    retry_seconds: Seconds = 30
    timers: dict[Name, Timer]
    sources: tuple[Source, ...] = ()

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        from zoneinfo import ZoneInfo  # noqa: PLC0415 -- only here

        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError("нет такого часового пояса") from None
        return zone

    @model_validator(mode="after")
    def _reserves(self) -> "Definitions":
        for name, timer in self.timers.items():
            if timer.reserve_of is not None and timer.reserve_of not in self.timers:
                raise ValueError(f"timers.{name}.reserve_of: нет таймера {timer.reserve_of}")
            if name == WATCH:
                raise ValueError(f"timers.{name}: это имя занято самой очередью")
        return self

    def schedule(self, name: str) -> Schedule:
        """Return the schedule of a timer."""
        timer = self.timers[name]
        return Schedule(
            name=name,
            cron=timer.cron,
            processing="timer",
            params={"timer": name},
            zone=self.zone,
            jitter=timer.jitter,
            missed=self.missed,
            overlap=self.overlap,
            time_limit=timer.time_limit + GRACE_SECONDS,
            max_attempts=self.retries + 1,
            pause_seconds=self.retry_seconds,
            enabled=timer.enabled,
        )


def options() -> TimerSettings:
    """Return the settings of the timers."""
    return load_part(TimerSettings)


def load(path: Path | None = None) -> Definitions:
    """Read `schedules.toml`, paths made absolute.

    Raises:
        SettingsError: one line with the file, the key and what is wrong with it.
    """
    path = path or options().schedules_file
    try:
        found = Definitions.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"{path}: не читается ({error.strerror}); пример: schedules.toml") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: не TOML: {error}") from None
    except ValidationError as error:
        raise SettingsError(f"{path}: {_problem(error)}") from None
    return found.model_copy(update={"timers": {name: _absolute(one, path) for name, one in found.timers.items()}})


_WORDS = {
    "missing": "не задан",
    "extra_forbidden": "такого ключа нет",
    "string_pattern_mismatch": "недопустимые знаки",
    "too_short": "пусто",
}


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    reason = _WORDS.get(first["type"]) or str(first.get("ctx", {}).get("error", f"не подходит ({first['msg']})"))
    return f"{place}: {reason}" if place else reason


def _absolute(timer: Timer, path: Path) -> Timer:
    here = path.parent
    command = timer.command
    if "/" in command[0]:
        command = (str(here / command[0]), *command[1:])
    return timer.model_copy(
        update={
            "command": command,
            "folder": here / timer.folder,
            "env_file": here / timer.env_file if timer.env_file else None,
        }
    )


def all_schedules() -> tuple[Schedule, ...]:
    """Return the schedules of the timers, and of what looks after them."""
    definitions = load()
    watch = Schedule(name=WATCH, cron="* * * * *", processing=WATCH, missed="skip", time_limit=300.0, max_attempts=1)
    return (*(definitions.schedule(name) for name in definitions.timers), watch)
