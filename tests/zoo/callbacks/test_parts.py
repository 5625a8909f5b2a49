"""The arithmetic behind the pictures, against other implementations and cases worked by hand."""

import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from quick import network_and_data
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter
from torchmetrics.functional import auroc

import zoo
from datamodules.spec import DataSpec
from zoo.architectures import FeedForward
from zoo.callbacks import curves, histograms
from zoo.callbacks.board import Outcome, evaluating, is_due, spared
from zoo.callbacks.confusion import ConfusionMatrix, confusion_counts
from zoo.callbacks.curves import Calibration, ClassCurves, PredictedVersusTrue
from zoo.callbacks.decision import surface_figure
from zoo.callbacks.figures import pixels
from zoo.callbacks.graph import NetworkGraph
from zoo.callbacks.images import weights_figure
from zoo.callbacks.inspect import INSPECTORS, chosen_inspectors, inspectors
from zoo.callbacks.projector import principal_components
from zoo.callbacks.scalars import gradient_norm
from zoo.callbacks.together import Together
from zoo.errors import UserError


def trainer_at(epoch: int, max_epochs: int) -> SimpleNamespace:
    return SimpleNamespace(current_epoch=epoch, max_epochs=max_epochs)


def test_levels_contain_each_other() -> None:
    assert chosen_inspectors("none") == []
    assert set(chosen_inspectors("basic")) < set(chosen_inspectors("full")) == set(INSPECTORS)


def test_every_inspection_can_be_left_out() -> None:
    for name in INSPECTORS:
        assert name not in chosen_inspectors(f"full,-{name}")
    assert inspectors("none") == []


@pytest.mark.parametrize(
    ("spec", "nearest"), [("ful", "full"), ("full,-graf", "graph"), ("basic,-galery", "gallery")]
)
def test_a_wrong_name_gets_the_nearest_one(spec: str, nearest: str) -> None:
    with pytest.raises(UserError, match=nearest):
        chosen_inspectors(spec)


def test_help_needs_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys; from zoo.cli.request import parse_request; parse_request(['--help']);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'tensorboard')))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0
    assert "full,-projector" in done.stdout


def test_together_calls_only_the_hooks_that_are_there() -> None:
    called = []

    class First(Callback):
        def on_fit_start(self, trainer: object, pl_module: object) -> None:
            called.append("first")

    class Second(Callback):
        def on_fit_start(self, trainer: object, pl_module: object) -> None:
            called.append("second")

        def on_card(self, trainer: object, card: str) -> None:
            called.append(card)

    together = Together([First(), Second()])
    together.on_fit_start(None, None)
    together.on_card(None, "card")
    together.on_test_end(None, None)
    assert called == ["first", "second", "card"]
    assert "on_train_batch_end" not in vars(together)  # Lightning's own empty hook


@pytest.mark.parametrize(("epochs", "times"), [(5, 10), (10, 10), (100, 10), (5000, 20), (37, 10)])
def test_due_epochs_are_spread_over_the_run(epochs: int, times: int) -> None:
    due = [e for e in range(epochs) if is_due(trainer_at(e, epochs), times)]
    assert len(due) == min(epochs, times)
    assert due[0] == 0
    assert due[-1] == epochs - 1
    gaps = [b - a for a, b in pairwise(due)]
    assert max(gaps) - min(gaps) <= 1


def test_without_a_last_epoch_the_powers_of_two_are_due() -> None:
    assert [e + 1 for e in range(40) if is_due(trainer_at(e, -1), 10)] == [1, 2, 4, 8, 16, 32]


def test_evaluating_leaves_every_module_as_it_was() -> None:
    model = FeedForward(DataSpec(), hidden_dim=4, dropout=0.5)
    model.train()
    model.backbone[1].eval()
    modes = [module.training for module in model.modules()]
    with evaluating(model):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
    assert [module.training for module in model.modules()] == modes


def test_a_picture_that_fails_does_not_end_a_training() -> None:
    with pytest.warns(UserWarning, match="TensorBoard lacks Gallery: ValueError: too dark"):  # noqa: SIM117
        with spared("Gallery"):
            raise ValueError("too dark")
    with pytest.raises(OSError, match="full"), spared("Gallery"):
        raise OSError("disk full")


def test_confusion_counts_true_by_predicted() -> None:
    counts = confusion_counts(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 0]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_area_under_roc_agrees_with_torchmetrics() -> None:
    torch.manual_seed(0)
    truth = torch.rand(500) < 0.3
    scores = (torch.rand(500) + 0.5 * truth).mul(20).round() / 40  # many equal scores
    false_rate, true_rate = curves.roc(scores, truth)
    area = torch.trapezoid(true_rate, false_rate)
    assert float(area) == pytest.approx(float(auroc(scores, truth.long(), "binary")), abs=1e-6)
    assert (float(false_rate[-1]), float(true_rate[-1])) == (1, 1)


