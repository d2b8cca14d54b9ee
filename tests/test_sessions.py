"""What a session of tests leaves behind, and what another one does to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import ROOT


def run(folder: Path, body: str) -> tuple[int, Path]:
    """Run one test in a session of its own, all of whose folders lie in `folder`; return how it ended, and its own."""
    (folder / "test_one.py").write_text(f"def test_one(tmp_path):\n    print('folder', tmp_path)\n    {body}\n")
    command = [sys.executable, "-m", "pytest", "-qs", "-p", "tests.conftest", "-p", "no:cacheprovider", "test_one.py"]
    known = {"PYTHONPATH": str(ROOT), "PYTEST_DEBUG_TEMPROOT": str(folder)}
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=folder, env=inherited | known, capture_output=True, text=True, check=False)
    [said] = [line.split()[-1] for line in done.stdout.splitlines() if "folder /" in line]
    return done.returncode, Path(said)


def test_a_session_has_a_folder_of_its_own_that_goes_at_its_end_unless_a_test_failed(tmp_path: Path) -> None:
    ended, first = run(tmp_path, "assert not tmp_path")
    assert (ended, first.exists()) == (1, True)
    ways = [way for way in first.parents if way.is_relative_to(tmp_path) and way != tmp_path]
    for way in ways:
        way.chmod(0o711)  # as root does for an embedded server, which runs as somebody else
    ended, second = run(tmp_path, "pass")
    assert (ended, second.exists()) == (0, False)
    assert [tmp_path / path.name for path in tmp_path.glob("tksva_q-tests-*")] == ways[-1:]
    assert {way.stat().st_mode & 0o777 for way in ways} == {0o711}
