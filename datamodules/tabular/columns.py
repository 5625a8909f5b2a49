"""Columns of a table: what kind each is, and how its cells become numbers.

The same functions encode a file for training and a new one for prediction.
"""

import re
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from datamodules.tabular.dialect import MISSING

# Share of a column's cells that must be numbers (or dates) for it to be one; the others then
# count as missing and are reported.
PURE = 0.95
# Texts of which more than this share are different from all others describe nothing in common.
MOSTLY_UNIQUE = 0.9
TRUE_WORDS = {"true", "t", "yes", "y"}
FALSE_WORDS = {"false", "f", "no", "n"}
DATE_FORMATS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S%z",
    "%Y/%m/%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y-%m", "%Y/%m",
    "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y",
    "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p", "%m/%d/%y %H:%M", "%d.%m.%Y", "%d.%m.%y", "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S", "%d-%m-%Y", "%m-%d-%Y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%b %d, %Y",
    "%B %d, %Y", "%b %Y", "%d %B %Y", "%H:%M", "%H:%M:%S",
)  # fmt: skip
PARTS = ("days", "year", "month", "day", "weekday", "hour")
_DATE_LIKE = re.compile(r"(?=.*\d)(?=.*[-/.: ]).{4,35}")
_DECORATION = re.compile(r"[\s$€£%\u00a0']")
_WHOLE = re.compile(r"([+-]?\d+)\.0+")


@dataclass
class Column:
    """One column of the file.

    Args:
        name: Its name in the file.
        kind: `numeric`, `boolean`, `date` or `category`; `empty` before a value was seen.
        format: How a date is written.
        parts: Which numbers a date gives.
        offset: Subtracted from large numbers that differ little, so that float32 tells them apart.
        decimal: The decimal mark, of numbers that are read as text.
        thousands: The thousands mark, of numbers that are read as text.
        forced: The user said so.
    """

    name: str
    kind: str
    format: str = ""
    parts: list[str] = field(default_factory=list)
    offset: float = 0.0
    decimal: str = "."
    thousands: str = ""
    forced: bool = False

    @property
    def features(self) -> list[str]:
        """The names of the numbers that it gives."""
        if self.kind == "date":
            return [f"{self.name}.{part}" for part in self.parts]
        return [self.name]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON, without what has its default."""
        defaults = asdict(Column(self.name, self.kind))
        return {k: v for k, v in asdict(self).items() if k in ("name", "kind") or v != defaults[k]}


def factorize(cells: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """Return codes (-1: missing) and the distinct cells, without going through them twice."""
    if isinstance(cells.dtype, pd.CategoricalDtype):
        return cells.cat.codes.to_numpy(), cells.cat.categories
    codes, values = pd.factorize(cells, use_na_sentinel=True)
    return codes, pd.Index(values)


def without_missing(cells: pd.Series, words: set[str]) -> pd.Series:
    """Return cells with NaN for words that mean missing, also with blanks around them."""
    if cells.dtype.kind in "iufbM":
        return cells
    if isinstance(cells.dtype, pd.CategoricalDtype):
        found = [value for value in cells.cat.categories if str(value).strip() in words]
        return cells.cat.remove_categories(found) if found else cells
    texts = cells.astype(object).where(cells.notna(), "").astype(str).str.strip()
    return texts.astype(object).mask(texts.isin(words), np.nan)


def labels(values: pd.Index) -> pd.Index:
    """Write categories in one way: no blanks around them, and `3.0` as `3`."""
    texts = [_WHOLE.sub(r"\1", text) if _WHOLE.fullmatch(text) else text for text in _texts(values)]
    return pd.Index(texts, dtype=object)


def _texts(values: pd.Index) -> list[str]:
    return [str(value).strip() for value in values]


def numbers(cells: pd.Series, decimal: str = ".", thousands: str = "") -> np.ndarray:
    """Return cells as float64, NaN where there is no number."""
    if cells.dtype.kind in "iufb":
        return cells.to_numpy(dtype=np.float64, na_value=np.nan)
    codes, values = factorize(cells)
    texts = pd.Series(_texts(values), dtype=object)
    parsed = _parse(texts, decimal, thousands)
    return _take(parsed, codes)


def _parse(texts: pd.Series, decimal: str, thousands: str) -> np.ndarray:
    if thousands:
        texts = texts.str.replace(thousands, "", regex=False)
    if decimal != ".":
        texts = texts.str.replace(decimal, ".", regex=False)
    parsed = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
    if (unread := np.isnan(parsed)).any() and len(texts):
        bare = texts[unread].str.replace(_DECORATION, "", regex=True)
        parsed = parsed.copy()
        parsed[unread] = pd.to_numeric(bare, errors="coerce").to_numpy(dtype=np.float64)
    return parsed


def _take(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return `values[codes]`, NaN where the code is -1."""
    return np.append(values, np.full((1, *values.shape[1:]), np.nan), axis=0)[codes]


def dates(cells: pd.Series, form: str) -> pd.DatetimeIndex:
    """Return cells as points in time, NaT where they are not written in that format."""
    return pd.DatetimeIndex(
        pd.to_datetime(cells, format=form, errors="coerce", utc=True)
    ).tz_localize(None)


