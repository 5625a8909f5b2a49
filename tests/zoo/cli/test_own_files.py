"""From a user's own files to a network, predictions and scores, as on the command line."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import zoo
from datamodules import MNIST, ImageFiles, TextCSV
from letters import write_letters
from zoo.architectures import ConvNet, FeedForward, Recurrent
from zoo.weights import save_weights

PLACES = ("top", "bottom", "left", "right", "middle", "particular")


def pictures_in(logs: Path) -> set[str]:
    """Return the tags of the pictures that TensorBoard shows."""
    return set(EventAccumulator(str(logs)).Reload().Tags()["images"])


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    return write_letters(tmp_path / "letters", "AB", 16)


@pytest.fixture
def run(run_cli: Any, letters: Path) -> str:
    result = run_cli(
        *("fit", "--model", "conv_net", "--weights", "conv_net", "--freeze", "backbone"),
        *("--data", "images", "--data.path", letters, "--optimizer", "Adam", "--lr", "0.01"),
        *("--data.batch_size", "8", "--trainer.max_epochs", "5"),
    )
    assert result.status == 0, result.err
    assert "32 pictures in 2 classes" in result.out
    assert "centred by mass" in result.out
    return "runs/conv_net/version_0"


def test_pictures_to_a_network_to_predictions_and_scores(
    run_cli: Any, run: str, letters: Path
) -> None:
    spec = zoo.load_weights(run).spec
    assert spec.input_shape == (1, 28, 28)
    assert (spec.preprocessing["crop"], spec.preprocessing["polarity"]) == ("mass", "light_on_dark")
    shown = run_cli("predict", "--weights", run, "--input", letters / "A", letters / "B" / "00*")
    assert shown.status == 0
    lines = shown.out.splitlines()
    assert lines[0].split() == ["input", "class", "probability", "then"]
    assert len(lines) == 1 + 16 + 10
    assert sum("  A  " in line for line in lines[1:17]) >= 15
    assert "dark on light turned round" in shown.err
    scored = run_cli("evaluate", "--weights", run, "--data", "images", "--data.path", letters)
    assert scored.status == 0, scored.err
    assert "all of it, 32 examples" in scored.out
    counts = [line.split() for line in scored.out.splitlines()[-2:]]
    assert [row[0] for row in counts] == ["A", "B"]
    assert sum(int(n) for row in counts for n in row[1:]) == 32
    named_by_path = run_cli("evaluate", run, "--data", letters)
    assert named_by_path.out == scored.out


def test_predictions_are_written(run_cli: Any, run: str, letters: Path) -> None:
    frames = {}
    for suffix in ("csv", "json", "parquet"):
        out = f"out.{suffix}"
        done = run_cli("predict", "--weights", run, "--input", letters, "--output", out)
        assert done.status == 0, done.err
        frames[suffix] = getattr(pd, f"read_{suffix}")(out)
        assert f"32 predictions written to {out}" in done.err
        pd.testing.assert_frame_equal(frames[suffix], frames["csv"], check_dtype=False)
    columns = ["input", "prediction", "probability_A", "probability_B"]
    assert list(frames["csv"].columns) == columns
    assert len(frames["csv"]) == 32


def test_what_answers_rest_on_is_drawn_and_said(run_cli: Any, run: str, letters: Path) -> None:
    asked = ("predict", "--weights", run, "--input", letters / "A", "--explain")
    result = run_cli(*asked, "reasons")
    assert result.status == 0, result.err
    assert result.out.splitlines()[0].split()[-2:] == ["because", "of"]
    assert all(line.split()[-1] in PLACES for line in result.out.splitlines()[1:])
    drawn = sorted(Path("reasons").iterdir())
    assert len(drawn) == 16
    for file in drawn:
        red, green, _ = Image.open(file).split()
        assert np.asarray(red).astype(int).sum() > np.asarray(green).astype(int).sum()
    assert run_cli(*asked, "--output", "out.csv").status == 0
    assert len(list(Path("explanations").iterdir())) == 16
    assert "because of" in pd.read_csv("out.csv")
    assert run_cli(*asked, "out.csv", "--output", "more.csv").status == 2
    numbers = run_cli("predict", "--weights", "fizzbuzz_net", "--input", "3", "--explain")
    assert (numbers.status, "pictures and for sentences" in numbers.err) == (2, True)


def test_what_went_wrong_is_in_tensorboard(run_cli: Any, run: str, letters: Path) -> None:
    """The classes are exchanged, so that everything is wrong."""
    for old, new in (("A", "x"), ("B", "A"), ("x", "B")):
        (letters / old).rename(letters / new)
    asked = ("evaluate", run, "--data", letters)
    scored = run_cli(*asked)
    assert scored.status == 0, scored.err
    assert "what went wrong: tensorboard --logdir runs/evaluations/conv_net-version_0" in scored.err
    (folder,) = Path("runs/evaluations/conv_net-version_0").iterdir()
    found = pictures_in(folder)
    wrong = {"confusion/counts", "confusion/share_of_true_class", "gallery/most_confidently_wrong"}
    assert found == wrong
    assert run_cli(*asked, "--inspect", "full,-projector").status == 0
    (full,) = set(folder.parent.iterdir()) - {folder}
    assert pictures_in(full) > {*wrong, "where_it_looked/test"}
    assert run_cli(*asked, "--inspect", "none").status == 0
    assert len(list(folder.parent.iterdir())) == 2
    assert run_cli("models", "--runs", "runs").out.count("conv_net") == 1


def test_pictures_are_decoded_once_also_where_weights_say_how(
    run_cli: Any, letters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datamodules.image_files import datamodule

    decoded = []
    original = datamodule.load_images

    def load_images(files: Any, *arguments: Any) -> Any:
        decoded.extend(files)
        return original(files, *arguments)

    monkeypatch.setattr(datamodule, "load_images", load_images)
    own = ("--data", "images", "--data.path", letters, "--trainer.max_epochs", "1")
    fitted = run_cli("fit", "--model", "conv_net", "--pretrained", *own)
    assert fitted.status == 0, fitted.err
    assert len(decoded) == len(set(decoded)) == 32
    decoded.clear()
    run = "runs/conv_net/version_0"
    assert run_cli("evaluate", run, "--data", letters).status == 0
    assert len(decoded) == 32


def test_what_cannot_be_read_is_named_and_the_rest_is_predicted(
    run_cli: Any, run: str, letters: Path
) -> None:
    (letters / "A" / "none.png").write_text("no picture")
    result = run_cli("predict", "--weights", run, "--input", letters, "--output", "out.csv")
    assert result.status == 2
    assert "none.png' is no picture" in result.err
    assert len(pd.read_csv("out.csv")) == 32


def test_a_class_that_the_network_does_not_know_is_named(
    run_cli: Any, run: str, letters: Path
) -> None:
    (letters / "B").rename(letters / "Q")
    result = run_cli("evaluate", "--weights", run, "--data", "images", "--data.path", letters)
    assert result.status == 2
    assert "does not know class 'Q'" in result.err


def test_other_sizes_and_channels_adapt_the_grid_and_the_first_layer(
    run_cli: Any, letters: Path
) -> None:
    result = run_cli(
        *("fit", "--model", "conv_net", "--weights", "conv_net", "--data", "images"),
        *("--data.path", letters, "--data.size", "48", "--data.channels", "3"),
        *("--trainer.max_epochs", "1"),
    )
    assert result.status == 0, result.err
    assert "first layer adapted from 1 to 3 channels" in result.out
    assert "reading 48 x 48 instead of 28 x 28" in result.out


def test_grey_pictures_in_rgb_give_what_they_gave_in_grey(letters: Path) -> None:
    from zoo.transfer import load_backbone

    data = ImageFiles(str(letters), size=28, channels=3)
    model, _ = load_backbone("conv_net", data.spec)
    grey = zoo.load_weights("conv_net")
    x = torch.rand(2, 1, 28, 28)
    features = model.forward_features(x.expand(-1, 3, -1, -1)), grey.forward_features(x)
    torch.testing.assert_close(*features, atol=1e-4, rtol=1e-4)


def test_images_of_28_leave_the_documented_network_as_it_is() -> None:
    spec = MNIST(source="synthetic").spec
    assert [type(m).__name__ for m in ConvNet(spec).backbone][-1] == "Flatten"


def test_arrays_of_the_networks_own_form_are_taken_as_they_are(
    run_cli: Any, tmp_path: Path
) -> None:
    images = MNIST(source="synthetic").splits["test"][0][:5]
    with torch.inference_mode():
        expected = zoo.load_weights("mnist_net").predict_step(images)["prediction"]
    np.save("bytes.npy", images.numpy())
    np.save("floats.npy", images[:, 0].numpy().astype(np.float32) / 255)
    header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (5, 28, 28))
    Path("images-idx3-ubyte").write_bytes(header + images.numpy().tobytes())
    for file in ("bytes.npy", "floats.npy", "images-idx3-ubyte"):
        result = run_cli("predict", "--weights", "mnist_net", "--input", file, "--output", "-")
        found = pd.read_csv(io.StringIO(result.out), dtype=str)
        assert found["prediction"].tolist() == expected, file
    np.save("wide.npy", images.numpy().astype(np.float32))
    result = run_cli("predict", "--weights", "mnist_net", "--input", "wide.npy")
    assert result.status == 2
    assert "Divide them by 255" in result.err


def test_numbers_are_said_fizz_and_buzz(run_cli: Any, monkeypatch: Any) -> None:
    result = run_cli("predict", "--weights", "fizzbuzz_net", "--input", "3", "5", "15", "98")
    assert [row.split()[:2] for row in result.out.splitlines()[1:]] == [
        ["3", "fizz"],
        ["5", "buzz"],
        ["15", "fizzbuzz"],
        ["98", "number"],
    ]
    stdin = io.TextIOWrapper(io.BytesIO(b"3\n15\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    result = run_cli("predict", "--weights", "fizzbuzz_net", "--input", "-")
    assert [row.split()[1] for row in result.out.splitlines()[1:]] == ["fizz", "fizzbuzz"]
    result = run_cli("predict", "--weights", "fizzbuzz_net", "--input", "1024")
    assert (result.status, "from 0 to 1023" in result.err) == (2, True)


def test_sentences_and_labelled_sentences(run_cli: Any, tmp_path: Path) -> None:
    model = Recurrent(TextCSV(max_length=12).spec, hidden_dim=8).eval()
    save_weights(model, tmp_path / "w.safetensors")
    Path("lines.txt").write_text("The film was superb.\n\nThe plot was dull.\n")
    result = run_cli(
        "predict", "--weights", "w.safetensors", "--input", "lines.txt", "A moving story"
    )
    assert len(result.out.splitlines()) == 4
    Path("own.csv").write_text("text,label\nwonderful film,positive\ndull film,negative\n")
    result = run_cli("evaluate", "--weights", "w.safetensors", "--data", "own.csv")
    assert result.status == 0, result.err
    assert "2 examples" in result.out


def test_a_labelled_table_is_scored_on_all_of_its_rows(run_cli: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=80).round(3)})
    frame["kind"] = np.where(frame["size"] > 0, "large", "small")
    frame.to_csv("train.csv", index=False)
    data = zoo.create_datamodule("csv", path="train.csv", target="kind")
    save_weights(FeedForward(data.spec).eval(), tmp_path / "w.safetensors")
    frame[:3].to_csv("new.csv", index=False)
    result = run_cli("evaluate", "--weights", "w.safetensors", "--data", "new.csv")
    assert result.status == 0, result.err
    assert "3 examples" in result.out


def test_python_predicts_files_pictures_and_numbers_too(letters: Path) -> None:
    model = zoo.load_weights("conv_net")
    files = sorted((letters / "A").iterdir())[:3]
    answers = model.predict(files)["prediction"]
    assert model.predict([str(file) for file in files])["prediction"] == answers
    assert model.predict([Image.open(file) for file in files])["prediction"] == answers
    assert model.predict(files[0])["prediction"] == answers[:1]
    assert zoo.load_weights("fizzbuzz_net").predict([3, 15])["prediction"] == ["fizz", "fizzbuzz"]
    for wrong in ("missing.png", np.full((1, 28, 28), 300), np.full((1, 28, 28), -1)):
        with pytest.raises(zoo.UserError):
            model.predict(wrong)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 28, 28), "1x28x28 .* not 3x28x28"),
        (torch.zeros(2, 1, 20, 20), "1x28x28 .* not 1x20x20"),
        (torch.full((2, 1, 28, 28), 255.0), "Divide them by 255"),
    ],
)
def test_images_that_weights_would_misread_are_refused_in_python(
    images: torch.Tensor, message: str
) -> None:
    for name in ("mnist_net", "conv_net"):
        with pytest.raises(zoo.UserError, match=message):
            zoo.load_weights(name)(images)


def test_a_picture_that_is_none_is_one_sentence(run_cli: Any, tmp_path: Path) -> None:
    Image.new("L", (9, 9)).save("fine.png")
    Path("cut.png").write_bytes(Path("fine.png").read_bytes()[:40])
    for name, sentence in {"cut.png": "cut.png", "missing.png": "no file 'missing.png'"}.items():
        result = run_cli("predict", "--weights", "mnist_net", "--input", name)
        assert result.status == 2
        assert sentence in result.err
        assert "Traceback" not in result.err
