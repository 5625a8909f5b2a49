"""What an exception in a user's own code costs: nothing, where a training can go on from there."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from stopped import outcome, pictures, step_of

import zoo
from datamodules.batches import TensorBatches
from datamodules.memory import InMemory
from zoo.run_folder import CARD, CHECKPOINTS, LAST
from zoo.running.fitting import prepare
from zoo.running.training import Training

pytestmark = pytest.mark.filterwarnings("ignore")

FEW: dict[str, Any] = {
    "trainer.max_epochs": 2,
    "trainer.limit_train_batches": 5,
    "data.batch_size": 32,  # ten batches: an epoch ends before its data do
    "trainer.limit_val_batches": 1,
    "trainer.logger": False,
    "trainer.accelerator": "cpu",
    "model.hidden_dim": 8,
}
RUNS: dict[str, dict[str, Any]] = {
    "validations within the epochs": {"trainer.val_check_interval": 2},
    "no validation": {"trainer.limit_val_batches": 0},
    "an average": {"learning.averaging": 0.5, "trainer.val_check_interval": 2},
    "accumulated gradients": {
        "trainer.accumulate_grad_batches": 2,
        "trainer.limit_train_batches": 9,  # as many updates as the others have
    },
    "a schedule that watches the validation": {
        "lr_scheduler": "ReduceLROnPlateau",
        "lr_scheduler.monitor": "loss/val",
        "lr_scheduler.patience": 0,
        "lr_scheduler.threshold": 10.0,
    },
}
# Those of a whole training, and whether all that came before is kept.
HOOKS = {
    "on_train_epoch_start": True,
    "on_train_batch_start": True,
    "on_train_batch_end": True,
    "on_validation_start": True,
    "on_validation_batch_end": True,
    "on_validation_epoch_end": True,
    "on_validation_end": True,
    "on_train_epoch_end": True,
    "on_train_end": True,
    "on_before_optimizer_step": False,
}


class MistakeError(Exception):
    """A user's own mistake."""


def failing(hook: str, call: int) -> Callback:
    """Return a callback that fails when a hook is called for the so manieth time, from 0."""
    calls = itertools.count()

    def fail(*_: Any, **__: Any) -> None:
        if next(calls) == call:
            raise MistakeError

    return type("Own", (Callback,), {hook: fail})()


def begin(root: Path, settings: dict[str, Any], callback: Callback | None = None) -> Training:
    model = {"model": "fashion_ffnn", "data": pictures(), "inspect": "none"}
    given = {**FEW, **settings, "trainer.default_root_dir": str(root)}
    training = Training(*prepare(given, **model))
    if callback:
        training.trainer.callbacks.insert(0, callback)  # where a user's stand
    return training


def note_of_failing(training: Training) -> str:
    """Train, and return what is said beneath the traceback of an exception."""
    try:
        training.fit()
    except MistakeError as error:
        return "".join(getattr(error, "__notes__", []))
    return ""


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(
    "name",
    [name if n < 1 else pytest.param(name, marks=pytest.mark.slow) for n, name in enumerate(RUNS)],
)
def test_what_came_before_an_exception_in_a_callback_is_kept(
    tmp_path: Path, name: str, hook: str
) -> None:
    expected = outcome(begin(tmp_path / "whole", RUNS[name]).fit().folder)
    kept = []
    for call in (0, 1, 7):
        training = begin(tmp_path / str(call), RUNS[name], failing(hook, call))
        note = note_of_failing(training)
        last = training.folder / CHECKPOINTS / LAST
        if (training.folder / CARD).exists():
            break  # it was not called so often
        if not last.exists():
            assert not note
            continue
        assert note.endswith(f"--resume {training.folder}")
        assert f"up to step {step_of(last)} " in note
        kept.append(step_of(last) == training.trainer.global_step)
        zoo.fit(data=pictures(), resume=training.folder, inspect="none")
        assert outcome(training.folder) == expected, call
    if name != "accumulated gradients" or "train_batch" not in hook:
        assert all(kept) == HOOKS[hook] or not kept
        assert kept or (name == "no validation" and "validation" in hook)


