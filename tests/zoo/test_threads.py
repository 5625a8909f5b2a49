"""How many threads a training gets: by its size alone, and what the user says comes first."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

import zoo
from zoo.cli import SPINS, run_main
from zoo.loading.checkpoints import last_checkpoint
from zoo.running import threads
from zoo.running.fitting import prepare
from zoo.running.run import Run
from zoo.running.threads import NARROW, flops_of_update
from zoo.running.training import Training

pytestmark = pytest.mark.filterwarnings("ignore")

WIDE = {"model.hidden_dim": 1200, "data.batch_size": 64}
TINY = {"model.hidden_dim": 8, "data.batch_size": 16}


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Torch takes both of two cores, and nobody has chosen."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "default_threads", lambda: 2)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def run(folder: Path, settings: dict[str, Any], *callbacks: Callback, **options: Any) -> Run:
    """Train on 32 pictures for two epochs, as `zoo.fit` does."""
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (40, 1, 28, 28), np.uint8), rng.integers(0, 10, 40)
    settings = {"trainer.max_epochs": 2, "trainer.default_root_dir": str(folder), **settings}
    settings |= {"trainer.accelerator": "cpu", "trainer.logger": False}
    made = prepare(settings, model="fashion_ffnn", data=data, inspect="none", **options)
    training = Training(*made, resume=options.get("resume"))
    training.trainer.callbacks += callbacks
    return training.fit()


def test_a_narrow_network_gets_one_thread_and_a_wide_one_all(tmp_path: Path) -> None:
    for settings, device in ((TINY, "cpu, 1 threads"), (WIDE, "cpu, 2 threads")):
        found = run(tmp_path, settings)
        assert found.card.device == device
        assert torch.get_num_threads() == 2  # left as it was


def test_the_count_is_restored_after_an_error(tmp_path: Path) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            assert torch.get_num_threads() == 1
            raise KeyError

    with pytest.raises(KeyError):
        run(tmp_path, TINY, Stop())
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_count_in_the_environment_is_kept(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "2")
    assert run(tmp_path, TINY).card.device == "cpu, 2 threads"


def test_a_count_that_torch_was_given_is_kept(tmp_path: Path) -> None:
    torch.set_num_threads(3)
    assert run(tmp_path, TINY).card.device == "cpu, 3 threads"


def test_a_resumed_run_has_as_many_threads_as_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        first = run(tmp_path, WIDE)
    torch.set_num_threads(2)
    assert last_checkpoint(first.folder)[1]["threads"] == 1
    longer = {**WIDE, "trainer.max_epochs": 3}
    assert run(tmp_path, longer, resume=first.folder).card.device == "cpu, 1 threads"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # said now
    longer["trainer.max_epochs"] = 4
    assert run(tmp_path, longer, resume=first.folder).card.device == "cpu, 2 threads"


def test_no_more_threads_than_there_are_cores_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "4")  # on a larger machine
        torch.set_num_threads(4)
        first = run(tmp_path, TINY)
    torch.set_num_threads(2)
    longer = {**TINY, "trainer.max_epochs": 3}
    assert run(tmp_path, longer, resume=first.folder).card.device == "cpu, 2 threads"


def test_looking_for_a_rate_and_checking_count_as_the_training_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.running import lr_finder, overfitting

    settings = {"trainer.accelerator": "cpu", "trainer.default_root_dir": str(tmp_path)}
    training = Training(*prepare(settings, model="xor_mlp", inspect="none"))
    counts: list[int] = []
    loss = type(training.model).loss

    def noting(*args: Any) -> Any:
        counts.append(torch.get_num_threads())
        return loss(*args)

    monkeypatch.setattr(type(training.model), "loss", noting)
    monkeypatch.setattr(overfitting, "UPDATES", 10)
    overfitting.check_overfitting(training)
    lr_finder.find_learning_rate(training)
    assert set(counts) == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("xor_mlp", 0, 1e4),
        ("mnist_classifier", 10e6, 20e6),  # 2 * 3 * 64 * (784 * 50 + 50 * 20 + 20 * 10)
        ("fashion_ffnn", NARROW, 300e6),
        ("conv_net", NARROW, 1e9),
        ("mnist_lstm", NARROW, 3e9),  # its fused form hides its products
    ],
)
def test_work_of_an_update(name: str, least: float, most: float) -> None:
    model = zoo.create_model(name)
    state, mode = torch.get_rng_state(), model.training
    assert least <= flops_of_update(model, 4 if name == "xor_mlp" else 64) <= most
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training == mode


def test_commands_let_idle_threads_sleep_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    run_main(lambda _: None, [])
    assert int(os.environ["GOMP_SPINCOUNT"]) == SPINS
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    run_main(lambda _: None, [])
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    run_main(lambda _: None, [])
    assert "GOMP_SPINCOUNT" not in os.environ


def test_what_torch_takes_by_default_is_known() -> None:
    code = "import torch; from zoo.running.threads import default_threads as d; print(d()); "
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    found = subprocess.run(
        [sys.executable, "-c", f"{code}print(torch.get_num_threads())"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    ours, torchs = found.stdout.split()
    assert ours == torchs


def test_nothing_is_said_of_it(run_process: Callable[..., Any]) -> None:
    few = ("--trainer.max_epochs", 1, "--inspect", "none")
    result = run_process("-m", "zoo", "fit", "--model", "xor_mlp", *few)
    assert result.status == 0
    assert result.err == ""
