"""What a table's profile says before training, where a silent guess could spoil the result."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules import Tabular

ROWS = 400


@pytest.fixture
def profile(tmp_path: Path) -> Callable[..., str]:
    """Write columns beside an honest one; return what the profile says of them."""

    def profile_of(**columns: object) -> str:
        rng = np.random.default_rng(0)
        frame = pd.DataFrame({"honest": rng.normal(size=ROWS), **columns})
        frame.to_csv(tmp_path / "table.csv", index=False)
        return Tabular(path=str(tmp_path / "table.csv"), target="y", cache="no").profile

    return profile_of


def classes(share: float = 0.4) -> np.ndarray:
    return (np.random.default_rng(1).random(ROWS) < share).astype(int)


@pytest.mark.parametrize("kind", ["words", "number", "nearly", "missing"])
def test_a_column_that_gives_a_class_away_is_named(profile: Callable, kind: str) -> None:
    y, noise = classes(), np.random.default_rng(2).normal(size=ROWS)
    planted = {
        "words": np.where(y, "yes", "no"),
        "number": 10.0 * y + noise.clip(-2, 2),
        "nearly": np.where(np.arange(ROWS) < 2, 1 - y, y),  # all but two rows
        "missing": np.where(y, np.nan, noise),  # filled in only of the others, as a date of death
    }
    assert "Gives the answer away: 'planted' alone tells" in profile(y=y, planted=planted[kind])


@pytest.mark.parametrize("copy", [lambda y: 100 * y + 3, lambda y: np.exp(y), lambda y: y.round(3)])
def test_a_column_that_gives_a_quantity_away_is_named(profile: Callable, copy: Callable) -> None:
    y = np.random.default_rng(1).normal(size=ROWS)
    assert "Gives the answer away: 'planted' alone tells" in profile(y=y, planted=copy(y))


def test_honest_columns_raise_no_alarm(profile: Callable) -> None:
    y, rng = classes(), np.random.default_rng(2)
    strong = np.where(rng.random(ROWS) < 0.95, y, 1 - y)
    said = profile(y=y, strong=strong, key=np.arange(ROWS), city=rng.integers(90, size=ROWS))
    assert "Gives the answer away" not in said
    # Of rare classes a guess is nearly always right: that is no merit of a column.
    assert "Gives the answer away" not in profile(y=classes(0.005), other=rng.normal(size=ROWS))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("table", "target"),
    [
        ("iris.csv", "-1"),
        ("water_potability.csv", "Potability"),
        ("banknote_authentication.csv", "-1"),
        ("magic.csv", "-1"),
        ("tips.csv", "tip"),
        ("wheat-seeds.csv", "-1"),
        ("ionosphere.csv", "-1"),
    ],
)
def test_published_tables_raise_no_alarm(table: str, target: str) -> None:
    assert "Gives the answer away" not in Tabular(path=table, target=target, cache="no").profile


def test_the_positive_class_is_named(profile: Callable) -> None:
    assert "positive, for F1 and average precision, is 'yes'" in profile(
        y=np.where(classes(), "yes", "no")
    )


def test_whole_numbers_read_as_classes_are_told(profile: Callable) -> None:
    y = np.random.default_rng(1).integers(7, size=ROWS)
    assert "say --data.task regression" in profile(y=y)
    assert "say --data.task regression" not in profile(y=[f"grade {v}" for v in y])


def test_classes_that_differ_in_punctuation_alone_are_told(profile: Callable) -> None:
    y = np.array(["<=50K", "<=50K.", ">50K", ">50K."])[np.arange(ROWS) % 4]
    assert "classes '<=50K' and '<=50K.' of 'y' differ in case or punctuation alone" in profile(y=y)
