"""The units, and what systemd says of them without running them."""

from __future__ import annotations

import shutil
import subprocess

import install

#: What `systemd-analyze security` may say at most, from 0 (locked away) to 10.
EXPOSURE = 2.0
UNITS = ("tksva_q.service", "tksva_q_web.service", install.WORKER)


def systemd_analyze(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is needed: apt-get install systemd"
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)
