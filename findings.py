"""What the doctor finds: a line about each thing, `ok` or what to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str  # what was looked at, in Russian
    ok: bool
    text: str  # what there is; where it is not ok: what is wrong, and the remedy