def test_reliability_by_hand() -> None:
    confidence = torch.tensor([0.95, 0.91, 0.55, 1.0])
    counts, sureness, accuracy = curves.reliability(confidence, torch.tensor([1.0, 0.0, 1.0, 1.0]))
    assert counts.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    assert float(accuracy[9]) == pytest.approx(2 / 3)
    assert float(sureness[9]) == pytest.approx(2.86 / 3)
    assert accuracy[0].isnan()


def test_r2_of_equal_targets_is_undefined() -> None:
    assert curves.r2(torch.ones(3), torch.rand(3)) == "undefined"
    assert curves.r2(torch.tensor([0.0, 1, 2]), torch.tensor([0.0, 1, 2])) == "1.000"


@pytest.mark.parametrize("shape", [(50, 20), (20, 50)])
def test_principal_components_keep_all_distances_if_they_are_all(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    features = torch.randn(shape[0], 5).double() @ torch.randn(5, shape[1]).double()
    reduced = principal_components(features, 10)
    assert reduced.shape == (shape[0], 10)
    distances = torch.cdist(features, features)
    torch.testing.assert_close(torch.cdist(reduced, reduced), distances, atol=1e-5, rtol=0)
    assert reduced.var(dim=0).diff().max() < 1e-9  # the widest first


def test_gradient_norm_is_that_of_one_vector() -> None:
    assert float(gradient_norm([torch.tensor([3.0]), None, torch.tensor([[4.0]])])) == 5
    assert gradient_norm([None]) is None


def test_dead_share_counts_units_that_never_fire() -> None:
    model = FeedForward(DataSpec((3,), num_outputs=2), hidden_dim=4)
    with torch.no_grad():
        model.backbone[1].bias.copy_(torch.tensor([-1e9, 1e9, -1e9, -1e9]))
    assert histograms.dead_shares(model, torch.randn(8, 3)) == {"backbone.2": 0.75}


@pytest.mark.parametrize(
    "values", [torch.zeros(5), torch.tensor([float("nan")]), torch.tensor([1.0, float("inf")])]
)
def test_histogram_survives_constant_and_broken_values(
    tmp_path: Path, values: torch.Tensor
) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        histograms.add_histogram(writer, "weights", values, 0)


@pytest.mark.parametrize(("task", "outputs"), [("binary", 1), ("multiclass", 3), ("regression", 1)])
def test_decision_surface_for_every_task(task: str, outputs: int) -> None:
    model = FeedForward(DataSpec((2,), task, outputs), hidden_dim=3)
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [float("nan"), 1.0], [1.0, 1.0]])
    target = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    if task != "regression":
        target = target.squeeze(1).long() if task == "multiclass" else target.squeeze(1)
    assert pixels(surface_figure(model, x, target, "epoch 1")).shape == (540, 640, 3)


@pytest.mark.parametrize("shape", [(7, 1, 5, 5), (7, 3, 5, 5), (12, 75), (12, 9)])
def test_first_layer_of_any_shape_is_drawn(shape: tuple[int, ...]) -> None:
    picture = pixels(weights_figure(torch.randn(shape), (3, 5, 5), "weight"))
    assert picture.shape[2] == 3


def outcome(scores: torch.Tensor, target: torch.Tensor, task: str, names: list[str]) -> Outcome:
    return Outcome(None, target, scores, task, names, 1)


def test_hundred_classes_and_diverged_probabilities_are_shown(tmp_path: Path) -> None:
    names = [f"a rather long class name {i}" for i in range(100)]
    model = FeedForward(DataSpec(num_outputs=100), hidden_dim=4)
    scores = torch.rand(300, 100).softmax(dim=1)
    scores[::3] = float("nan")
    shown = outcome(scores, torch.arange(300) % 100, "multiclass", names)
    with SummaryWriter(str(tmp_path)) as writer:
        for inspector in (ConfusionMatrix(), ClassCurves(), Calibration()):
            inspector.inspect(writer, shown, model)


def test_regression_of_several_targets_is_shown(tmp_path: Path) -> None:
    model = FeedForward(DataSpec((2,), "regression", 6), hidden_dim=4)
    target = torch.randn(50, 6)
    target[0, 0] = float("nan")
    shown = outcome(target + 0.1, target, "regression", [])
    with SummaryWriter(str(tmp_path)) as writer:
        PredictedVersusTrue().inspect(writer, shown, model)


@pytest.mark.parametrize("name", [n for n in zoo.list_models() if "." not in n])
def test_every_network_has_a_graph(name: str, tmp_path: Path) -> None:
    model, _ = network_and_data(name)
    logger = TensorBoardLogger(tmp_path, version="run")
    trainer = Trainer(logger=logger, accelerator="cpu", enable_progress_bar=False)
    model.trainer = trainer
    before = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="TensorBoard lacks")
        NetworkGraph().on_fit_start(trainer, model)
    logger.experiment.close()
    assert torch.equal(before, torch.get_rng_state())
    nodes = {node.name for node in EventAccumulator(logger.log_dir).Reload().Graph().node}
    assert any("head" in node for node in nodes)
    assert any(node.startswith("input") for node in nodes)