@pytest.mark.parametrize("where", ["read", "augment"])
def test_what_came_before_an_exception_in_the_data_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    expected = outcome(begin(tmp_path / "whole", {}).fit().folder)
    calls = itertools.count()
    read, transfer = TensorBatches._read, InMemory.on_after_batch_transfer

    def fail_reading(self: TensorBatches) -> Iterator[Any]:
        for batch in read(self):
            if next(calls) == 8:
                raise FileNotFoundError
            yield batch

    def fail_transferring(self: InMemory, batch: Any, index: int) -> Any:
        if next(calls) == 8:
            raise FileNotFoundError
        return transfer(self, batch, index)

    with monkeypatch.context() as patch:
        if where == "read":
            patch.setattr(TensorBatches, "_read", fail_reading)
        else:
            patch.setattr(InMemory, "on_after_batch_transfer", fail_transferring)
        training = begin(tmp_path / "failed", {})
        with pytest.raises(FileNotFoundError):
            training.fit()
    steps = training.trainer.global_step
    assert steps > 5
    assert step_of(training.folder / CHECKPOINTS / LAST) == steps
    zoo.fit(data=pictures(), resume=training.folder, inspect="none")
    assert outcome(training.folder) == expected


def test_an_exception_in_the_network_within_a_block_saves_nothing_of_its_update(
    tmp_path: Path,
) -> None:
    training = begin(tmp_path, {"trainer.max_epochs": 1})
    assert isinstance(training.trainer.callbacks, list)
    logits, calls = training.model.logits, itertools.count()

    def fail(x: Any) -> Any:
        if next(calls) == 3:
            raise MistakeError
        return logits(x)

    training.model.logits = fail
    with pytest.raises(MistakeError) as caught:
        training.fit()
    assert not hasattr(caught.value, "__notes__")
    assert not list(tmp_path.rglob(LAST))


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    class Own(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            if trainer.global_step == 7:
                with torch.no_grad():
                    next(pl_module.parameters()).fill_(float("nan"))
                raise MistakeError

    training = begin(tmp_path, {}, Own())
    with pytest.raises(MistakeError) as caught:
        training.fit()
    assert "up to step 5 of 7" in caught.value.__notes__[0]
    assert step_of(training.folder / CHECKPOINTS / LAST) == 5


def test_an_exception_after_the_training_keeps_all_of_it(tmp_path: Path) -> None:
    whole = begin(tmp_path / "whole", {}).fit()
    training = begin(tmp_path / "failed", {}, failing("on_test_start", 0))
    with pytest.raises(MistakeError) as caught:
        training.fit()
    assert "up to step 10 of 10" in caught.value.__notes__[0]
    assert not (training.folder / CARD).exists()
    zoo.fit(data=pictures(), resume=training.folder, inspect="none")
    assert outcome(training.folder) == outcome(whole.folder)


def test_the_traceback_of_a_command_ends_with_how_to_go_on(run_cli: Callable[..., Any]) -> None:
    """Once the user has mended it, the same command goes on."""
    Path("failing.py").write_text(
        "from pathlib import Path\n"
        "from lightning.pytorch import Callback\n"
        "class Own(Callback):\n"
        "    def on_train_epoch_end(self, trainer, pl_module):\n"
        "        if not Path('mended').exists():\n"
        "            {}[0]\n"
    )
    fit = ("fit", "--inspect", "none")
    own = ("--trainer.callbacks", "failing.Own", "--trainer.accelerator", "cpu")
    with pytest.raises(KeyError) as caught:
        run_cli(*fit, "--model", "xor_mlp", "--trainer.max_epochs", 3, *own)
    (note,) = caught.value.__notes__
    assert note == "Saved up to step 8 of 8; then go on with: --resume runs/xor_mlp/version_0"
    Path("mended").touch()
    result = run_cli(*fit, *note.partition("go on with: ")[2].split())
    assert result.status == 0, result.err
    assert "step 8" in result.out
