"""The fork server's first import, in processes of its own: in this one it would end the tests with their parent."""

from __future__ import annotations

import subprocess
import sys

from tests import ROOT
from tests.outliving import ends_with_its_parent


def test_whoever_imports_it_ends_with_its_parent_however_that_ends() -> None:
    assert ends_with_its_parent("import fork_server")


def test_it_loads_none_of_the_queues_other_modules() -> None:
    code = "import sys, fork_server; print(*sorted(m for m in sys.modules if hasattr(sys.modules[m], '__file__')))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ours = {path.stem for path in ROOT.glob("*.py")}
    assert ours & set(loaded.split()) == {"fork_server", "parent_death"}
