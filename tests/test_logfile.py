"""The log file that processes share: whole lines, put aside when full, followed when others put it aside."""

from __future__ import annotations

import logging
import select
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from logfile import KEPT, SharedFile
from tests import ROOT

WRITER = """
import logging, sys
from pathlib import Path
import logfile
logfile.KEPT = 100
file = logfile.SharedFile(Path(sys.argv[1]), limit=4000)
for number in range(300):
    file.emit(logging.makeLogRecord({"msg": f"{sys.argv[2]}-{number:04} {'x' * 40}"}))
"""


def test_processes_that_share_a_file_rotate_it_without_losing_a_line(tmp_path: Path) -> None:
    path = tmp_path / "queue.log"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], cwd=ROOT) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    files = sorted(tmp_path.iterdir())
    lines = [line.split()[0] for file in files for line in file.read_text().splitlines()]
    assert sorted(lines) == sorted(f"{name}-{number:04}" for name in "abc" for number in range(300))
    assert len(files) > 10
    assert all(file.stat().st_size <= 4000 + 3 * 50 for file in files)


def test_only_so_many_old_files_are_kept(tmp_path: Path) -> None:
    file = SharedFile(tmp_path / "queue.log", limit=100)
    for number in range(100):
        file.emit(logging.makeLogRecord({"msg": f"line {number} of the log"}))
    file.close()
    assert len(list(tmp_path.iterdir())) == KEPT + 1
    assert "line 99 " in (tmp_path / "queue.log").read_text()


def line(text: str) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": text})


def test_a_line_is_appended_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "queue.log"
    path.write_text("до того\n", encoding="utf-8")
    file = SharedFile(path)
    file.emit(line("после; 100 %"))
    file.close()
    assert path.read_text(encoding="utf-8") == "до того\nпосле; 100 %\n"


def test_half_a_character_costs_no_line(tmp_path: Path) -> None:
    file = SharedFile(tmp_path / "queue.log")
    file.emit(line("имя \udcff"))
    file.close()
    assert (tmp_path / "queue.log").read_bytes().decode() == "имя \\udcff\n"


def test_others_may_not_read_it(tmp_path: Path) -> None:
    SharedFile(tmp_path / "queue.log").close()
    assert (tmp_path / "queue.log").stat().st_mode & 0o137 == 0


def test_a_file_that_fits_to_the_byte_is_not_put_aside(tmp_path: Path) -> None:
    file = SharedFile(tmp_path / "queue.log", limit=10)
    for text in ("1234", "5678", "9"):
        file.emit(line(text))
    file.close()
    assert (tmp_path / "queue.log.1").read_text() == "1234\n5678\n"
    assert (tmp_path / "queue.log").read_text() == "9\n"


def test_a_file_that_others_moved_or_deleted_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "queue.log"
    file = SharedFile(path)
    file.emit(line("one"))
    path.rename(tmp_path / "moved.log")
    file.emit(line("two"))
    path.unlink()
    file.emit(line("three"))
    file.close()
    assert (tmp_path / "moved.log").read_text() == "one\n"
    assert path.read_text() == "three\n"


def test_a_full_disk_drops_the_line_and_raises_nothing() -> None:
    file = SharedFile(Path("/dev/full"))
    file.emit(line("lost"))
    file.close()


def test_a_folder_that_is_not_there_is_told_when_the_handler_is_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SharedFile(tmp_path / "absent" / "queue.log")


STUCK = """
import logging, sys
from pathlib import Path
import logfile
file = logfile.SharedFile(Path(sys.argv[1]), limit=10)
for text in sys.stdin:
    file.emit(logging.makeLogRecord({"msg": text.strip()}))
    print("written", flush=True)
"""


def test_a_file_that_cannot_be_put_aside_holds_up_nobody(tmp_path: Path) -> None:
    path, obstacle = tmp_path / "queue.log", tmp_path / f"queue.log.{KEPT}"
    (tmp_path / f"queue.log.{KEPT - 1}").write_text("older")
    obstacle.mkdir()
    with ExitStack() as after:

        def writer() -> subprocess.Popen[str]:
            program = [sys.executable, "-c", STUCK, str(path)]
            process = after.enter_context(
                subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            after.callback(process.kill)
            return process

        def written(process: subprocess.Popen[str], text: str) -> bool:
            """Whether the line was dealt with, within a minute."""
            assert process.stdin and process.stdout
            process.stdin.write(text + "\n")
            process.stdin.flush()
            return bool(select.select([process.stdout], [], [], 60)[0]) and process.stdout.readline() == "written\n"

        first, second = writer(), writer()
        assert written(first, "a line too long")
        assert written(second, "another long line")
        obstacle.rmdir()
        assert written(first, "one more long line")
        assert written(second, "the last long line")
    assert path.read_text() == "the last long line\n"
    assert (tmp_path / "queue.log.1").read_text() == "one more long line\n"
