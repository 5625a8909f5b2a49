"""Runs side by side: in what their settings differ, and what came of them."""

from typing import Any

from datamodules.folders import expand_home
from zoo.cards import card_path, read_card
from zoo.console import by_split, duration, table
from zoo.errors import UserError, unknown
from zoo.recipe import read_yaml
from zoo.run_folder import CONFIG, WEIGHTS

# What of a configuration tells where a run was, not what it did.
PLACES = ("trainer.default_root_dir", "summary", "source", "note")
SHOWN = 30  # characters of a setting


def runs_table(root: str, metric: str = "") -> str:
    """Return a table of all runs below a folder.

    Args:
        root: The folder.
        metric: What to sort by, the best first, such as `accuracy/val`; by the runs' names if
            nothing.

    Raises:
        UserError: If there are no runs, or none has the metric.
    """
    folder = expand_home(root)
    found = sorted(path.parent for path in folder.glob(f"**/{CONFIG}"))
    if not found:
        raise UserError(f"There are no runs below '{folder}'.")
    settings = [_flat(read_yaml(run / CONFIG)) for run in found]
    cards = [
        read_card(card_path(run / WEIGHTS)) if (run / "card.json").exists() else None
        for run in found
    ]
    names = list(dict.fromkeys(name for flat in settings for name in flat))
    # What only some runs have at all, such as other data's options, tells the others nothing.
    differing = [
        name
        for name in names
        if name not in PLACES and len({repr(f[name]) for f in settings if name in f}) > 1
    ]
    metrics = _metrics(cards)
    order = list(range(len(found)))
    if metric:
        known = list(dict.fromkeys(name for card in cards if card for name in card.metrics))
        if metric not in known:
            raise unknown("metric of these runs called", metric, known)
        less = metric.partition("/")[0] in ("loss", "mae", "rmse")

        def key(i: int) -> float:
            value = cards[i].metrics.get(metric) if cards[i] else None  # type: ignore[union-attr]
            return float("inf") if value is None else value if less else -value

        order.sort(key=key)
        metrics = [metric, *(name for name in metrics if name != metric)]
    rows = []
    for i in order:
        card, flat = cards[i], settings[i]
        values = card.metrics if card else {}
        seconds = card.seconds if card else None
        rows.append(
            [
                str(found[i].relative_to(folder)),
                *(_short(flat.get(name)) for name in differing),
                *(f"{values[name]:.4f}" if name in values else "" for name in metrics),
                duration(seconds) if seconds is not None else "" if card else "not finished",
            ]
        )
    return table(rows, ["run", *differing, *metrics, "time"])


def _metrics(cards: list[Any]) -> list[str]:
    """Return the metrics to show: of validation and test, those that the runs have."""
    names = list(dict.fromkeys(name for card in cards if card for name in card.metrics))
    splits = by_split(dict.fromkeys(names, 0.0))
    return [f"{name}/{split}" for split in ("val", "test") for name in splits.get(split, {})]


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted names, without the layers that only files have."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        if key == "init_args" and isinstance(value, dict):
            flat |= _flat(value, prefix)
        elif key == "class_path":
            flat[prefix.rstrip(".")] = str(value).rpartition(".")[2]
        elif isinstance(value, dict):
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
