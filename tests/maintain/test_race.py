"""The race to an accuracy: who takes part, what decides it, what its board says."""

import pytest

import race
from race import Entry
from zoo.errors import UserError
from zoo.recipe import list_models


def test_every_fast_recipe_takes_part() -> None:
    assert set(race.MARKS) == {name for name in list_models() if ".fast" in name}


def test_fit_is_timed_as_a_process_that_tests_what_it_trained() -> None:
    options = ("--data.source", "synthetic", "--trainer.limit_train_batches", "2")
    seconds, score = race.fit("mnist_net.fast", 3, *options, "--trainer.max_epochs", "1")
    assert seconds > 0.5  # importing torch alone takes longer
    assert 0 <= score <= 1


def test_a_training_that_fails_ends_the_race() -> None:
    with pytest.raises(UserError, match=r"fit.py .* failed: .*--trainer.max_epochs"):
        race.fit("mnist_net.fast", 0, "--trainer.max_epochs", "soon")


def test_the_board_shows_the_mean_the_worst_and_the_ratios() -> None:
    fashion = Entry(seconds=[6.0, 8.0, 7.0], scores=[0.83, 0.85, 0.84], documented=[60.0, 64.0])
    digits = Entry(seconds=[9.0, 9.0, 9.0], scores=[0.98, 0.981, 0.982])
    lines = race.board({"fashion_ffnn.fast": fashion, "mnist_net.fast": digits}, [3.0, 3.5, 4.0])
    header, ruler, *rows = lines.splitlines()
    assert len({len(line) for line in (header, ruler, *rows)}) == 1  # they line up
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    # medians: 62 / 7 and 62 / (7 - 3.5)
    assert cells[0][1:] == ["83.1%", "84.00%", "83.00%", "7.0", "3.5", "62.0", "8.9", "17.7"]
    assert cells[1][1:] == ["98.0%", "98.10%", "98.00%", "9.0", "3.5", "", "", ""]


@pytest.mark.parametrize(
    ("score", "missed"), [(0.992, ""), (0.9, "mnist_net.fast, conv_net.fast, .*")]
)
def test_the_mean_decides(
    score: float,
    missed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(race, "fit", lambda name, seed: (5.0, score + 0.01 * (-1) ** seed))
    monkeypatch.setattr(race, "run", lambda argv: (3.0, ""))
    monkeypatch.setattr(race, "train_as_documented", lambda case, epochs, seed: 60.0)
    argv = ["--seeds", "2", "--beside", "1"]
    if missed:
        with pytest.raises(UserError, match=rf"misses the mark: {missed}"):
            race.main(argv)
    else:
        race.main(argv)
    out = capsys.readouterr().out
    assert out.startswith("`python scripts/maintain/race.py --seeds 2 --beside 1`: ")
    assert "seeds 0 to 1" in out
    assert f"{score - 0.01:.2%}" in out  # the worst


@pytest.mark.parametrize("argv", [["--seeds", "1"], ["--beside", "0"]])
def test_impossible_numbers_are_refused(argv: list[str]) -> None:
    with pytest.raises(UserError, match="--seeds must be at least --beside"):
        race.main(argv)
