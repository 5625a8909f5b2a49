"""Which picture files there are, of which class and which split: by folders, or by a table."""

import glob
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from datamodules.errors import UserError, unknown
from datamodules.folders import expand_home
from datamodules.image_files.decoding import SUFFIXES
from datamodules.tabular.splits import ROLE_WORDS

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
# Names of columns, in lower case, that a table of files may use without being told.
FILE_COLUMNS = ("file", "filename", "file_name", "path", "image", "picture", "image_path")
LABEL_COLUMNS = ("label", "class", "target", "category")
LAYOUT = (
    "Pictures are read from a folder for each class (DIR/cat/1.png), from such folders in train, "
    "val and test (DIR/train/cat/1.png), or by a CSV of file and label."
)


@dataclass
class Listing:
    """Files with their classes, sorted by name.

    Attributes:
        files: Every picture file.
        labels: The class of each.
        roles: The split of each, or an empty string where it is not said.
        ignored: How many other files lie among them.
    """

    files: list[Path] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    ignored: int = 0

    @property
    def class_names(self) -> list[str]:
        """The classes, sorted."""
        return sorted(set(self.labels))

    def add(self, found: tuple[list[Path], int], label: str, role: str = "") -> None:
        """Add the pictures of one class."""
        files, ignored = found
        self.files += files
        self.labels += [label] * len(files)
        self.roles += [role] * len(files)
        self.ignored += ignored


def list_labelled(path: str | Path, file_column: str | None, label_column: str | None) -> Listing:
    """List labelled pictures.

    Args:
        path: A folder of class folders, such folders in `train`, `val` and `test`, or a table.
        file_column: The table's column of files, relative to its folder; found by name if None.
        label_column: The table's column of classes, likewise.

    Raises:
        UserError: If there is nothing like that, a class is empty, or two names differ in case
            alone.
    """
    path = expand_home(path)
    if path.is_file() and path.suffix.lower() in TABLE_SUFFIXES:
        listing = _from_table(path, file_column, label_column)
    elif path.is_dir():
        listing = _from_folders(path)
    else:
        missing = "is no folder and no CSV" if path.exists() else "does not exist"
        raise UserError(f"--data.path '{path}' {missing}. {LAYOUT}")
    seen: dict[str, str] = {}
    for name in listing.class_names:
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            raise UserError(
                f"Classes '{seen[key]}' and '{name}' of '{path}' are written the same but for "
                "upper case or accents: rename one, or put their pictures together."
            )
        seen[key] = name
    return listing


def pictures_in(folder: Path) -> tuple[list[Path], int]:
    """Return the pictures in a folder and those in it, sorted, and how many other files there are.

    Raises:
        UserError: If the folder may not be read.
    """
    try:
        files = sorted(
            file
            for file in folder.rglob("*")
            if file.is_file() and not any(p.startswith(".") for p in file.relative_to(folder).parts)
        )
    except OSError as error:
        raise UserError(f"'{folder}' cannot be read: {error.strerror}.") from error
    pictures = [file for file in files if file.suffix.lower() in SUFFIXES]
    return pictures, len(files) - len(pictures)


def find_pictures(names: list[str]) -> list[Path]:
    """Return the files that names stand for: files as they are, folders' pictures, globs.

    Raises:
        UserError: If one stands for nothing.
    """
    found: list[Path] = []
    for name in names:
        path = expand_home(name)
        if path.is_dir():
            pictures, _ = pictures_in(path)
            if not pictures:
                raise UserError(f"There is no picture in '{name}' ({', '.join(SUFFIXES)}).")
            found += pictures
        elif path.exists():
            found.append(path)
        else:
            matching = sorted(Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207
            if not matching:
                raise UserError(f"There is no file '{name}'.")
            found += [file for file in matching if file.is_file()]
    return found


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    except OSError as error:
        raise UserError(f"'{folder}' cannot be read: {error.strerror}.") from error


def _role_of(name: str) -> str:
    return next((role for role, words in ROLE_WORDS.items() if name.lower() in words), "")


def _from_folders(path: Path) -> Listing:
    folders = _subfolders(path)
    roles = {folder: _role_of(folder.name) for folder in folders}
    listing = Listing()
    if folders and all(roles.values()) and any(_subfolders(folder) for folder in folders):
        for folder in folders:
            for inner in _subfolders(folder):
                listing.add(_not_empty(inner), inner.name, roles[folder])
        return listing
    if not folders:
        count = len(pictures_in(path)[0])
        raise UserError(
            f"'{path}' has {count or 'no'} pictures and no folders in it, so they have no classes. "
            f"{LAYOUT}"
        )
    for folder in folders:
        listing.add(_not_empty(folder), folder.name)
    return listing


def _not_empty(folder: Path) -> tuple[list[Path], int]:
    found = pictures_in(folder)
    if not found[0]:
        raise UserError(
            f"There is no picture in '{folder}' ({', '.join(SUFFIXES)}): add some of class "
            f"'{folder.name}', or remove the folder."
        )
    return found


def _from_table(path: Path, file_column: str | None, label_column: str | None) -> Listing:
    try:
        if path.suffix.lower() == ".parquet":
            frame = pd.read_parquet(path).astype(str)
        else:
            frame = pd.read_csv(path, sep=None, engine="python", dtype=str, keep_default_na=False)
    except (OSError, ImportError, UnicodeDecodeError, pd.errors.ParserError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read: {error}.") from error
    files = _column(frame, file_column, FILE_COLUMNS, "file_column", path)
    labels = _column(frame, label_column, LABEL_COLUMNS, "label_column", path)
    split = next((c for c in frame.columns if str(c).lower() == "split"), None)
    words = [""] * len(frame) if split is None else list(frame[split])
    roles = [_role_of(word) for word in words]
    if split is not None and not all(roles):
        word = words[roles.index("")]
        raise UserError(f"Column '{split}' of '{path}' holds '{word}', not train, val or test.")
    listing = Listing()
    for number, (file, label, role) in enumerate(
        zip(frame[files], frame[labels], roles, strict=True), start=1
    ):
        if not label.strip():
            raise UserError(f"Row {number} of '{path}' ('{file}') has no {labels}.")
        listed = path.parent / (expand_home(file) if file.startswith("~") else file)
        listing.add(([listed], 0), label.strip(), role)
    if not listing.files:
        raise UserError(f"'{path}' has no rows.")
    return listing


def _column(
    frame: pd.DataFrame, named: str | None, known: tuple[str, ...], option: str, path: Path
) -> str:
    if named is not None:
        if named not in frame:
            raise unknown("column", named, map(str, frame.columns), f"It is of '{path}'.")
        return named
    for column in frame.columns:
        if str(column).lower() in known:
            return column
    raise UserError(
        f"'{path}' has no column {' or '.join(known[:3])}; name it with --data.{option}: "
        f"{', '.join(map(str, frame.columns))}."
    )
