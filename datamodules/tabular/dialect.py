"""How a text table is written: separator, header, encoding and decimal mark, found by looking."""

import json
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.errors import UserError
from datamodules.tabular import sources

BLANKS = r"\s+"
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "blank": BLANKS}
# What stands for "no value"; the same list when training and when predicting.
MISSING = [
    "", "?", "NA", "N/A", "n/a", "na", "#N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NAN",
    "null", "NULL", "Null", "None", "none", "-", "--", ".", "#VALUE!", "#DIV/0!", "(null)",
]  # fmt: skip
# Among the words of a target these are a class, such as no injury, and no missing value.
NO_CLASS_BUT_NONE = [word for word in MISSING if word.lower() != "none"]
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?|nan", re.IGNORECASE)
_COMMA_NUMBER = re.compile(r"[+-]?\d{1,3}((\.\d{3})+|\d*),\d+([eE][+-]?\d+)?")
_MARKUP = re.compile(r"<(!doctype|html|\?xml)\b", re.IGNORECASE)
# A list of objects or lists, or an object, that goes on beyond the line.
_OPEN_JSON = re.compile(r'\[\s*[\[{]|\{\s*"([^"\\]|\\.)*"\s*:')
_POINT_NUMBER = re.compile(r"[+-]?\d+\.\d+([eE][+-]?\d+)?")


@dataclass
class Dialect:
    """How one file is written.

    Args:
        separator: One character, or BLANKS for runs of blanks.
        names: The column names, unique, as many as a row has fields.
        header: Whether the first row holds the names.
        skip: Records before the first row of values, blank lines counted.
        lead: The same without blank lines.
        encoding: A Python codec.
        decimal: The decimal mark.
        duplicates: Names that stand above more than one column.
        notes: What a user should know about the reading.
        written: The names as the header has them: some may be empty, or twice there.
    """

    separator: str
    names: list[str]
    header: bool
    skip: int = 0
    lead: int = 0
    encoding: str = "utf-8"
    decimal: str = "."
    duplicates: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)


def detect(
    path: Path,
    separator: str | None = None,
    header: str = "auto",
    encoding: str | None = None,
    decimal: str | None = None,
    expect: Collection[str] = (),
) -> Dialect:
    """Find out how a file is written; what the user said is taken as said.

    Raises:
        UserError: If it is empty, not text, or has one column only.
    """
    text, encoding = _decode(path, sources.head(path), encoding)
    refuse_other_formats(path, text)
    separator = _named_separator(separator) if separator else _separator(text)
    rows, numbers = sources.split_lines(text, separator)
    if not rows:
        raise UserError(f"{path} has no row that can be read; name a file with a header and rows.")
    preamble = _preamble(rows)
    rows, numbers = rows[preamble:], numbers[preamble:]
    width = _width(rows)
    if header == "auto" and any(cell.strip() in expect for cell in rows[0]):
        header = "first"
    dialect = Dialect(separator, [], header=_has_header(rows, header), encoding=encoding)
    if preamble:
        dialect.notes.append(f"{path.name}: the first {preamble} lines are no rows; passed over")
    dialect.names = _names(path, rows, width, dialect)
    body = rows[1:] if dialect.header else rows
    dialect.skip = numbers[0] + dialect.header
    dialect.lead = preamble + dialect.header
    dialect.decimal = decimal or _decimal(body, separator)
    if not body:
        raise UserError(f"{path} has a header but no rows; add rows, or name another file.")
    return dialect


def _decode(path: Path, start: bytes, encoding: str | None) -> tuple[str, str]:
    if encoding is None:
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            encoding = "utf-16"
        elif start.startswith(b"\xef\xbb\xbf"):
            encoding = "utf-8-sig"
        else:
            encoding = "utf-8"
            try:
                start.decode(encoding)
            except UnicodeDecodeError as error:
                if error.reason != "unexpected end of data":
                    encoding = "latin-1"
    try:
        return start.decode(encoding, errors="replace"), encoding
    except LookupError as error:
        raise UserError(
            f"--data.encoding {encoding} is not known; try utf-8, latin-1 or cp1252 for {path}."
        ) from error


def refuse_other_formats(path: Path, text: str) -> None:
    """Refuse text files that are no tables of lines, which would be read as odd ones.

    Args:
        path: The file.
        text: Its beginning.

    Raises:
        UserError: If it is JSON, HTML or XML; it names the format and how to convert it.
    """
    start = text.lstrip("\ufeff \t\r\n")
    first = start.partition("\n")[0].strip()
    if _MARKUP.match(start):
        raise UserError(f"{path} is HTML or XML, not a table; export the table as CSV.")
    if _is_json(first):
        lines = first.startswith("{") and first != "{" and "\n" in start.strip()
        options = ", lines=True" if lines else ""
        raise UserError(
            f"{path} is JSON{' lines' if lines else ''}, not CSV; write it as CSV first: "
            f"pandas.read_json('{path}'{options}).to_csv('{path.stem}.csv', index=False)."
        )


def _is_json(line: str) -> bool:
    """Say whether the first line of a file begins JSON: whole in itself, or open to the next."""
    if line in ("{", "[") or _OPEN_JSON.match(line):
        return True
    try:
        return line[:1] in ("{", "[") and isinstance(json.loads(line), (dict, list))
    except ValueError:
        return False


