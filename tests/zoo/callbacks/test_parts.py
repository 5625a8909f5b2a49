"""The arithmetic behind the pictures, against other implementations and cases worked by hand."""

import subprocess
import sys
import time
import warnings
from itertools import combinations, pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from quick import network_and_data
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard._utils import figure_to_image
from torchmetrics.functional import auroc

import zoo
from datamodules.spec import DataSpec
from zoo.architectures import FeedForward
from zoo.callbacks.tensorboard import tensorboard_panels
from zoo.callbacks.tensorboard.callback import TensorBoardPanels, is_due, warn_on_failure
from zoo.callbacks.tensorboard.classification import (
    confusion_figure,
    draw_calibration,
    draw_confusion,
    draw_roc,
    reliability,
    write_pr_curves,
)
from zoo.callbacks.tensorboard.data import TestPredictions as Predictions
from zoo.callbacks.tensorboard.data import evaluating
from zoo.callbacks.tensorboard.decision import surface_figure
from zoo.callbacks.tensorboard.events import Writer
from zoo.callbacks.tensorboard.figures import captioned_figure, shortened
from zoo.callbacks.tensorboard.layers import add_histogram, dead_shares, weights_figure
from zoo.callbacks.tensorboard.projector import principal_components, thumbnails
from zoo.callbacks.tensorboard.registry import PANELS, chosen_panels
from zoo.callbacks.tensorboard.regression import draw_predictions, r2
from zoo.callbacks.tensorboard.scalars import write_optimization
from zoo.errors import UserError


def trainer_at(epoch: int, max_epochs: int) -> SimpleNamespace:
    return SimpleNamespace(current_epoch=epoch, max_epochs=max_epochs)


def test_levels_contain_each_other() -> None:
    assert chosen_panels("none") == []
    assert set(chosen_panels("basic")) < set(chosen_panels("full")) == set(PANELS)


def test_every_inspection_can_be_left_out() -> None:
    for panel in PANELS:
        assert panel.name not in {p.name for p in chosen_panels(f"full,-{panel.name}")}
    assert tensorboard_panels("none") == []


@pytest.mark.parametrize(
    ("spec", "nearest"), [("ful", "full"), ("full,-graf", "graph"), ("basic,-galery", "gallery")]
)
def test_a_wrong_name_gets_the_nearest_one(spec: str, nearest: str) -> None:
    with pytest.raises(UserError, match=nearest):
        chosen_panels(spec)


def test_help_needs_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys; from zoo.cli.request import parse_request; parse_request(['--help']);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'tensorboard')))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0
    assert "full,-projector" in done.stdout


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
        with warn_on_failure("Gallery"):
            raise ValueError("too dark")


def test_events_that_cannot_be_written_cost_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="The training goes on"):
        writer = Writer(log_dir=str(tmp_path / "file" / "folder"))
    with warnings.catch_warnings(action="error"):
        writer.add_scalar("loss/val", 0.5, 1)
        writer.flush()
        writer.close()


class Drawn(dict):
    """Stands for a writer: keeps figures and scalars by tag."""

    def add_figure(self, tag: str, figure: Figure, step: int, close: bool) -> None:
        self[tag] = figure

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self[tag] = value


def three_classes() -> FeedForward:
    return FeedForward(DataSpec(num_outputs=3), hidden_dim=4)


def test_confusion_shows_true_by_predicted() -> None:
    scores = torch.eye(3)[[0, 1, 1, 0]]
    tested = Predictions(None, torch.tensor([0, 0, 1, 2]), scores)
    draw_confusion(drawn := Drawn(), three_classes(), tested, 0)
    assert drawn["confusion/counts"].axes[0].get_ylabel() == "true"
    counts, shares = (figure.axes[0].images[0].get_array() for figure in drawn.values())
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert shares.tolist() == [[50, 50, 0], [0, 100, 0], [100, 0, 0]]


