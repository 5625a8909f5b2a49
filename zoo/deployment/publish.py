"""A network as a repository of the Hugging Face Hub: weights, card, and a page made from it."""

import io
import math
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from zoo.cards import Card, write_card
from zoo.extras import require_extra
from zoo.hub import CARD, PREFIX, WEIGHTS, hub_errors
from zoo.weights import save_weights

if TYPE_CHECKING:
    from zoo.network import Network

PAGE, PICTURE = "README.md", "metrics.png"
#: What the hub calls networks for each kind of input.
PIPELINES = {"pixels": "image", "tokens": "text", "table": "tabular"}
#: What the hub calls our metrics, where it has another name.
HUB_METRICS = {"auroc": "roc_auc"}
#: Metrics that a picture of shares can show.
SHARES = ("accuracy", "f1", "auroc", "r2")
SPLITS = {"train": "train", "validation": "val", "test": "test"}


def push(
    model: "Network", repository: str, *, private: bool = False, token: str | None = None
) -> str:
    """Upload a network to the hub.

    Its card is the one that it was loaded with, as long as its weights are those; metrics of
    other weights are left out.

    Args:
        model: The network.
        repository: `user/name`; it is made if it does not exist.
        private: Make it for you alone.
        token: A token of the hub; by default the one of `hf auth login`.

    Returns:
        The address of its page.

    Raises:
        UserError: If the hub cannot be reached or refuses.
    """
    require_extra("hub", "The Hugging Face Hub", "huggingface_hub")
    from huggingface_hub import HfApi

    repository = repository.removeprefix(PREFIX)
    with TemporaryDirectory() as folder:
        card = write_repository(model, repository, Path(folder))
        with hub_errors(repository):
            api = HfApi(token=token)
            api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message=card.name)
    return f"https://huggingface.co/{repository}"


def write_repository(model: "Network", repository: str, folder: Path) -> Card:
    """Write all that a repository holds into an empty folder, and return the card."""
    known = model.card
    card = save_weights(model, folder / WEIGHTS, name=repository.rpartition("/")[2])
    model.card = known
    if known is not None:
        if known.sha256 == card.sha256:
            card = known
        else:
            card = replace(card, summary=known.summary, source=known.source, license=known.license)
        write_card(card, folder / CARD)
    if drawn := draw_metrics(card):
        (folder / PICTURE).write_bytes(drawn)
    (folder / PAGE).write_text(page(model, card, repository, bool(drawn)), encoding="utf-8")
    return card


def page(model: "Network", card: Card, repository: str, with_picture: bool = False) -> str:
    """Return the README of a repository: the hub's metadata in front, then what a reader needs."""
    from huggingface_hub import EvalResult, ModelCardData

    measured = _measured(card, "test") or _measured(card, "val")
    split = "test" if _measured(card, "test") else "validation"
    data = card.dataset.get("name", "unknown data")
    pipeline = _pipeline(model)
    results = [
        EvalResult(
            task_type=pipeline or model.spec.task,
            dataset_type=data.lower(),
            dataset_name=data,
            dataset_split=split,
            metric_type=HUB_METRICS.get(name, name),
            metric_value=round(value, 4),
        )
        for name, value in measured.items()
    ]
    described = ModelCardData(
        license=card.license.lower(),
        library_name="lightning-zoo",
        pipeline_tag=pipeline,
        tags=["pytorch", "lightning", "lightning-zoo", type(model).__name__.lower()],
        metrics=[HUB_METRICS.get(name, name) for name in measured] or None,
        model_name=card.name if results else None,
        eval_results=results or None,
    )
    parts = ["---", described.to_yaml(), "---", "", f"# {card.name}", "", card.summary]
    if card.source:
        parts += ["", f"Source: {card.source}."]
    parts += [
        "",
        "```python",
        "import zoo",
        "",
        f'model = zoo.load_weights("{PREFIX}{repository}")',
        'model.predict_step(inputs)["prediction"]',
        "```",
        "",
        f"To go on training: `python -m zoo fit --weights {PREFIX}{repository}`.",
    ]
    if with_picture:
        parts += ["", f"![Metrics on each split]({PICTURE})"]
    splits = {name: _measured(card, key) for name, key in SPLITS.items() if _measured(card, key)}
    if splits:
        names = list(dict.fromkeys(name for values in splits.values() for name in values))
        parts += ["", f"| | {' | '.join(names)} |", "| --- |" + " ---: |" * len(names)]
        for name, values in splits.items():
            cells = (f"{values[n]:.4f}" if n in values else "" for n in names)
            parts.append(f"| {name} | {' | '.join(cells)} |")
    facts = {
        "data": f"{data} ({card.dataset.get('origin', 'unknown')})" if card.dataset else "",
        "not the published files": card.dataset.get("unpublished_files", ""),
        "examples": ", ".join(f"{n:,} {split}" for split, n in card.split_sizes.items()),
        "classes": ", ".join(card.class_names),
        "input": f"{model.spec.kind} {card.input_shape}",
        "parameters": f"{card.parameters:,}",
        "epochs": "" if card.epochs is None else str(card.epochs),
        "seed": "" if card.seed is None else str(card.seed),
        "sha256": f"`{card.sha256}`",
    }
    parts += ["", *(f"- {title}: {text}" for title, text in facts.items() if text)]
    return "\n".join(parts) + "\n"


def draw_metrics(card: Card) -> bytes | None:
    """Return a PNG with bars of what was measured on each split, or None if nothing was."""
    splits = {name: _measured(card, key) for name, key in SPLITS.items()}
    names = [name for name in SHARES if any(name in values for values in splits.values())]
    if not names:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 0.9 + 0.7 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = [(split, values) for split, values in splits.items() if values]
    height = 0.8 / len(shown)
    for i, (split, values) in enumerate(shown):
        places = [k + (i - (len(shown) - 1) / 2) * height for k in range(len(names))]
        bars = axes.barh(places, [values.get(n, math.nan) for n in names], height, label=split)
        axes.bar_label(bars, [f"{values[n]:.4f}" if n in values else "" for n in names], padding=3)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 1.15)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _measured(card: Card, split: str) -> dict[str, float]:
    """Return the finite metrics of a split by name."""
    return {
        name: float(value)
        for key, value in card.metrics.items()
        for name, _, of in [key.partition("/")]
        if of == split and math.isfinite(value)
    }


def _pipeline(model: "Network") -> str | None:
    kind = PIPELINES.get(model.spec.kind)
    if kind is None or (kind != "tabular" and model.spec.task == "regression"):
        return None
    return f"{kind}-{'regression' if model.spec.task == 'regression' else 'classification'}"
