"""Commands end as they should within their limit, and leave nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from errors import Interrupted, UserError
from integrations.timers import command
from integrations.timers.command import CommandFailed, MissingCommand
from integrations.timers.definitions import Timer
from tests import ROOT
from tests.timers.processes import left
from tests.waiting import wait_for


def timer(code: str, tmp_path: Path, limit: float = 30, **more: object) -> Timer:
    words = (sys.executable, "-c", code)
    return Timer(job="job", command=words, cron="* * * * *", time_limit=limit, folder=tmp_path, **more)


def never() -> bool:
    return False


def test_a_last_line_reports_the_rows(tmp_path: Path) -> None:
    done = command.run(timer("print('начало'); print('{\"rows_processed\": 123}')", tmp_path), never)
    assert (done.status, done.rows, done.error) == (0, 123, None)
    assert done.output.splitlines()[0] == "начало"


@pytest.mark.parametrize("line", ["готово", '{"rows_processed": "много"}', '{"rows_processed": true}', "{", "[1]", ""])
def test_without_a_result_line_it_is_a_success_of_unknown_rows(tmp_path: Path, line: str) -> None:
    done = command.run(timer(f"print({line!r})", tmp_path), never)
    assert (done.status, done.rows, done.error) == (0, None, None)


def test_a_bad_exit_status_is_an_error_with_the_last_lines(tmp_path: Path) -> None:
    done = command.run(timer("print('x' * 10); print('база не отвечает'); raise SystemExit(3)", tmp_path), never)
    assert isinstance(done.error, CommandFailed)
    assert str(done.error) == "код выхода 3: xxxxxxxxxx | база не отвечает"


def test_a_signal_is_an_error(tmp_path: Path) -> None:
    done = command.run(timer("import os; os.kill(os.getpid(), 9)", tmp_path), never)
    assert str(done.error) == "код выхода 137"


def test_a_missing_command_is_named_and_not_tried_again(tmp_path: Path) -> None:
    missing = Timer(job="job", command=("/нет/такой",), cron="* * * * *", time_limit=5, folder=tmp_path)
    done = command.run(missing, never)
    assert isinstance(done.error, MissingCommand)
    assert "/нет/такой" in str(done.error)


FORKS = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import os, time; os.setsid(); time.sleep(600)"])
if os.fork() == 0:
    time.sleep(600)
open("family", "w").write(str(os.getpid()))
{then}
"""


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    code = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FORKS.format(then="time.sleep(600)")
    for limit in (1.5, 6, 24):  # a busy machine may need more than the first until there are children
        began = time.monotonic()
        done = command.run(timer(code, tmp_path, limit), never)
        assert str(done.error) == f"предел времени: {limit:g} с"
        assert time.monotonic() - began < limit + 60
        assert left(tmp_path) == []
        if (tmp_path / "family").exists():
            return
    pytest.fail("no children within 24 s")


def test_children_that_outlive_a_command_are_ended(tmp_path: Path) -> None:
    done = command.run(timer(FORKS.format(then="print('{\"rows_processed\": 1}', flush=True)"), tmp_path), never)
    assert (done.rows, done.error) == (1, None)
    assert left(tmp_path) == []


def test_a_queue_that_stops_ends_the_command(tmp_path: Path) -> None:
    done = command.run(timer(FORKS.format(then="time.sleep(600)"), tmp_path), (tmp_path / "family").exists)
    assert isinstance(done.error, Interrupted)
    assert left(tmp_path) == []


RUNNER = """
import sys
from pathlib import Path
from integrations.timers import command
from integrations.timers.definitions import Timer
words = (sys.executable, "-c", sys.argv[2])
command.run(Timer(job="j", command=words, cron="* * * * *", time_limit=600, folder=Path(sys.argv[1])), lambda: False)
"""


def test_a_killed_child_of_the_queue_takes_the_command_with_it(tmp_path: Path) -> None:
    words = [sys.executable, "-c", RUNNER, str(tmp_path), FORKS.format(then="time.sleep(600)")]
    with subprocess.Popen(words, cwd=ROOT) as child:
        wait_for((tmp_path / "family").exists)
        assert left(tmp_path) != []
        child.send_signal(signal.SIGKILL)
    wait_for(lambda: left(tmp_path) == [], 60)


#: Runs a command that says 200 MB, in a process that does nothing else: its memory must not know how many.
FLOODED = """
import re, sys
from pathlib import Path
from integrations.timers import command
from integrations.timers.definitions import Timer

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

flood = "import os\\nfor _ in range(200): os.write(1, b'x' * 2**20)\\nprint('\\\\nend')"
words = (sys.executable, "-c", flood)
wanted = Timer(job="j", command=words, cron="* * * * *", time_limit=90, folder=Path(sys.argv[1]))
before = peak()
done = command.run(wanted, lambda: False)
print(peak() - before, done.error, len(done.output), done.output.splitlines()[-1])
"""


def test_a_flood_of_output_costs_no_memory(tmp_path: Path) -> None:
    words = [sys.executable, "-c", FLOODED, str(tmp_path)]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=110).stdout
    kibibytes, error, characters, last = said.split()
    assert (error, last) == ("None", "end")
    assert int(characters) <= command.CHARACTERS
    assert int(kibibytes) < 20 * 1024


def test_the_environment_is_the_files_and_its_values_are_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PSQL_PWD", "service-password")
    file = tmp_path / "loader.env"
    file.write_text("# комментарий\nexport API_KEY='very secret'\n\nEMPTY=\n", encoding="utf-8")
    file.chmod(0o600)
    code = "import os; print(os.environ['API_KEY'], os.environ['EMPTY'], 'PSQL_PWD' in os.environ)"
    done = command.run(timer(code, tmp_path, env_file=file), never)
    assert done.output == "***  False"


def test_a_missing_folder_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="нет рабочей папки"):
        command.run(timer("", tmp_path / "nowhere"), never)


def test_output_that_is_no_text_is_kept_as_it_can_be(tmp_path: Path) -> None:
    done = command.run(timer("import os; os.write(1, b'\\xff\\0 \\xd0\\xb4\\n')", tmp_path), never)
    assert (done.error, done.output) == (None, "\N{REPLACEMENT CHARACTER}\\x00 д")


def test_a_secret_on_the_edge_of_what_is_kept_is_not_told_by_half(tmp_path: Path) -> None:
    file = tmp_path / "loader.env"
    file.write_text("API_KEY=" + "s3cret-" * 20, encoding="utf-8")
    file.chmod(0o600)
    code = f"import os; os.write(1, os.environ['API_KEY'].encode() + b'x' * ({command.HELD} - 60))"
    done = command.run(timer(code, tmp_path, env_file=file), never)
    assert "s3cret" not in done.output