def test_area_under_roc_is_that_of_each_class_against_the_rest() -> None:
    torch.manual_seed(0)
    target = torch.randint(3, (500,))
    # Many equal scores are one threshold, not an order that is not there.
    scores = ((torch.rand(500, 3) + 0.5 * torch.eye(3)[target]) * 20).round() / 40
    draw_roc(drawn := Drawn(), three_classes(), Predictions(None, target, scores), 0)
    labels = [text.get_text() for text in drawn["curves/roc"].axes[0].get_legend().get_texts()]
    for index, label in enumerate(labels):
        area = auroc(scores[:, index], (target == index).long(), "binary")
        assert label == f"{area:.3f}  {index}"
    assert len(labels) == 3


def test_reliability_by_hand() -> None:
    confidence = torch.tensor([0.95, 0.91, 0.55, 1.0])
    counts, sureness, accuracy = reliability(confidence, torch.tensor([1.0, 0.0, 1.0, 1.0]))
    assert counts.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    assert float(accuracy[9]) == pytest.approx(2 / 3)
    assert float(sureness[9]) == pytest.approx(2.86 / 3)
    assert accuracy[0].isnan()


def test_r2_of_equal_targets_is_undefined() -> None:
    assert r2(torch.ones(3), torch.rand(3)) == "undefined"
    assert r2(torch.tensor([0.0, 1, 2]), torch.tensor([0.0, 1, 2])) == "1.000"


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
    parameters = [torch.nn.Parameter(torch.zeros(n)) for n in (1, 2, 3)]
    parameters[0].grad, parameters[2].grad = torch.tensor([3.0]), torch.tensor([0.0, 4.0, 0.0])
    optimizer = torch.optim.SGD(parameters, lr=0.5)
    write_optimization(drawn := Drawn(), three_classes(), optimizer, 0)
    assert drawn == {"optimization/learning_rate": 0.5, "optimization/gradient_norm": 5}
    write_optimization(drawn := Drawn(), three_classes(), torch.optim.SGD(parameters[1:2]), 0)
    assert list(drawn) == ["optimization/learning_rate"]


def test_dead_share_counts_units_that_never_fire() -> None:
    model = FeedForward(DataSpec((3,), num_outputs=2), hidden_dim=4)
    with torch.no_grad():
        model.backbone[1].bias.copy_(torch.tensor([-1e9, 1e9, -1e9, -1e9]))
    assert dead_shares(model, torch.randn(8, 3)) == {"backbone.2": 0.75}


@pytest.mark.parametrize(
    "values", [torch.zeros(5), torch.tensor([float("nan")]), torch.tensor([1.0, float("inf")])]
)
def test_histogram_survives_constant_and_broken_values(
    tmp_path: Path, values: torch.Tensor
) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        add_histogram(writer, "weights", values, 0)


def test_captions_of_any_names_keep_apart() -> None:
    captions = ["said WWWWWWWWWWWW (100%)\nis i"] * 9
    figure = captioned_figure(torch.rand(9, 1, 28, 28), captions, "A title " * 9)
    figure_to_image(figure, close=False)
    *texts, title = (text.get_window_extent() for text in figure.axes[0].texts)
    boxes = [*texts, title]
    for a, b in combinations(boxes, 2):
        assert a.x1 + 8 < b.x0 or b.x1 + 8 < a.x0 or a.y1 < b.y0 or b.y1 < a.y0
    assert all(box.x0 > 0 and box.x1 < figure.bbox.width for box in boxes)


def test_names_with_dollars_are_no_formulas() -> None:
    names = [r"$\frac$", "$5 - $10", r"$\frac$" * 9]
    figures = [
        confusion_figure(torch.eye(3), names, "title"),
        captioned_figure(torch.rand(3, 1, 9, 9), [shortened(name) for name in names], "title"),
    ]
    for figure in figures:
        assert figure_to_image(figure, close=False).shape[0] == 3


def test_thumbnails_have_the_colour_of_their_class() -> None:
    model = FeedForward(DataSpec(num_outputs=3, preprocessing={"kind": "pixels"}), hidden_dim=4)
    x = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    x[:, :, 14:] = 255
    pictures = thumbnails(model, x, torch.tensor([0, 1, 1]))
    colours = pictures[:, :, 0, 0]
    assert colours[0].tolist() != colours[1].tolist() == colours[2].tolist()
    assert (pictures[:, :, 14:] == 1).all()  # what is white stays white


