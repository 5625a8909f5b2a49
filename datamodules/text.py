"""Labelled sentences from a CSV file, as padded token ids, with a small tokenizer of their own."""

import re
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from datamodules.base import Split, Task, TensorDataModule, hold_out
from datamodules.batches import derived_seed
from datamodules.errors import UserError, unknown
from datamodules.folders import checksums_of, data_folder, expand_home
from datamodules.folds import check_folds, hold_out_fold
from datamodules.following import UnlikeTrainingWarning
from datamodules.images import SyntheticDataWarning
from datamodules.spec import DataSpec
from datamodules.tabular.dialect import refuse_other_formats
from datamodules.tabular.sources import head

PADDING, UNKNOWN = "<pad>", "<unk>"
# A tenth of the words of new sentences is usually unknown; more is another language or subject.
MANY_UNKNOWN = 0.1
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


class TextCSV(TensorDataModule):
    """Sentences and their labels from two columns of a CSV file.

    Without a file it writes its own film reviews, so that a sentiment network runs anywhere.

    Args:
        path: A CSV file with a header, here or in the folder that ZOO_DATA_DIR names. Default:
            synthetic reviews.
        text: The column with the sentences.
        label: The column with the labels.
        val_path: A CSV of the validation sentences. Default: they are held out.
        test_path: A CSV of the test sentences. Default: they are held out.
        max_length: Words after which a sentence is cut off.
        vocabulary_size: Most frequent words of the training sentences to know.
        embedding_dim: Numbers by which a network represents a word.
        val_size: Sentences held out for validation, as a number or a fraction.
        test_size: Sentences held out for the test, as a number or a fraction.
        folds: Hold out one of so many folds as the test split, for cross-validation: every example
            is held out by one of them, each class in proportion.
        fold: Which fold, from 0.
        batch_size: Sentences in a training batch.
        seed: Seed of the splits, and of the synthetic reviews.
        shuffle: Draw a new order every epoch.
    """

    def __init__(
        self,
        path: str | None = None,
        text: str = "text",
        label: str = "label",
        val_path: str | None = None,
        test_path: str | None = None,
        max_length: int = 64,
        vocabulary_size: int = 10_000,
        embedding_dim: int = 64,
        val_size: int | float = 0.1,
        test_size: int | float = 0.1,
        folds: int | None = None,
        fold: int = 0,
        batch_size: int = 64,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, shuffle=shuffle)
        check_folds(folds, fold)
        self.folds, self.fold = folds, fold
        for option, value in {"max_length": max_length, "vocabulary_size": vocabulary_size}.items():
            if value < 1:
                raise UserError(f"--data.{option} must be at least 1, not {value}.")
        paths = {"path": path, "val_path": val_path, "test_path": test_path}
        for option, named in paths.items():
            if named is not None and not str(named).strip():
                raise UserError(f"--data.{option} is empty; name a CSV file, or leave it out.")
            if named is not None and path is None:
                raise UserError(
                    f"--data.{option} goes with --data.path, the sentences to train on."
                )
        self.path = path
        self.split_paths = {"val": val_path, "test": test_path}
        self.text, self.label = text, label
        self.max_length = max_length
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = embedding_dim
        self.val_size, self.test_size = val_size, test_size
        self.origin = "real" if path else "synthetic"
        #: The numbers of the sentences of every split.
        self.rows: dict[str, Tensor] = {}
        self._class_names: list[str] = []
        self._vocabulary: list[str] = []
        self._max_length = max_length

    @property
    def class_names(self) -> list[str]:
        """The labels, sorted."""
        _ = self.splits
        return self._class_names

    @property
    def task(self) -> Task:  # type: ignore[override]  # what others know at once is in the file
        """Binary for two labels, else multiclass; that of a network that is followed."""
        if self._expected is not None:
            return self._expected.task
        return "binary" if len(self.class_names) == 2 else "multiclass"

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The vocabulary, in the order of its ids, and how long a sentence may be."""
        _ = self.splits
        return {
            "kind": "tokens",
            "vocabulary": self._vocabulary,
            "embedding_dim": self.embedding_dim,
            "max_length": self._max_length,
        }

    @property
    def checksums(self) -> dict[str, str]:  # type: ignore[override]
        """The MD5 of each file, if there is one."""
        return checksums_of(map(_locate, filter(None, [self.path, *self.split_paths.values()])))

    def load_splits(self) -> dict[str, Split]:
        """Read the file, split it, and build the vocabulary of the training sentences.

        For a network that was made with other sentences its words and classes are taken instead.
        """
        if self._expected is not None:
            self._expected.require("tokens")
        frame, self.rows = self._frame_and_rows()
        rows = self.rows
        names = sorted(frame["label"].unique())
        number = {name: i for i, name in enumerate(names)}
        target = torch.tensor([number[name] for name in frame["label"]])
        if self._expected is not None:
            target = torch.from_numpy(self._expected.numbers_of(names))[target]
            names = self._expected.names_for(names)
        words = [tokenize(sentence) for sentence in frame["text"]]
        if self._expected is None:
            self._vocabulary = vocabulary((words[i] for i in rows["train"]), self.vocabulary_size)
            self._max_length, task = self.max_length, "binary" if len(names) == 2 else "multiclass"
        else:
            self._take_vocabulary(self._expected, words)
            task = self._expected.task
        self._class_names = names
        ids = token_ids(words, self._vocabulary, self._max_length)
        target = target.float() if task == "binary" else target.long()
        return {split: (ids[index], target[index]) for split, index in rows.items()}

    def _frame_and_rows(self) -> tuple[pd.DataFrame, dict[str, Tensor]]:
        """Return all sentences, and which of them train, validate and test."""
        if self.path:
            frame = self._read(self.path)
        else:
            warnings.warn(
                "These are synthetic film reviews, as no --data.path is given. Metrics on them say "
                "nothing about real sentences. For real ones pass --data.path FILE.",
                SyntheticDataWarning,
                stacklevel=2,
            )
            frame = synthetic_reviews(4000, self.seed)
        names = sorted(frame["label"].unique())
        if len(names) < 2 and self._expected is None:
            raise UserError(f"Column '{self.label}' of '{self.path}' has one label only: {names}.")
        train, rows = torch.arange(len(frame)), {}
        for split, seed in (("test", self.seed), ("val", derived_seed(self.seed, "val"))):
            path, size = self.split_paths[split], getattr(self, f"{split}_size")
            if path and split == "test" and self.folds:
                raise UserError("Give either --data.folds or --data.test_path.")
            if path:
                more = self._read(path)
                rows[split] = torch.arange(len(frame), len(frame) + len(more))
                frame = pd.concat([frame, more], ignore_index=True)
            elif split == "test" and self.folds:
                classes = frame["label"].astype("category").cat.codes
                held = hold_out_fold(len(frame), self.folds, self.fold, classes, self.seed)
                train, rows[split] = map(torch.from_numpy, held)
            elif size == 0:
                rows[split] = train[:0]
            else:
                kept, held_out = hold_out(len(train), size, seed, f"{split}_size")
                train, rows[split] = train[kept], train[held_out]
        known = set(frame["label"][train.numpy()])
        for split, index in rows.items():
            strange = sorted(set(frame["label"][index.numpy()]) - known)
            if strange and self.split_paths[split] and self._expected is None:
                raise UserError(
                    f"'{self.split_paths[split]}' has label '{strange[0]}', which no training "
                    "sentence has."
                )
        return frame, {"train": train, "val": rows["val"], "test": rows["test"]}

    def _take_vocabulary(self, expected: DataSpec, words: list[list[str]]) -> None:
        self._vocabulary = expected.preprocessing["vocabulary"]
        (self._max_length,) = expected.input_shape
        known = set(self._vocabulary)
        strange = [sum(word not in known for word in sentence) for sentence in words]
        total = sum(map(len, words))
        if sum(strange) > MANY_UNKNOWN * total:
            whole = sum(count == len(s) for count, s in zip(strange, words, strict=True))
            warnings.warn(
                f"{self.path or 'The synthetic reviews'}: the network does not know "
                f"{sum(strange):,} of {total:,} words; of {whole:,} of {len(words):,} sentences it "
                "knows none.",
                UnlikeTrainingWarning,
                stacklevel=2,
            )

    def _read(self, path: str) -> pd.DataFrame:
        file = _locate(path)
        try:
            frame = pd.read_csv(file, dtype=str, keep_default_na=False)
        except (OSError, UnicodeDecodeError, pd.errors.ParserError, ValueError) as error:
            raise UserError(f"'{path}' cannot be read as CSV: {error}") from error
        refuse_other_formats(file, head(file).decode("utf-8", errors="replace"))
        for column, option in ((self.text, "text"), (self.label, "label")):
            if column not in frame:
                hint = f"Name the column of '{path}' with --data.{option}."
                raise unknown("column", column, frame.columns, hint)
        frame = frame[[self.text, self.label]].set_axis(["text", "label"], axis=1)
        return frame[frame["label"] != ""].reset_index(drop=True)


def _locate(path: str) -> Path:
    """Return a file as it is named, or in the folder with the data if only that has it."""
    file = expand_home(path)
    in_folder = data_folder(None)[0] / file
    return in_folder if not file.exists() and in_folder.exists() else file


def tokenize(sentence: str) -> list[str]:
    """Return the lower-case words of a sentence."""
    return WORD.findall(sentence.lower())


def vocabulary(sentences: Iterable[list[str]], size: int) -> list[str]:
    """Return padding, unknown and the most frequent words; a word's place is its id."""
    counts = Counter(word for words in sentences for word in words)
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[:size]
    return [PADDING, UNKNOWN, *frequent]


