"""What Prometheus is told, the alerts that follow from it, and the picture of it: checked by Prometheus's own tool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx

from tests import ROOT
from tests.daemons import Daemon
from tests.database import Queries
from tests.waiting import wait_for
from tests.web.server import Web

DOCS = ROOT / "docs"
NAMES = {
    "tksva_q_jobs_total",
    "tksva_q_job_seconds",
    "tksva_q_jobs",
    "tksva_q_oldest_waiting_seconds",
    "tksva_q_rows_total",
    "tksva_q_bytes_total",
    "tksva_q_rescued_total",
    "tksva_q_requeued_total",
    "tksva_q_loop_seconds",
    "tksva_q_last_loop_timestamp_seconds",
}


def promtool(*words: str, text: str | None = None, folder: Path = DOCS) -> str:
    tool = shutil.which("promtool")
    assert tool, "apt-get install prometheus"
    done = subprocess.run([tool, *words], cwd=folder, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def value(text: str, line: str) -> float:
    found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
    assert found, text
    return float(found[1])


def test_promtool_has_nothing_to_say(client: httpx.Client, sql: Queries) -> None:
    sql(
        "INSERT INTO tksva_q.job (form, state, file_name, rows, bytes, attempt, started_at, finished_at)"
        " VALUES ('a \"quoted\\\"\nname {x=\"y\"}', 'done', 'a.csv', 10, 50, 1, now() - interval '90 s', now())"
    )
    text = client.get("/metrics").text
    assert promtool("check", "metrics", text=text) == ""
    assert value(text, r'tksva_q_jobs_total{form="a \"quoted\\\"\nname {x=\"y\"}",outcome="done"}') == 1
    assert set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) == NAMES


def test_the_figures_are_the_databases_own_and_survive_restarts(
    start_web: Callable[..., Web], start_daemon: Callable[..., Daemon], sql: Queries
) -> None:
    daemon, first = start_daemon(workers=2), start_web()
    for number in range(20):
        sql.post(
            f"{number}.{'csv' if number % 2 else 'xlsx'}", form="DownloadForStationForm" if number else "нет такой"
        )
    wait_for(lambda: sql.value("SELECT count(*) FROM tksva_q.job WHERE finished_at IS NOT NULL") == 20)
    daemon.stop()
    first.stop()
    with start_web().client() as client:
        text = client.get("/metrics").text
    assert value(text, 'tksva_q_jobs_total{form="DownloadForStationForm",outcome="done"}') == 19
    assert value(text, 'tksva_q_jobs_total{form="нет такой",outcome="failed"}') == 1
    assert value(text, 'tksva_q_rows_total{form="DownloadForStationForm"}') == 19 * 1000
    assert value(text, 'tksva_q_job_seconds_count{form="DownloadForStationForm"}') == 19
    for extension in ("csv", "xlsx"):
        assert value(text, f'tksva_q_bytes_total{{format="{extension}"}}') == sql.value(
            "SELECT sum(bytes) FROM tksva_q.job WHERE state = 'done' AND file_name LIKE %s", f"%.{extension}"
        )
    assert value(text, 'tksva_q_jobs{state="done"}') == 19


def test_the_alerts_are_right_and_speak_when_they_should() -> None:
    promtool("check", "rules", "alerts.yml")
    promtool("test", "rules", "alerts_test.yml")


def test_the_dashboard_asks_for_figures_that_there_are(tmp_path: Path) -> None:
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [{"record": f"panel:{n}", "expr": expr.replace("$__rate_interval", "5m")} for n, expr in enumerate(asked)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", "rules.yml", folder=tmp_path)
    used = {name for expr in asked for name in re.findall(r"tksva_q_\w+", expr)}
    assert {name.removesuffix("_bucket") for name in used} == NAMES
