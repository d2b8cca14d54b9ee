"""Checks the floors of `pyproject.toml`: an import only ever points down.

    python .ci/lint_imports.py

import-linter reads packages only, and the project's rooms are single files (https://github.com/python-grimp/grimp/issues/300).
So it is shown a folder in which each of them is a package of one file. A room that has no floor is an error.
"""

import os
import re
import sys
import tempfile
import tomllib
from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "pyproject.toml"
PACKAGES = ("web", "integrations")


def rooms() -> set[str]:
    """Return the names of the project's modules and packages."""
    return {path.stem for path in ROOT.glob("*.py")} | set(PACKAGES)


def homeless() -> str:
    """Say which rooms stand on no floor, or on one and not in the project; empty where all is well."""
    linter = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["tool"]["importlinter"]
    floors = next(contract["layers"] for contract in linter["contracts"] if contract["type"] == "layers")
    standing = {name for floor in floors for name in re.split(r"\s*[|:]\s*", floor)}
    wrong = (standing ^ rooms()) | (set(linter["root_packages"]) ^ rooms())
    return ", ".join(sorted(wrong))


def stage(folder: Path) -> None:
    """Make a package of every room in `folder`."""
    for module in ROOT.glob("*.py"):
        (folder / module.stem).mkdir()
        (folder / module.stem / "__init__.py").symlink_to(module)
    for package in PACKAGES:
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()  # integrations has none: it is a namespace
        for path in (ROOT / package).glob("*"):
            if path.suffix == ".py" or path.is_dir():
                (folder / package / path.name).unlink(missing_ok=True)
                (folder / package / path.name).symlink_to(path)


def main() -> int:
    """Return the exit status: 0 where every contract holds."""
    if wrong := homeless():
        print(f"pyproject.toml, [tool.importlinter]: root_packages, layers and the files differ in: {wrong}")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder))
        os.chdir(folder)  # import-linter looks for packages here before anywhere else
        return lint_imports(config_filename=str(CONFIG), cache_dir=None, no_cache=True, no_logo=True)


if __name__ == "__main__":
    sys.path[0] = ""  # not this script's folder
    sys.exit(main())
