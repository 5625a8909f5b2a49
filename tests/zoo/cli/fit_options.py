"""Short runs of `fit`, and what they print and leave."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Run = Callable[..., Any]

# Five updates on drawn images: a second or less.
QUICK = (
    *("--data.source", "synthetic", "--inspect", "none"),
    *("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 5),
)
FASHION = ("--model", "fashion_ffnn", *QUICK)


def settings(run_cli: Run, *argv: object) -> dict[str, Any]:
    """Return what `--print_config` prints."""
    result = run_cli("fit", *argv, "--print_config")
    assert result.status == 0, result.err
    return yaml.safe_load(result.out)


def only_run(root: Path = Path("runs")) -> Path:
    (folder,) = root.glob("*/version_*")
    return folder


def card(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "card.json").read_text())


def words(value: object) -> str:
    """Name a test by its command line."""
    return " ".join(map(str, value)) if isinstance(value, list) else ""
