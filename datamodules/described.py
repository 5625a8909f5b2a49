"""What `preprocessing` says of data, kind by kind, and whether a file says it as it must."""

import math
from collections.abc import Mapping
from typing import Any, Literal, Required, TypedDict

from datamodules.errors import UserError
from datamodules.plain import misfit


class Target(TypedDict, total=False):
    """The numbers that a regression predicts: names, and what they were scaled by."""

    names: list[str]
    mean: list[float] | float
    std: list[float] | float


class Described(TypedDict, total=False):
    """What every kind may say."""

    target: Target


class Numbers(Described, total=False):
    """Numbers as they are; of whole numbers, how many digits stand for one."""

    binary_digits: int


class Pixels(Described, total=False):
    """Images, scaled by mean and deviation, and how pictures in files become such."""

    mean: float
    std: float
    crop: str
    polarity: str


class Tokens(Described, total=False):
    """Numbers of words."""

    vocabulary: Required[list[str]]
    embedding_dim: int


class Number(TypedDict, total=False):
    """A feature that is a number."""

    name: Required[str]
    mean: Required[float]
    std: Required[float]
    log: bool
    indicator: bool
    edges: list[float] | None
    low: float
    high: float
    share_missing: float


class Category(TypedDict, total=False):
    """A feature that is one of a few values."""

    name: Required[str]
    vocabulary: Required[list[str]]
    codes: list[int]
    missing: bool
    share_missing: float


class Table(Described, total=False):
    """The columns of a table, and the features that they give."""

    columns: list[dict[str, Any]]
    numeric: Required[list[Number]]
    categorical: Required[list[Category]]
    clip: float | None
    missing: list[str]


Kind = Literal["none", "pixels", "tokens", "table"]
KINDS = {"none": Numbers, "pixels": Pixels, "tokens": Tokens, "table": Table}
MAX_DIGITS = 62  # of a whole number in an int64


def check_preprocessing(described: Mapping[str, Any], shape: Any, num_outputs: int) -> None:
    """Refuse a preprocessing from a file that is not as its kind is described.

    Args:
        described: It.
        shape: The shape of one example.
        num_outputs: How many values the network gives.

    Raises:
        UserError: If it is none.
    """
    problem = misfit(described.get("kind"), Kind, "kind")
    problem = problem or misfit(described, KINDS[described["kind"]], "preprocessing")
    if not problem:
        problem = _problem_of_target(described.get("target", {}), num_outputs)
    if not problem and not 1 <= described.get("binary_digits", 1) <= MAX_DIGITS:
        problem = f"binary_digits is not from 1 to {MAX_DIGITS}"
    problem = problem or _problem_of_shape(described, shape)
    if not problem and described["kind"] == "table":
        problem = _problem_of_columns(described)
    if problem:
        raise UserError(f"The preprocessing of data is not as it must be: {problem}.")


def _problem_of_shape(described: Mapping[str, Any], shape: Any) -> str:
    if described["kind"] == "none":
        return ""
    if not isinstance(shape, tuple) or (described["kind"] != "pixels" and len(shape) != 1):
        return f"{described['kind']} have not the shape {shape}"
    if described["kind"] == "table":
        features = len(described["numeric"]) + len(described["categorical"])
        return "" if shape == (features,) else f"a row is {shape[0]} numbers of {features} features"
    return ""


def _problem_of_target(target: Mapping[str, Any], num_outputs: int) -> str:
    for key in ("mean", "std"):
        values = target.get(key, [])
        count = len(values) if isinstance(values, (list, tuple)) else 1
        if key in target and count != num_outputs:
            return f"the target's {key} has {count} numbers for {num_outputs} outputs"
    if ("mean" in target) != ("std" in target):
        return "the target has only one of mean and std"
    return ""


def _problem_of_columns(described: Mapping[str, Any]) -> str:
    """Say which feature is of no column; networks by hand may have no columns at all."""
    from datamodules.tabular.columns import PARTS, Column

    features: set[str] = set()
    for place, column in enumerate(described.get("columns", ())):
        if problem := misfit(column, Column, f"column {place + 1}"):
            return problem
        if not set(column.get("parts", ())) <= set(PARTS):
            return f"column {place + 1} has parts that no date has"
        features.update(Column(**column).features)
    entries = [*described["numeric"], *described["categorical"]]
    names = [entry["name"] for entry in entries]
    if len(set(names)) < len(names):
        return "two features have one name"
    if "columns" in described and (lost := set(names) - features):
        return f"feature {min(lost)} is of no column"
    for entry in described["categorical"]:
        if "codes" in entry and len(entry["codes"]) != len(entry["vocabulary"]):
            return f"{entry['name']} has {len(entry['codes'])} codes for its values"
    for entry in described["numeric"]:
        if not all(map(math.isfinite, (entry["mean"], entry["std"]))):
            return f"{entry['name']} has no finite mean and std"
    return ""