def token_ids(sentences: list[list[str]], known: list[str], max_length: int) -> Tensor:
    """Return the ids of words (N, max_length), int64, padded with 0 behind the last word.

    An empty sentence becomes one unknown word, so that every sentence has a length.
    """
    id_of = {word: i for i, word in enumerate(known)}
    unknown_id = id_of[UNKNOWN]
    ids = torch.zeros(len(sentences), max_length, dtype=torch.int64)
    for row, words in enumerate(sentences):
        numbers = [id_of.get(word, unknown_id) for word in words[:max_length]] or [unknown_id]
        ids[row, : len(numbers)] = torch.tensor(numbers)
    return ids


OPENINGS = ("The film", "This movie", "The whole story", "Honestly, the plot", "The first half")
SUBJECTS = ("the acting", "the music", "the ending", "the camera work", "the script")
GOOD = ("wonderful", "moving", "brilliant", "charming", "gripping", "funny", "superb")
BAD = ("dull", "tedious", "clumsy", "shallow", "dreadful", "boring", "awful")
CLOSINGS = ("I saw it on a Sunday.", "My friends came along.", "It lasts two hours.", "")


def synthetic_reviews(count: int, seed: int) -> pd.DataFrame:
    """Write film reviews in which `not`, and the last of two opinions, turn the sentiment."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "reviews"))

    def pick(options: tuple[str, ...]) -> str:
        return options[int(torch.randint(len(options), (1,), generator=generator))]

    rows = []
    for _ in range(count):
        is_good, negated, contrast = torch.rand(3, generator=generator).lt(0.5).tolist()
        word = pick(GOOD if is_good != negated else BAD)
        verdict = f"{pick(SUBJECTS)} was {'not ' if negated else ''}{word}"
        start = f"{pick(OPENINGS)} was {pick(BAD if is_good else GOOD)}, but " if contrast else ""
        rows.append((f"{start}{verdict}. {pick(CLOSINGS)}", "positive" if is_good else "negative"))
    return pd.DataFrame(rows, columns=["text", "label"])
