"""A little of `scripts/maintain/fuzz.py`: hypothesis draws what changes, and shrinks what fails."""

import contextlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo import UserError

SCRIPTS = Path(__file__).parents[2] / "scripts" / "maintain"
COUNTS = {
    "command lines": 5,
    "recipes and configs": 5,
    "weights": 40,
    "cards": 40,
    "checkpoints": 10,
    "IDX": 60,
    "CSV headers": 20,
    "trainings": 3,
}


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.chdir(tmp_path)
    yield
    for name in ("targets", "mutations"):
        sys.modules.pop(name, None)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", COUNTS)
def test_changed_input_works_or_is_one_clear_error(
    scripts: None, tmp_path: Path, kind: str
) -> None:
    from targets import targets

    target = targets(tmp_path)[kind]()

    @settings(
        max_examples=COUNTS[kind],
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def check(rng: random.Random) -> None:
        with contextlib.suppress(UserError):
            target(rng)

    check()
