"""The comparison of fine-tuning with training from scratch gives the README's table."""

import pytest

import finetuning


@pytest.mark.slow
def test_prints_a_row_for_each_transfer_and_number_of_examples(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(finetuning, "PRETRAINING_EPOCHS", 1)
    monkeypatch.setattr(finetuning, "UPDATES", 2)
    monkeypatch.setattr(finetuning, "LETTERS", 20)
    monkeypatch.setattr(finetuning, "LEARNING_RATES", (1e-3,))
    monkeypatch.setattr(finetuning, "EXAMPLES_PER_CLASS", (5, 10))
    finetuning.main(["--seeds", "2"])

    header, _, *rows = capsys.readouterr().out.splitlines()
    assert all(method in header for method in finetuning.METHODS)
    *numbers, letters = finetuning.TRANSFERS
    expected = ["5", "10"] * len(numbers) + ["5"]  # of letters there are too few for more
    assert letters.unseen is None
    assert [row.split(" | ")[1] for row in rows] == expected
