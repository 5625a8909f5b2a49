"""Exported files: the same answers as the network, raw input in, and all that reads it within."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from quick import data_of
from torch import Tensor, nn

import zoo
from zoo import extras
from zoo.architectures.recurrent import unpacked_states
from zoo.deployment import export
from zoo.deployment.export import FORMATS, PT2_METADATA, TOLERANCE, leaves, random_inputs

# One of each architecture, kind of input and task.
EACH_KIND = (
    "fashion_ffnn",
    "mnist_classifier",
    "conv_net",
    "mnist_lstm",
    "mnist_bilstm",
    "mnist_rnn",
    "mnist_lstm_cell",
    "mnist_lt3_ann",
    "sentiment_bilstm",
    "tabular_mlp",
    "tabular_mlp.tuned",
    "tabular_ensemble",
    "fizzbuzz_net",
    "xor_mlp",
    "linear_regressor",
)
pytestmark = pytest.mark.filterwarnings("ignore")


def needs(format: str) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
        pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")


def network(name: str, **options: Any) -> zoo.ZooModule:
    torch.manual_seed(0)
    return zoo.create_model(name, datamodule=data_of(name), **options)


def run(path: Path, x: Any) -> Tensor:
    """Run an exported file on a raw batch, with nothing of the zoo."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(x)
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    arrays = {name: part.numpy() for name, part in leaves(x).items()}
    return torch.from_numpy(session.run(None, arrays)[0])


def metadata_of(path: Path) -> dict[str, Any]:
    if path.suffix == ".pt2":
        files = {PT2_METADATA: ""}
        torch.export.load(path, extra_files=files)
        return json.loads(files[PT2_METADATA])
    import onnxruntime

    found = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    return {key: json.loads(value) for key, value in found.items()}


def check_export(name: str, format: str, folder: Path) -> None:
    needs(format)
    model, path = network(name), folder / f"{name}.{format}"
    was_training = model.training
    assert zoo.export_model(model, path) <= TOLERANCE
    assert model.training is was_training
    x = random_inputs(model, 11, seed=1)
    with torch.inference_mode():
        predicted = model.eval().predict_step(x)
    expected = predicted.get("probabilities", predicted["prediction"])
    torch.testing.assert_close(run(path, x), expected, atol=TOLERANCE, rtol=TOLERANCE)
    found = metadata_of(path)
    assert found["class_names"] == model.class_names
    assert found["preprocessing"]["kind"] == model.spec.kind


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", EACH_KIND)
def test_a_file_answers_as_the_network_does(name: str, format: str, tmp_path: Path) -> None:
    check_export(name, format, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", zoo.list_models())
def test_every_name_is_exported(name: str, format: str, tmp_path: Path) -> None:
    check_export(name, format, tmp_path)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_without_packing_padding_changes_nothing(cell: str, bidirectional: bool) -> None:
    options = {"cell": cell, "bidirectional": bidirectional, "num_layers": 3}
    model = network("sentiment_bilstm", **options).eval()
    x = random_inputs(model)
    with torch.no_grad():
        states, last = unpacked_states(model.backbone, model.as_sequence(x), model.lengths(x))
        for pooling, masked in {"last": last, "max": states.max(dim=1).values}.items():
            model.pooling = pooling
            torch.testing.assert_close(masked, model.forward_features(x), atol=1e-6, rtol=1e-5)


class Pair(zoo.ZooModule):
    """Reads two tensors."""

    def __init__(self, spec: zoo.DataSpec) -> None:
        super().__init__(spec)
        self.backbone = nn.Linear(5, 4)
        self.head = nn.Linear(4, self.num_outputs)

    def forward_features(self, x: Any) -> Tensor:
        parts = self.preprocess(x)
        return self.backbone(torch.cat([parts["left"], parts["right"]], dim=1))


class FixedBatch(Pair):
    """Asks for the size of the batch in a way that fixes it."""

    def forward_features(self, x: Any) -> Tensor:
        return super().forward_features(x) + torch.zeros(len(x["left"]), 4)


PAIR = zoo.DataSpec(input_shape={"left": [2], "right": [3]}, num_outputs=3)


@pytest.mark.parametrize("format", FORMATS)
def test_a_network_of_ones_own_may_read_several_tensors(format: str, tmp_path: Path) -> None:
    needs(format)
    path = tmp_path / f"pair.{format}"
    assert zoo.export_model(Pair(PAIR), path) <= TOLERANCE
    names = [entry["name"] for entry in metadata_of(path)["inputs"]]
    assert names == ["input_left", "input_right"]


def test_a_network_that_fixes_its_batch_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(zoo.UserError, match=r"FixedBatch.*batches of any size.*x\.shape\[0\]"):
        zoo.export_model(FixedBatch(PAIR), tmp_path / "fixed.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_differs_is_not_written(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "xor_mlp.pt2"
    path.write_bytes(b"what stood there before")
    model = network("xor_mlp")
    honest = export._export

    def other(*arguments: Any) -> Any:
        content, file = honest(*arguments)
        return content, lambda x: file(x) + 0.01

    monkeypatch.setattr(export, "_export", other)
    with pytest.raises(zoo.UserError, match=r"differs from the network by 1\.0e-02"):
        zoo.export_model(model, path)
    assert path.read_bytes() == b"what stood there before"


def test_the_command_writes_the_file_and_prints_the_difference(run_cli: Callable) -> None:
    result = run_cli("export", "--weights", "xor_mlp", "--format", "pt2")
    assert result.status == 0, result.err
    first, second = result.out.splitlines()
    assert first.startswith("xor_mlp.pt2  ")
    assert second.startswith(
        "largest difference from the network on 100 random inputs, at batch 1, 7 and 64: "
    )
    card = metadata_of(Path("xor_mlp.pt2"))["card"]
    assert card["sha256"] == zoo.model_card("xor_mlp").sha256
    gates = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert run(Path("xor_mlp.pt2"), gates).argmax(1).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--weights", "xor_mlp", "--output", "nowhere/x.onnx"), "There is no folder 'nowhere'"),
        (("--weights", "xor_mlp", "--output", "."), "'.' is a folder; name a file in it."),
        (("--weights", "xor_mlpp"), "There is no model 'xor_mlpp'. Did you mean"),
        (("--weights", "conv_ne"), "Did you mean conv_net"),
        (("--weights", "tiny_mlp"), "The zoo has no weights for tiny_mlp"),
    ],
)
def test_mistakes_get_one_sentence(run_cli: Callable, argv: tuple[str, ...], message: str) -> None:
    result = run_cli("export", *argv)
    assert result.status == 2
    assert result.err.count("\n") == 1
    assert message in result.err


def test_a_missing_extra_is_named_with_its_command(
    run_cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    result = run_cli("export", "--weights", "xor_mlp", "--format", "onnx")
    assert result.status == 2
    assert result.err == (
        "error: Exporting to ONNX needs onnx, onnxscript, onnxruntime, which are not installed: "
        "pip install 'lightning-zoo[export]'\n"
    )
    assert list(Path().iterdir()) == []
