"""A network as a file that runs without this package: raw input in, probabilities or values out."""

import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from datamodules.files import atomic_write
from datamodules.folders import expand_home
from datamodules.tabular.columns import FALSE_WORDS, TRUE_WORDS, Column
from datamodules.tabular.dialect import MISSING
from zoo.cards import Card
from zoo.errors import UserError
from zoo.extras import require_extra
from zoo.network import Network
from zoo.preprocessing import example_input

FORMATS = ("onnx", "pt2")
#: Sums in another order differ by 1e-7; more than this is another network.
TOLERANCE = 1e-4
#: How many random inputs an exported file is checked on, and in batches of which sizes.
EXAMPLES, BATCH_SIZES = 100, (1, 7, 64)
#: Under which name a .pt2 file holds what it says of itself.
PT2_METADATA = "zoo.json"


class _Probabilities(nn.Module):
    """A network with what comes behind its logits."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Any) -> Tensor:
        return self.network.task.outputs(self.network.calibrated(self.network(x)))


def probabilities(model: Network) -> nn.Module:
    """Return the whole way from raw input to what a user reads.

    Shape: a raw batch (N, *input_shape) -> probabilities (N, classes), or values (N, outputs) in
    their own units.
    """
    return _Probabilities(model)


def export_model(
    model: Network, path: str | Path, format: str | None = None, card: Card | None = None
) -> float:
    """Write a network as an ONNX or a PT2 file, and check the file against the network.

    Args:
        model: The network.
        path: The file; what stands there is replaced only by a file that passed its check.
        format: `onnx` or `pt2`; by default what `path` ends with.
        card: The card of its weights, for the file's metadata.

    Returns:
        The largest difference between file and network on random inputs, relative to the largest
        value if that is above 1.

    Raises:
        UserError: If the folder does not exist, a package is missing, or the network cannot be
            exported or differs by more than 1e-4.
    """
    path = writable(path)
    format = path.suffix.removeprefix(".") if format is None else format
    if format not in FORMATS:
        raise UserError(f"There is no format '{format}' to export to; known: {', '.join(FORMATS)}.")
    if format == "onnx":
        require_extra("export", "Exporting to ONNX", "onnx", "onnxscript", "onnxruntime")
    device, training = model.device, model.training
    try:
        model.cpu().eval()
        content, run = _export(model, format, _metadata(model, card))
        difference = _largest_difference(probabilities(model), run, random_inputs(model))
    finally:
        model.to(device).train(training)
    if not difference <= TOLERANCE:
        raise UserError(
            f"The {format} file of {type(model).__name__} differs from the network by "
            f"{difference:.1e}, more than {TOLERANCE:.0e}; it was not written."
        )
    with atomic_write(path) as file:
        file.write(content)
    return difference


def writable(path: str | Path) -> Path:
    """Return a path that a file can be written to, or say what is in the way."""
    path = expand_home(path)
    if not path.parent.is_dir():
        raise UserError(f"There is no folder '{path.parent}' to write '{path.name}' to; make it.")
    if path.is_dir():
        raise UserError(f"'{path}' is a folder; name a file in it.")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"Nothing can be written to the folder '{path.parent}'.")
    return path


def _export(
    model: Network, format: str, metadata: dict[str, Any]
) -> tuple[bytes, Callable[[Any], Tensor]]:
    """Return a file's content, and a function that runs it."""
    example = _as_raw(model, example_input(model.spec.preprocessing, model.spec.input_shape))
    batch = torch.export.Dim("batch", min=1)
    shapes = (apply_to_collection(example, Tensor, lambda part: {0: batch}),)
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(probabilities(model), (example,), dynamic_shapes=shapes)
            if format == "onnx":
                return _to_onnx(program, example, metadata)
    except UserError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{type(model).__name__} cannot be exported to {format} for batches of any size: "
            f"{reason} (such as len(x) where x.shape[0] is meant)."
        ) from error
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={PT2_METADATA: json.dumps(metadata)})
    buffer.seek(0)
    return buffer.getvalue(), torch.export.load(buffer).module()


