"""What a table's profile says before training, where a silent guess could spoil the result."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules import Tabular, UserError

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


def test_a_category_that_only_one_class_has_is_named(profile: Callable) -> None:
    y = classes()
    cause = np.array(["accident", *"bcde"])[np.arange(ROWS) % 4 + 1]
    cause[y.argmax()] = "accident"  # in one row: a half of the rows knows nothing of it
    planted = pd.Series(cause).where(y == 1)
    assert "Gives the answer away: 'planted' alone tells 100.0%" in profile(y=y, planted=planted)


def test_a_grade_that_gives_a_rate_away_is_named_whatever_its_rarest_values(
    profile: Callable,
) -> None:
    grade = np.random.default_rng(1).integers(20, size=ROWS)
    grade[:3] = [60, 70, 80]  # in one row each
    rate = grade + 0.05 * np.random.default_rng(2).normal(size=ROWS)
    planted = [f"grade {g}" for g in grade]
    assert "Gives the answer away: 'planted' alone tells 100.0%" in profile(y=rate, planted=planted)
    # Of values that hardly ever come back those that do tell nothing.
    pairs = [f"pair {i // 2 if i < 40 else i}" for i in range(ROWS)]
    assert "Gives the answer away" not in profile(y=np.arange(ROWS) // 2 * 1.5, planted=pairs)


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


def test_classes_that_differ_in_typing_alone_are_one(tmp_path: Path) -> None:
    y = np.array(["<=50K", "<=50K.", ">50K", ">50K.", ">50K", ">50k"])[np.arange(ROWS) % 6]
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=ROWS), "y": y})
    frame.to_csv(tmp_path / "joined.csv", index=False)
    data = Tabular(path=str(tmp_path / "joined.csv"), target="y")
    assert (data.task, data.class_names) == ("binary", ["<=50K", ">50K"])
    assert "'<=50K.' as '<=50K', '>50K.' as '>50K', '>50k' as '>50K' is read" in data.profile
    apart = Tabular(path=str(tmp_path / "joined.csv"), target="y", categorical="y")
    assert len(apart.class_names) == 5
    # A second table is read by the classes of the network.
    spec = data.spec
    frame.assign(y=np.where(np.arange(ROWS) % 2, ">50K.", "<=50K.")).to_csv(tmp_path / "b.csv")
    other = Tabular(path=str(tmp_path / "b.csv"), target="y")
    other._expected = spec
    with pytest.warns(UserWarning, match="class '<=50K.' as '<=50K' is read"):
        assert other.class_names == ["<=50K", ">50K"]


def test_letters_are_classes_of_their_own(profile: Callable) -> None:
    y = np.array(list("aAbB"))[np.arange(ROWS) % 4]
    assert "multiclass (a 25" in profile(y=y) or "multiclass (A 25" in profile(y=y)


def test_the_class_that_is_looked_for_can_be_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=ROWS), "y": np.where(classes(0.1), "fraud", "ok")})
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = Tabular(path=str(tmp_path / "t.csv"), target="y")
    assert "is 'ok'; if 'fraud' is what is looked for: --data.positive 'fraud'" in data.profile
    data = Tabular(path=str(tmp_path / "t.csv"), target="y", positive="fraud")
    assert data.class_names == ["ok", "fraud"]
    assert data.splits["train"][1].mean() < 0.2
    with pytest.raises(UserError, match="whose classes are fraud, ok"):
        _ = Tabular(path=str(tmp_path / "t.csv"), target="y", positive="theft").splits


# Whole numbers that are codes


def test_codes_are_told_by_their_name(profile: Callable) -> None:
    rng = np.random.default_rng(3)
    columns = {"zip": rng.integers(10_001, 10_060, ROWS), "HospitalNo": rng.integers(30, size=ROWS)}
    said = profile(y=classes(), **columns, age=rng.integers(18, 80, ROWS))
    assert "--data.categorical '[zip, HospitalNo]' reads them as categories" in said


@pytest.mark.parametrize("task", ["classes", "numbers"])
def test_codes_are_told_by_what_they_tell(profile: Callable, task: str) -> None:
    rng = np.random.default_rng(4)
    place, effect = rng.integers(40, size=ROWS), rng.normal(size=40)
    y = effect[place] + 0.5 * rng.normal(size=ROWS)
    said = profile(y=(y > 0).astype(int) if task == "classes" else y, place=place)
    assert "--data.categorical '[place]' reads them as categories" in said


def test_quantities_are_no_codes(profile: Callable) -> None:
    rng = np.random.default_rng(5)
    age, count = rng.integers(18, 80, ROWS), rng.poisson(9, ROWS)
    y = np.sin(age / 9) + 0.1 * count + 0.3 * rng.normal(size=ROWS)
    assert "--data.categorical" not in profile(y=y, age=age, count=count)


def test_free_text_is_said_to_be_left_out_for_good(profile: Callable) -> None:
    rng = np.random.default_rng(6)
    notes = [" ".join(rng.choice(["pain", "fine", "none", "well", "weak"], 8)) for _ in range(ROWS)]
    said = profile(y=classes(), note=notes, key=[f"k{i}" for i in range(ROWS)])
    assert "'note' is free text" in said
    assert "in predictions neither" in said
    assert "'key' looks like a key" in said


def test_none_among_words_is_a_class_and_said(profile: Callable) -> None:
    names = np.array(["mild", "none", "severe"])[np.arange(ROWS) % 3]
    said = profile(y=names)
    assert "multiclass (mild " in said
    assert "'none' is read as a class of 'y'" in said
    assert "--data.missing none" in said
    quantity = pd.Series(np.random.default_rng(1).normal(size=ROWS)).astype(object)
    quantity[::4] = "none"
    assert "100 rows left out because it is missing there" in profile(y=quantity)


def test_the_user_may_say_that_none_means_missing(tmp_path: Path) -> None:
    names = np.array(["mild", "none", "severe"])[np.arange(ROWS) % 3]
    frame = pd.DataFrame({"honest": np.random.default_rng(0).normal(size=ROWS), "y": names})
    frame.to_csv(tmp_path / "table.csv", index=False)
    table = Tabular(str(tmp_path / "table.csv"), target="y", cache="no", missing="none")
    assert "binary (mild " in table.profile
