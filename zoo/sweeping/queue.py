"""The trials of a search as a queue that several processes and machines take from.

A trial belongs to the process that holds its file lock. The system frees the lock when that process
ends, however it ends, so a trial that is begun and not locked was left behind, and is next.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from zoo.errors import UserError
from zoo.sweeping.space import Point, Range

# Raise it whenever what is kept with a study changes its meaning.
FORMAT = 1
REQUEST = "zoo_request"
# How long the queue's own lock may be held by others: only while trials are listed or enqueued.
PATIENCE_SECONDS = 60.0


class TrialQueue:
    """Trials that are taken one by one, each by one process at a time.

    Args:
        folder: Where the locks are, shared by all who take part.
        storage: A storage URL of Optuna, or the path of a journal file.
        name: The study's name.
        maximize: Whether a larger value is a better one.
        request: What is searched; a storage with another request under that name is refused.

    Raises:
        UserError: If the storage cannot be used, or is another search's.
    """

    def __init__(
        self, folder: Path, storage: str, name: str, maximize: bool, request: dict[str, Any]
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.folder, self.place = folder, storage
        (folder / "locks").mkdir(parents=True, exist_ok=True)
        with self.locked(), _storage_errors(storage):
            self._storage = _open_storage(storage)
            # The sampler is chosen for each trial, when it is taken.
            self.study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                direction="maximize" if maximize else "minimize",
                load_if_exists=True,
            )
            kept = self.study.user_attrs.get(REQUEST)
            if kept is None and not self.study.get_trials(deepcopy=False):
                self.study.set_user_attr(REQUEST, {"format": FORMAT, **request})
                kept = self.study.user_attrs[REQUEST]
        _check_request(kept, {"format": FORMAT, **request}, storage, name)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the others from taking or adding trials meanwhile."""
        try:
            with FileLock(self.folder / "locks" / "queue.lock", timeout=PATIENCE_SECONDS):
                yield
        except Timeout as error:
            raise _in_use(self.folder, "name this sweep otherwise: --name NAME") from error

    def enqueue(self, points: Sequence[Point], ranges: Sequence[Range]) -> None:
        """Add those of the points that are not there yet."""
        by_name = {r.name: r for r in ranges}
        with self.locked():
            for point in points[len(self.study.get_trials(deepcopy=False)) :]:
                stored = {name: by_name[name].stored(value) for name, value in point.items()}
                self.study.enqueue_trial(stored)

    def trials(self) -> list[FrozenTrial]:
        """Return all trials, in the order of their numbers."""
        return self.study.get_trials(deepcopy=False)

    @property
    def is_finished(self) -> bool:
        """Whether no trial is left to do, or is being done."""
        return all(trial.state.is_finished() for trial in self.trials())

    @contextlib.contextmanager
    def take(self, sampler: Callable[[int], Any]) -> Iterator[Trial | None]:
        """Take a trial that was left behind, else the next one that waits; None if there is none.

        Args:
            sampler: What chooses the values of the trial of that number.
        """
        with self.locked():
            trial, lock = self._next(sampler)
        try:
            yield trial
        finally:
            if lock is not None:
                lock.release()

    def _next(self, sampler: Callable[[int], Any]) -> tuple[Trial | None, FileLock | None]:
        trials = self.trials()
        for state in (TrialState.RUNNING, TrialState.WAITING):
            for found in (t for t in trials if t.state == state):
                lock = FileLock(self.folder / "locks" / f"{found.number}.lock", timeout=0)
                try:
                    lock.acquire()
                except Timeout:
                    continue
                self.study.sampler = sampler(found.number)
                if state == TrialState.WAITING:
                    # Whoever asks gets the first that waits, and nobody else asks now.
                    return self.study.ask(), lock
                study = self._storage.get_study_id_from_name(self.study.study_name)
                trial = self._storage.get_trial_id_from_study_id_trial_number(study, found.number)
                return Trial(self.study, trial), lock
        return None, None


class _JournalLock:
    """A lock of the journal that dies with its process: Optuna's own would be waited for."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = FileLock(f"{path}.lock", timeout=PATIENCE_SECONDS, thread_local=False)

    def acquire(self) -> bool:
        try:
            self._lock.acquire()
        except Timeout as error:  # its holder is stopped: else it is held for milliseconds
            raise _in_use(self._path, "name another with --storage") from error
        return True

    def release(self) -> None:
        self._lock.release()


def _in_use(place: Path | str, advice: str) -> UserError:
    return UserError(
        f"'{place}' has been in use by another process for {PATIENCE_SECONDS:g} seconds; wait for "
        f"it, or {advice}."
    )


def _open_storage(place: str) -> BaseStorage:
    if "://" in place:
        return optuna.storages.get_storage(place)
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    lock: Any = _JournalLock(place)  # what it should extend is private
    return JournalStorage(JournalFileBackend(place, lock_obj=lock))


@contextlib.contextmanager
def _storage_errors(place: str) -> Iterator[None]:
    """Name the storage in whatever its library says of it: each has errors of its own."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = " ".join(str(error).split())[:300]
        raise UserError(
            f"The storage '{place}' cannot be used ({type(error).__name__}: {told}): it is in use, "
            "damaged, or of another version of Optuna. Name another with --storage."
        ) from error


def _check_request(
    kept: dict[str, Any] | None, asked: dict[str, Any], place: str, name: str
) -> None:
    advice = "Name this sweep otherwise (--name NAME), or give it another --storage."
    if kept is None:
        raise UserError(f"The study '{name}' in '{place}' is none of this zoo's. {advice}")
    asked = json.loads(json.dumps(asked))  # as a storage gives it back
    if kept.get("format") != asked["format"]:
        raise UserError(
            f"The study '{name}' in '{place}' was written by another version of the zoo. {advice}"
        )
    for key in asked:
        if kept.get(key) != asked[key]:
            raise UserError(
                f"The study '{name}' in '{place}' is of another sweep, with other {key}: "
                f"{_shown(kept.get(key))}, not {_shown(asked[key])}. {advice}"
            )


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
