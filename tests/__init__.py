"""The tests, and what they share."""

from pathlib import Path

#: The project's folder.
ROOT = Path(__file__).resolve().parent.parent
