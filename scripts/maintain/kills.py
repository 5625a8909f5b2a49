"""Kill trainings at random moments, let them go on, and compare the weights that they end with.

    python scripts/maintain/kills.py --times 50

SIGKILL comes at a random moment after a random checkpoint, in two of five runs a second time soon
after the run went on, mostly within the same epoch. There are validations within the epochs, too.
"""

import argparse
import functools
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from forking import KILLED, forked
from zoo.run_folder import CARD, LAST

SMALL: dict[str, Any] = {"max_epochs": 4, "limit_train_batches": 8, "limit_val_batches": 1}
SMALL |= {"inspect": "none", "accelerator": "cpu", "checkpoint_every": "2", "logger": False}
RUNS: dict[str, dict[str, Any]] = {
    "averaged weights, augmentation": {
        "model": "conv_net.tuned",
        "settings": {
            "learning.averaging": 0.5,
            "model.channels": [2, 4],
            "trainer.val_check_interval": 2,
        },
    },
    "an LSTM": {"model": "mnist_lstm", "settings": {"model.hidden_dim": 4}},
    "frozen layers, unfrozen later": {
        "model": "fashion_ffnn",
        "settings": {
            "model.hidden_dim": 8,
            "learning.freeze": ["backbone"],
            "learning.unfreeze_at_epoch": 1,
            "trainer.val_check_interval": 2,
        },
    },
    "a mapped table": {
        "model": "tabular_mlp",
        "data": "table.csv",
        "target": "y",
        "settings": {"data.cache": "yes", "data.batch_size": 16, "trainer.val_check_interval": 2},
    },
    "dropout, a schedule over the whole training": {
        "model": "fashion_ffnn",
        "lr_scheduler": "zoo.optimization.OneCycle",
        "settings": {"model.hidden_dim": 8, "trainer.val_check_interval": 2},
    },
}


def main(argv: list[str]) -> None:
    """Count, and fail if one run ended with other weights."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(argv)
    import zoo.running.training

    zoo.running.training.Training  # noqa: B018 - everything is imported before the forks
    rng = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        os.environ["XDG_CACHE_HOME"] = name
        rows = np.random.default_rng(0).normal(size=(300, 3))
        table = "a,b,c,y\n" + "".join(f"{a},{b},{c},{a + b > c}\n" for a, b, c in rows)
        Path("table.csv").write_text(table)
        whole = {title: _whole(title) for title in RUNS}
        same = 0
        for number in range(chosen.times):
            title = list(RUNS)[number % len(RUNS)]
            kills, problem = _killed(title, whole[title], rng, twice=number % 5 in (1, 3))
            same += not problem
            said = problem or "identical"
            print(f"{number + 1:3} {title}, killed at {kills}: {said}", flush=True)
    print(f"{same} of {chosen.times} identical bit for bit")
    sys.exit(same < chosen.times)


def _fit(root: Path, resume: Path | None = None, **options: Any) -> None:
    import zoo

    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (400, 1, 28, 28), np.uint8), rng.integers(0, 10, 400)
    given = {} if "data" in options else {"data": pictures}
    if resume:
        given = {k: v for k, v in given.items() if k == "data"}
        zoo.fit(**given, resume=resume, inspect="none", checkpoint_every="2")
    else:
        zoo.fit(**given, **options, default_root_dir=str(root))


class Watch:
    """Tells when it is time to kill: so many checkpoints after the start, and a moment more."""

    def __init__(self, root: Path, checkpoints: float, delay: float = 0.0) -> None:
        self._root, self._left, self._delay = root, checkpoints, delay
        self._file: Path | None = next(root.rglob(LAST), None)
        self._last = self._stamp()
        self._since = float("inf")
        self.seen = 0

    def _stamp(self) -> int:
        try:
            return self._file.stat().st_mtime_ns if self._file else 0
        except FileNotFoundError:  # it is being replaced
            return self._last

    def __call__(self) -> bool:
        """Look, and say whether it is time."""
        self._file = self._file or next(self._root.rglob(LAST), None)
        if (stamp := self._stamp()) != self._last:
            self._last = stamp
            self.seen += 1
            if self.seen >= self._left:
                self._since = min(self._since, time.monotonic())
        return time.monotonic() - self._since > self._delay


def _whole(title: str) -> tuple[dict[str, Any], int]:
    """Train once without a kill; return what it ends with, and how many checkpoints it wrote."""
    root = Path("whole") / title
    watch = Watch(root, float("inf"))
    options = {**SMALL, **RUNS[title]}
    status, out = forked(lambda: _fit(root, **options), Path("output"), meanwhile=watch)
    assert status == 0, out
    (folder,) = (card.parent for card in root.rglob(CARD))
    return _outcome(folder), watch.seen


def _outcome(folder: Path) -> dict[str, Any]:
    card = json.loads((folder / CARD).read_text())
    return {key: card[key] for key in ("sha256", "metrics", "epochs", "kept_epoch")}


def _killed(
    title: str, whole: tuple[dict[str, Any], int], rng: random.Random, twice: bool
) -> tuple[str, str]:
    """Kill a run once or twice and let it go on; return when that was, and what is wrong."""
    root, (expected, checkpoints) = Path("cut"), whole
    shutil.rmtree(root, ignore_errors=True)
    options, places = {**SMALL, **RUNS[title]}, []
    folder: Path | None = None
    # The second time soon after, so that both fall into one epoch; else anywhere.
    for count in (rng.randint(1, checkpoints - 2), rng.randint(1, 2))[: 1 + twice]:
        watch = Watch(root, count, rng.uniform(0, 0.1))
        begin = functools.partial(_fit, root, folder, **options)
        status, out = forked(begin, Path("output"), meanwhile=watch)
        if status not in (0, KILLED):
            return ", ".join(places), out[-500:]
        folder = next(card.parent.parent for card in root.rglob("*.ckpt"))
        places.append(_place(folder) if status else "its end")
        if status == 0:
            break
    if not (folder / CARD).exists():
        status, out = forked(lambda: _fit(root, folder, **options), Path("output"))
        if status:
            return ", ".join(places), out[-500:]
    found = _outcome(folder)
    return ", ".join(places), "" if found == expected else f"ends with {found}, not {expected}"


def _place(folder: Path) -> str:
    from zoo.loading.checkpoints import last_checkpoint

    content = last_checkpoint(folder)[1]
    return f"step {content['global_step']} (epoch {content['epoch'] + 1})"


if __name__ == "__main__":
    main(sys.argv[1:])
