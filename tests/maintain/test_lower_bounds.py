"""The lowest versions that a pyproject.toml allows, read from what it states."""

import tomllib

import pytest
from packaging.requirements import Requirement

from lower_bounds import ROOT, lowest_versions
from zoo import UserError


def test_every_dependency_is_pinned_to_its_bound() -> None:
    project = {
        "name": "mine",
        "dependencies": ["torch>=2.10", "lightning>=2.6,!=2.6.2", "parser[signatures]>=4.39,<5"],
        "optional-dependencies": {
            "dev": ["pytest~=8.1", "ruff==0.9"],
            "all": ["mine[dev]"],  # itself: nothing to install
            "elsewhere": ["winonly>=1; sys_platform == 'nowhere'", "torch>=2.10"],
        },
    }
    assert lowest_versions(project) == [
        "torch==2.10",
        "lightning==2.6",
        "parser==4.39",
        "pytest==8.1",
        "ruff==0.9",
    ]


@pytest.mark.parametrize("stated", ["torch", "torch<3", "torch>=2.10,!=2.10.0", "torch>2.10"])
def test_a_dependency_without_a_bound_is_named(stated: str) -> None:
    with pytest.raises(UserError, match="'torch"):
        lowest_versions({"name": "mine", "dependencies": [stated]})


def test_two_bounds_for_one_dependency_are_a_mistake() -> None:
    extras = {"fast": ["numpy>=2"]}
    with pytest.raises(UserError, match="two lower bounds for numpy"):
        lowest_versions(
            {"name": "mine", "dependencies": ["numpy>=1.26"], "optional-dependencies": extras}
        )


def test_our_own_file_has_a_bound_for_everything() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pinned = {Requirement(line).name for line in lowest_versions(project)}
    assert {"torch", "torchvision", "lightning", "pytest"} <= pinned