def test_speed_of_an_epoch_that_was_cut_off_is_that_of_its_rest(tmp_path: Path) -> None:
    """Lightning calls no `on_train_epoch_start` for it."""
    model, trainer = three_classes(), Trainer(logger=TensorBoardLogger(tmp_path, version="run"))
    callback = TensorBoardPanels([p for p in PANELS if p.function == "scalars.write_speed"])
    began = time.perf_counter()
    callback.on_train_start(trainer, model)
    callback.on_train_batch_start(trainer, model, (torch.zeros(1000, 3), torch.zeros(1000)), 0)
    callback.on_train_epoch_end(trainer, model)
    took = time.perf_counter() - began
    trainer.logger.experiment.close()
    events = EventAccumulator(trainer.logger.log_dir).Reload()
    assert events.Scalars("speed/examples_per_second")[0].value >= 1000 / took


@pytest.mark.parametrize(("task", "outputs"), [("binary", 1), ("multiclass", 3), ("regression", 1)])
def test_decision_surface_for_every_task(task: str, outputs: int) -> None:
    model = FeedForward(DataSpec((2,), task, outputs), hidden_dim=3)
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [float("nan"), 1.0], [1.0, 1.0]])
    target = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    if task != "regression":
        target = target.squeeze(1).long() if task == "multiclass" else target.squeeze(1)
    with evaluating(model):
        figure = surface_figure(model, x, target, "epoch 1")
    assert figure_to_image(figure, close=False).shape == (3, 540, 640)


@pytest.mark.parametrize("shape", [(7, 1, 5, 5), (7, 3, 5, 5), (12, 75), (12, 9)])
def test_first_layer_of_any_shape_is_drawn(shape: tuple[int, ...]) -> None:
    figure = weights_figure(torch.randn(shape), (3, 5, 5), "weight")
    assert figure_to_image(figure, close=False).shape == (3, 540, 640)


def test_hundred_classes_and_diverged_probabilities_are_shown(tmp_path: Path) -> None:
    names = [f"a rather long class name {i}" for i in range(100)]
    model = FeedForward(DataSpec(num_outputs=100, class_names=names), hidden_dim=4)
    scores = torch.rand(300, 100).softmax(dim=1)
    scores[::3] = float("nan")
    tested = Predictions(None, torch.arange(300) % 100, scores)
    with SummaryWriter(str(tmp_path)) as writer:
        for draw in (draw_confusion, write_pr_curves, draw_roc, draw_calibration):
            draw(writer, model, tested, 1)


def test_regression_of_several_targets_is_shown(tmp_path: Path) -> None:
    model = FeedForward(DataSpec((2,), "regression", 6), hidden_dim=4)
    target = torch.randn(50, 6)
    target[0, 0] = float("nan")
    with SummaryWriter(str(tmp_path)) as writer:
        draw_predictions(writer, model, Predictions(None, target, target + 0.1), 1)


@pytest.mark.parametrize("name", [n for n in zoo.list_models() if "." not in n])
def test_every_network_has_a_graph(name: str, tmp_path: Path) -> None:
    model, _ = network_and_data(name)
    logger = TensorBoardLogger(tmp_path, version="run")
    trainer = Trainer(logger=logger, accelerator="cpu", enable_progress_bar=False)
    model.trainer = trainer
    before = torch.get_rng_state()
    (panel,) = (panel for panel in PANELS if panel.name == "graph")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="TensorBoard lacks")
        TensorBoardPanels([panel]).on_train_start(trainer, model)
    logger.experiment.close()
    assert torch.equal(before, torch.get_rng_state())
    nodes = {node.name for node in EventAccumulator(logger.log_dir).Reload().Graph().node}
    assert any("head" in node for node in nodes)
    assert any(node.startswith("input") for node in nodes)