def _to_onnx(
    program: Any, example: Any, metadata: Mapping[str, Any]
) -> tuple[bytes, Callable[[Any], Tensor]]:
    import onnxruntime

    names = [entry["name"] for entry in metadata["inputs"]]
    outputs = ["values" if metadata["task"] == "regression" else "probabilities"]
    exported = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=names, output_names=outputs
    )
    assert exported is not None  # dynamo=True returns the program
    exported.model.metadata_props.update({k: json.dumps(v) for k, v in metadata.items()})
    content = exported.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(x: Any) -> Tensor:
        arrays = {k: v.numpy() for k, v in zip(names, leaves(x).values(), strict=True)}
        return torch.from_numpy(session.run(None, arrays)[0])

    return content, run


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporters say of themselves; what fails is raised."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with (
        warnings.catch_warnings(),
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def _metadata(model: Network, card: Card | None) -> dict[str, Any]:
    """Return what a file says of itself, as plain JSON."""
    example = _as_raw(model, example_input(model.spec.preprocessing, model.spec.input_shape))
    return {
        "task": model.spec.task,
        "class_names": model.class_names,
        "inputs": [
            {"name": name, "dtype": str(part.dtype).removeprefix("torch."), "shape": ["N", *shape]}
            for name, part in leaves(example).items()
            for shape in [part.shape[1:]]
        ],
        "preprocessing": _readable(model.spec.preprocessing),
        "card": None if card is None else asdict(card),
    }


def _readable(preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """Return how raw input is read, with all that a reader of rows elsewhere cannot know."""
    described = dict(preprocessing)
    if described["kind"] == "table":
        codes = {
            entry["name"]: dict(zip(entry["vocabulary"], entry["codes"], strict=True))
            for entry in described["categorical"]
        }
        words = dict.fromkeys(TRUE_WORDS, 1.0) | dict.fromkeys(FALSE_WORDS, 0.0)
        described["columns"] = [
            asdict(column)
            | {"features": column.features, "words": words if column.kind == "boolean" else {}}
            | ({"kind": "category", "codes": codes[name]} if name in codes else {})
            for column in (Column(**column) for column in described["columns"])
            for name in [column.name]
        ]
        described["features"] = [
            entry["name"] for key in ("numeric", "categorical") for entry in described[key]
        ]
        described["missing"] = sorted({*MISSING, *described.get("missing", ())})
    return described


def leaves(x: Any, name: str = "input") -> dict[str, Tensor]:
    """Return the tensors of an input by name: `input`, or of several `input_0`, `input_left`."""
    if isinstance(x, Tensor):
        return {name: x}
    parts = x.items() if isinstance(x, Mapping) else enumerate(x)
    named = (leaves(part, f"{name}_{key}") for key, part in parts)
    return {name: part for found in named for name, part in found.items()}


def _as_raw(model: Network, example: Any) -> Any:
    """Return an example as the file takes it: pixels as bytes."""
    if model.spec.kind != "pixels":
        return example
    return apply_to_collection(example, Tensor, lambda x: (x * 255).to(torch.uint8))


def random_inputs(model: Network, count: int = EXAMPLES, seed: int = 0) -> Any:
    """Return random raw inputs of the kind that a network reads, with gaps where it reads gaps."""
    generator = torch.Generator().manual_seed(seed)
    described, kind = model.spec.preprocessing, model.spec.kind

    def draw(example: Tensor) -> Tensor:
        shape = (count, *example.shape[1:])
        if kind == "pixels":
            return torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        if kind == "tokens":
            ids = torch.randint(1, len(described["vocabulary"]), shape, generator=generator)
            lengths = torch.randint(1, shape[1] + 1, (count, 1), generator=generator)
            return ids * (torch.arange(shape[1]) < lengths)
        if not example.is_floating_point():
            return torch.zeros(shape, dtype=example.dtype)
        values = torch.randn(shape, generator=generator)
        if kind == "table":
            for i, entry in enumerate(described["numeric"]):
                values[:, i] = values[:, i] * entry["std"] + entry["mean"]
            for i, entry in enumerate(described["categorical"], len(described["numeric"])):
                highest = max(entry.get("codes") or [len(entry["vocabulary"]) - 1])
                codes = torch.randint(-1, highest + 1, (count,), generator=generator)
                values[:, i] = codes
            values[torch.rand(shape, generator=generator) < 0.1] = torch.nan
        return values

    example = example_input(described, model.spec.input_shape)
    return apply_to_collection(example, Tensor, draw)


def _largest_difference(
    network: Callable[[Any], Tensor], file: Callable[[Any], Tensor], inputs: Any
) -> float:
    """Return by how much a file's outputs differ from a network's, in batches of three sizes."""
    largest = 0.0
    for size in BATCH_SIZES:
        for start in range(0, EXAMPLES, size):
            part = slice(start, start + size)
            x = apply_to_collection(inputs, Tensor, lambda t, part=part: t[part])
            with torch.no_grad():
                expected, found = network(x), file(x)
            if expected.shape != found.shape:
                return float("inf")
            scale = expected.abs().max().clamp(min=1)
            difference = ((found - expected).abs().max() / scale).item()
            # A difference that is no number is no agreement, and max() would lose it.
            largest = max(largest, difference if difference == difference else float("inf"))
    return largest
