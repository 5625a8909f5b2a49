"""Recurrent networks: words left out in training, states pooled, sentences found by name."""

from pathlib import Path

import pytest
import torch

import zoo
from datamodules import TextCSV


def sentiment(**arguments: object) -> zoo.ZooModule:
    torch.manual_seed(0)
    return zoo.create_model("sentiment_bilstm", dropout=0.0, hidden_dim=8, **arguments)


def test_words_are_left_out_in_training_alone() -> None:
    model = sentiment(word_dropout=0.5)
    x = torch.randint(2, 20, (1, 30)).expand(64, 30)
    with torch.no_grad():
        trained, evaluated = model.train()(x), model.eval()(x)

    assert trained.std() > 1e-3
    torch.testing.assert_close(evaluated, evaluated[:1].expand_as(evaluated))


def test_padding_is_no_word_to_leave_out() -> None:
    model = sentiment(word_dropout=0.99).train()
    x = torch.zeros(200, 30, dtype=torch.int64)
    x[:, 0] = 5
    unknown = torch.zeros(1, 30, dtype=torch.int64)
    unknown[0, 0] = 1
    with torch.no_grad():
        found, expected = model(x), model(unknown)

    assert torch.isclose(found, expected, atol=1e-6).float().mean() > 0.9


def test_largest_states_of_a_picture_are_those_of_all_rows() -> None:
    model = zoo.create_model("mnist_rnn", pooling="max").eval()
    x = torch.rand(3, 1, 28, 28)
    with torch.no_grad():
        outputs, _ = model.backbone(model.as_sequence(x))

    torch.testing.assert_close(model.forward_features(x), outputs.max(dim=1).values)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"pooling": "mean"}, "pooling must be last or max"), ({"word_dropout": 1}, "word_dropout")],
)
def test_arguments_out_of_range_are_named(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(zoo.UserError, match=named):
        sentiment(**arguments)


def test_sentences_are_found_in_the_folder_with_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"sentence {i},{'good' if i % 2 else 'bad'}" for i in range(40)]
    (tmp_path / "mine.csv").write_text("\n".join(["text,label", *lines]))
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    data = TextCSV(path="mine.csv")

    assert sum(len(y) for _, y in data.splits.values()) == 40
    assert list(data.checksums) == ["mine.csv"]
