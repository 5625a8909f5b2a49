"""Compare exported files with their networks: `python scripts/maintain/exports.py [PATTERN]`.

For every network the largest difference of its ONNX and its PT2 file, and the milliseconds that one
example takes in PyTorch and in onnxruntime, measured in turns on one thread.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from zoo.cli import run_main
from zoo.console import quiet
from zoo.deployment.export import export_model, leaves, probabilities, random_inputs
from zoo.errors import UserError
from zoo.extras import require_extra
from zoo.recipe import list_models
from zoo.registry import create_model

# Turns of so many calls each; the median is taken over turns.
TURNS, CALLS = 15, 20


def main(argv: list[str]) -> None:
    """Print the table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="*", help="names, such as '*mnist*'")
    chosen = parser.parse_args(argv)
    require_extra("export", "Comparing ONNX files", "onnx", "onnxscript", "onnxruntime")
    if not list_models(chosen.pattern):
        raise UserError(f"No network's name matches '{chosen.pattern}'.")
    quiet()
    warnings.simplefilter("ignore")  # drawn data show shapes as well as real data
    torch.set_num_threads(1)
    print("| network | ONNX differs by | PT2 differs by | PyTorch | onnxruntime |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with TemporaryDirectory() as folder:
        for name in list_models(chosen.pattern):
            print(row(name, Path(folder)), flush=True)


def row(name: str, folder: Path) -> str:
    """Export one network both ways, and return its row."""
    import onnxruntime

    torch.manual_seed(0)
    model = create_model(name).eval()
    files = {format: folder / f"network.{format}" for format in ("onnx", "pt2")}
    differences = [export_model(model, file) for file in files.values()]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(files["onnx"], options)
    x, network = random_inputs(model, 1), probabilities(model)
    arrays = {key: part.numpy() for key, part in leaves(x).items()}
    with torch.inference_mode():
        milliseconds = in_turns(lambda: network(x), lambda: session.run(None, arrays))
    cells = [f"{value:.0e}" for value in differences] + [f"{ms:.3f} ms" for ms in milliseconds]
    return f"| `{name}` | {' | '.join(cells)} |"


def in_turns(*functions: Callable[[], object]) -> list[float]:
    """Return the milliseconds that each call takes; the machine's moods strike all alike."""
    for function in functions:
        function()
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(TURNS):
        for function, measured in zip(functions, seconds, strict=True):
            started = time.perf_counter()
            for _ in range(CALLS):
                function()
            measured.append(time.perf_counter() - started)
    return [1000 * median(measured) / CALLS for measured in seconds]


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
