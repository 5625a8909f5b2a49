"""Categories that a network of tables did not have in its training: a slot for each."""

from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from zoo.network import Network
from zoo.preprocessing.tables import width_of

N = TypeVar("N", bound=Network)
EMBEDDING = "preprocess.embedding.weight"


def with_new_categories(network: N, data: dict[str, Any]) -> tuple[N, list[str]]:
    """Return a network with slots for the categories that data have besides its own.

    A new one begins as what the network takes unknown ones for, so that at first it answers as it
    did; with training they part.

    Args:
        network: A network of tables.
        data: The preprocessing that is fitted to the data, with their vocabularies.

    Returns:
        The network itself if there is nothing new, else another one; and the new categories.
    """
    described = network.spec.preprocessing
    here = {entry["name"]: entry["vocabulary"] for entry in data["categorical"]}
    entries, added = [], []
    for entry in described["categorical"]:
        known = set(entry["vocabulary"])
        new = [value for value in here.get(entry["name"], ()) if value not in known]
        added += [f"{entry['name']} '{value}'" for value in new]
        entries.append(_with(entry, new) if new else entry)
    if not added:
        return network, []
    preprocessing = {**described, "categorical": entries}
    arguments = {key: value for key, value in network.hparams.items() if key != "spec"}
    with torch.random.fork_rng(devices=[]):  # the first values are overwritten
        grown = type(network)(replace(network.spec, preprocessing=preprocessing), **arguments)
    state = dict(network.state_dict())
    state[EMBEDDING] = _rows(state[EMBEDDING], described["categorical"], entries)
    grown.load_state_dict(state)
    return grown.train(network.training), added


def _with(entry: dict[str, Any], new: list[str]) -> dict[str, Any]:
    """Return the description of a column with further values, of the same width."""
    codes = entry.get("codes") or list(range(len(entry["vocabulary"])))
    first = max(codes, default=-1) + 1
    return {
        **entry,
        "vocabulary": [*entry["vocabulary"], *new],
        "codes": [*codes, *range(first, first + len(new))],
        "width": width_of(entry),
    }


def _rows(weight: Tensor, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> Tensor:
    """Return the embeddings (slots, width): of each column its values, missing, unseen."""
    parts, start = [], 0
    for before, now in zip(old, new, strict=True):
        values = len(before["vocabulary"])
        own = weight[start : start + values + 2]
        parts += [own[:values], own[-1:].expand(len(now["vocabulary"]) - values, -1), own[values:]]
        start += values + 2
    return torch.cat(parts)