def _named_separator(separator: str) -> str:
    separator = {"\\t": "\t", " ": BLANKS, "tabs": "\t"}.get(separator, separator)
    separator = SEPARATORS.get(separator, separator)
    if separator != BLANKS and (len(separator) != 1 or separator in '"\r\n' or separator.isalnum()):
        raise UserError(
            f"--data.separator {separator!r} is not one character; "
            f"give one, or a name: {', '.join(SEPARATORS)}."
        )
    return separator


def _separator(text: str) -> str:
    """Choose what splits the lines most evenly and leaves the cleanest cells."""
    best, best_score = ",", 0.0
    for separator in SEPARATORS.values():
        rows, _ = sources.split_lines(text, separator, limit=200)
        if not rows:
            continue
        widths = Counter(map(len, rows))
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
        if width < 2:
            continue
        share = count / len(rows)
        first_fits = len(rows[0]) in (width, width - 1)
        others = set(",;\t|") - {separator}
        cells = [cell for row in rows for cell in row]
        unclean = sum(
            1
            for c in cells
            if (others & set(c) or "  " in c.strip()) and not _COMMA_NUMBER.fullmatch(c)
        )
        score = share + 0.5 * first_fits + 0.5 * (1 - unclean / len(cells))
        if separator == BLANKS:  # blanks also stand inside texts
            score -= 0.2
        if score > best_score + 1e-9:
            best, best_score = separator, score
    return best


def _width(rows: list[list[str]]) -> int:
    return Counter(len(row) for row in rows[1:] or rows).most_common(1)[0][0]


def _preamble(rows: list[list[str]]) -> int:
    """Count the leading lines that are no part of the table: titles, remarks."""
    width = Counter(map(len, rows)).most_common(1)[0][0]
    if width < 3:
        return 0
    count = 0
    while count < min(20, len(rows) - 2) and len(rows[count]) <= width // 2:
        count += 1
    return count


def is_number(cell: str) -> bool:
    """Say whether a cell is a number, with either decimal mark."""
    cell = cell.strip()
    return bool(_NUMBER.fullmatch(cell) or _COMMA_NUMBER.fullmatch(cell))


def _has_header(rows: list[list[str]], header: str) -> bool:
    """Decide whether the first row names the columns.

    Names are no numbers, unless they count up; a name stands above values of another type or at
    least does not occur among the values of its own column.
    """
    if header in ("none", "first"):
        return header == "first"
    if header != "auto":
        raise UserError(f"--data.header {header} is not one of auto, first, none.")
    first, body = [cell.strip() for cell in rows[0]], rows[1:]
    if not body:
        return not any(is_number(cell) for cell in first)
    numbers = [cell for cell in first if is_number(cell)]
    if numbers:
        counting = [str(i) for i in range(len(first))], [str(i + 1) for i in range(len(first))]
        return any(len(numbers) >= 3 and numbers == c[: len(numbers)] for c in counting)
    missing = sum(cell in MISSING for cell in first)
    if missing > len(first) // 2:
        return False
    repeated = named = 0
    above_numbers = False
    for i, cell in enumerate(first):
        column = [row[i].strip() for row in body if i < len(row)]
        present = [value for value in column if value not in MISSING]
        if not present or cell in MISSING:
            continue
        repeated += cell in present
        named += cell not in present
        # A word above numbers is nearly certain; a name may happen to be a value as well.
        above_numbers |= cell not in present and sum(map(is_number, present)) > len(present) / 2
    return named > repeated or (above_numbers and named >= repeated)


def _names(path: Path, rows: list[list[str]], width: int, dialect: Dialect) -> list[str]:
    if not dialect.header:
        return [str(i) for i in range(width)]
    names = [name.strip().lstrip("\ufeff") for name in rows[0]]
    body = rows[1:]
    if len(names) == width - 1 and body:
        if all(not row[-1].strip() for row in body if len(row) == width):
            names.append("")  # every row ends in a separator
        else:
            names.insert(0, "row")  # row names without a title, as R writes them
            dialect.written = ["", *names[1:]]
    elif len(names) == width + 1 and not names[-1]:
        names.pop()
    dialect.written = dialect.written or list(names)
    seen: Counter[str] = Counter()
    unique = []
    for i, name in enumerate(names):
        name = name or f"unnamed_{i}"
        seen[name] += 1
        if seen[name] > 1:
            new = f"{name}.{seen[name] - 1}"
            dialect.duplicates.add(name)
            while new in names:
                new += "_"
            dialect.notes.append(
                f"{path.name}: column name '{name}' occurs again as column {i + 1}, which is read "
                f"as '{new}'; rename it in the file for a name of your own"
            )
            name = new
        unique.append(name)
    return unique


def _decimal(body: list[list[str]], separator: str) -> str:
    """Choose the decimal mark; `1,234` alone may as well be a thousands mark."""
    cells = [cell.strip() for row in body for cell in row]
    comma = [cell for cell in cells if _COMMA_NUMBER.fullmatch(cell)]
    point = sum(1 for cell in cells if _POINT_NUMBER.fullmatch(cell))
    if len(comma) <= point:
        return "."
    thousands = all(len(cell.partition(",")[2]) == 3 for cell in comma)
    return "." if thousands and separator == "," else ","
