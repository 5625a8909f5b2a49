"""Install the lowest versions that pyproject.toml allows, and test with them.

`python scripts/maintain/lower_bounds.py [TESTS ...]` makes an environment of several gigabytes,
takes minutes, and ends with the status of pip or of pytest. A bound that no release has is pip's
error: raise it to the first release that there is.
"""

import argparse
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from zoo.cli import run_main
from zoo.errors import UserError

ROOT = Path(__file__).parents[2]
# The parity tests compare with plain torch: they say more about torch than about our bounds.
QUICK = ("tests/datamodules", "tests/zoo")


def main(argv: list[str]) -> None:
    """Make the environment, show what is in it, and run the tests."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tests", nargs="*", default=QUICK, help=f"{' '.join(QUICK)} if not given")
    parser.add_argument("--venv", type=Path, help="keep the environment in this folder")
    chosen = parser.parse_args(argv)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lowest = lowest_versions(project)
    print("\n".join(lowest), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = chosen.venv or Path(folder) / "venv"
        venv.create(home, with_pip=True)
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(lowest) + "\n", "utf-8")
        python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        everything = f".[{','.join(project.get('optional-dependencies', {}))}]"
        _run(python, "-m", "pip", "install", "-q", "-c", str(constraints), "-e", everything)
        _run(python, "-m", "pytest", "-n", "auto", *chosen.tests)


def lowest_versions(project: dict[str, Any]) -> list[str]:
    """Return `name==version` for what a project and its extras need, as a list of constraints.

    Args:
        project: The table `project` of a pyproject.toml.

    Raises:
        UserError: If a dependency has no lower bound, or excludes it.
    """
    stated = list(project.get("dependencies", []))
    for extra in project.get("optional-dependencies", {}).values():
        stated += extra
    lowest: dict[str, str] = {}
    for requirement in map(Requirement, stated):
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not applies or requirement.name == project["name"]:  # an extra made of other extras
            continue
        bounds = [s.version for s in requirement.specifier if s.operator in (">=", "==", "~=")]
        if len(bounds) != 1 or not requirement.specifier.contains(bounds[0], prereleases=True):
            raise UserError(f"'{requirement}' in pyproject.toml has no lower bound of its own.")
        pinned = f"{requirement.name}=={bounds[0]}"
        if lowest.setdefault(requirement.name, pinned) != pinned:
            raise UserError(f"pyproject.toml has two lower bounds for {requirement.name}.")
    return list(lowest.values())


def _run(*command: str | Path) -> None:
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status:
        sys.exit(status)


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