def date_parts(times: pd.DatetimeIndex) -> np.ndarray:
    """Return the numbers of PARTS for points in time: (N, 6) float64."""
    missing = np.asarray(times.isna())
    epoch = pd.Timestamp("1970-01-01")
    days = np.asarray((times - epoch) / pd.Timedelta(days=1), dtype=np.float64)
    hour = (days % 1) * 24
    columns = [days, times.year, times.month, times.day, times.day_of_week, hour]
    parts = np.stack([np.asarray(c, dtype=np.float64) for c in columns], axis=1)
    parts[missing] = np.nan
    return parts


def encode(column: Column, cells: pd.Series) -> np.ndarray:
    """Return the numbers of a numeric, boolean or date column: (N, features) float64."""
    if column.kind == "date":
        codes, values = factorize(cells)
        parts = date_parts(dates(pd.Series(_texts(values), dtype=object), column.format))
        return _take(parts[:, [PARTS.index(part) for part in column.parts]], codes)
    if column.kind == "boolean" and cells.dtype.kind != "b":
        codes, values = factorize(cells)
        return _take(_truth(_texts(values)), codes)[:, None]
    return numbers(cells, column.decimal, column.thousands)[:, None] - column.offset


def _truth(texts: list[str]) -> np.ndarray:
    words = [text.lower() for text in texts]
    spoken = [1.0 if w in TRUE_WORDS else 0.0 if w in FALSE_WORDS else np.nan for w in words]
    written = pd.to_numeric(pd.Series(words, dtype=object), errors="coerce").to_numpy(np.float64)
    return np.where(np.isnan(spoken), written, np.asarray(spoken, dtype=np.float64))


def infer(name: str, cells: pd.Series, decimal: str = ".", thousands: str | None = None) -> Column:
    """Tell a column's kind from a sample of its cells, as texts with missing ones as NaN.

    Numbers outrank booleans (`1` and `0` are numbers), these outrank dates; what is none of them is
    a category.
    """
    thousands = thousands or ""
    column = Column(name, "numeric", decimal=decimal, thousands=thousands)
    present = cells.dropna()
    values = pd.to_numeric(present, errors="coerce").to_numpy(dtype=np.float64)
    if len(values) and (~np.isnan(values)).mean() >= PURE:
        column.offset = _offset(values)
        return column
    counts = present.astype(str).str.strip().value_counts()
    counts = counts[~counts.index.isin(MISSING)]
    if counts.empty:
        return Column(name, "empty")
    texts, weight = pd.Series(counts.index, dtype=object), counts.to_numpy() / counts.sum()
    values = _parse(texts, decimal, thousands)
    if weight[~np.isnan(values)].sum() >= PURE:
        column.offset = _offset(values)
        return column
    if set(texts.str.lower()) <= TRUE_WORDS | FALSE_WORDS and len(texts.str.lower().unique()) <= 2:
        return Column(name, "boolean")
    form = _date_format(texts, weight)
    if form:
        parts = date_parts(dates(texts, form))
        varied = [p for p, column in zip(PARTS, parts.T, strict=True) if np.nanstd(column) > 0]
        return Column(name, "date", format=form, parts=varied or ["days"])
    return Column(name, "category")


def thousands_mark(cells: pd.Series) -> str:
    """Return the mark with which texts would be numbers, such as `1,234.50`; else nothing."""
    texts = pd.Series(cells.dropna().unique()[:300], dtype=object).astype(str)
    for mark, decimal in ((",", "."), (".", ",")):
        if len(texts) and (~np.isnan(_parse(texts, decimal, mark))).mean() >= PURE:
            return mark
    return ""


def _offset(values: np.ndarray) -> float:
    """Return what to subtract so that float32 (7 digits) keeps the differences."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0
    middle = float(np.median(finite))
    spread = float(np.quantile(finite, 0.9) - np.quantile(finite, 0.1))
    return float(round(middle)) if 0 < spread < abs(middle) * 1e-3 else 0.0


def _date_format(texts: pd.Series, weight: np.ndarray) -> str:
    sample, weight = texts.iloc[:300], weight[:300]
    alike = sample.str.fullmatch(_DATE_LIKE).fillna(False).to_numpy(dtype=bool)
    if weight[alike].sum() < PURE * weight.sum():
        return ""
    best, best_share = "", PURE
    for form in DATE_FORMATS:
        read = ~np.asarray(dates(sample, form).isna())
        share = weight[read].sum() / weight.sum()
        if share > best_share + (1e-9 if best else -1e-9):
            best, best_share = form, share
    return best


_KEY_NAME = re.compile(
    r"(^|[\s_.\-])(ids?|uid|uuid|guid|index|idx|key|rows?|row_?num|row_?names?|nr|no|s\.?no|sl|"
    r"serial|number|unnamed|obs|observation|case|record|sample|#)($|[\s_.\-\d])"
    r"|[a-z](ID|Id|Key|Index|No|Nr)$",
)


def looks_like_key(name: str) -> bool:
    """Say whether a column's name is that of a key: `id`, `PassengerId`, `row_number`."""
    return bool(_KEY_NAME.search(name) or _KEY_NAME.search(name.lower()))
