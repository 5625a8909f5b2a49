"""Everything that a run writes for TensorBoard, read back from its event files."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from google.protobuf import text_format
from PIL import Image
from recorded import DRAWN, SMALL, Run
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata, plugin_data_pb2
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig
from tensorboard.util.tensor_util import make_ndarray

METRICS = {
    "classifier": ("accuracy", "auroc", "f1"),
    "binary": ("accuracy", "auroc", "average_precision", "f1"),
    "regression": ("mae", "r2", "rmse"),
    "recurrent": ("accuracy", "auroc", "f1"),
}
CLASSIFIED = {
    "confusion/counts",
    "confusion/share_of_true_class",
    "curves/roc",
    "curves/calibration",
    "weights/first_layer",
}
IMAGES = {
    "classifier": {
        *CLASSIFIED,
        "gallery/most_confidently_wrong",
        "batch/train",
        "where_it_looked/test",
    },
    "binary": {*CLASSIFIED, "decision/surface"},
    "regression": {"prediction/predicted_versus_true", "weights/first_layer"},
    "recurrent": {
        *CLASSIFIED,
        "gallery/most_confidently_wrong",
        "batch/train",
        "where_it_looked/test",
    },
}
KINDS = sorted(METRICS)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_metrics_of_every_split_are_scalars(runs: dict[str, Run], kind: str) -> None:
    for name in ("loss", *METRICS[kind]):
        for split in ("val", "test"):
            assert np.isfinite(runs[kind].values(f"{name}/{split}")).all()
    assert len(runs[kind].values("loss/train")) >= 2


def test_final_scalars_are_those_of_the_card(run: Run) -> None:
    card = json.loads((run.folder / "card.json").read_text())
    # Those of the training examples are the network's as it learned, here; on the card as it ended.
    for tag in (tag for tag in card["metrics"] if not tag.endswith("/train")):
        assert run.values(tag)[-1] == pytest.approx(card["metrics"][tag], abs=1e-5)


def test_optimization_and_speed_are_scalars(run: Run) -> None:
    assert min(run.values("optimization/learning_rate")) > 0
    assert min(run.values("optimization/gradient_norm")) > 0
    assert min(run.values("speed/examples_per_second")) > 0


def test_learning_rate_is_the_recipes(runs: dict[str, Run]) -> None:
    assert runs["classifier"].values("optimization/learning_rate") == pytest.approx([0.1])


@pytest.mark.parametrize("kind", KINDS)
def test_custom_scalars_group_the_splits_in_one_chart(runs: dict[str, Run], kind: str) -> None:
    (event,) = runs[kind].events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for chart in layout.category[0].chart}
    assert set(charts) == {"loss", *METRICS[kind]}
    assert charts["loss"] == ["loss/train", "loss/val", "loss/test"]
    assert [c.title for c in layout.category] == ["Loss and metrics", "Optimization"]


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_there_and_not_empty(runs: dict[str, Run], kind: str) -> None:
    assert runs[kind].tags("images") == IMAGES[kind]
    for tag in IMAGES[kind]:
        for picture in runs[kind].images(tag):
            assert picture.shape[0] > 300
            assert picture.shape[2] == 3
            assert len(np.unique(picture)) > 20


def test_weights_are_drawn_before_and_after_training(run: Run) -> None:
    before, after = run.images("weights/first_layer")
    assert (before != after).any()


def test_decision_surface_is_drawn_over_time(runs: dict[str, Run]) -> None:
    steps = [event.step for event in runs["binary"].events.Images("decision/surface")]
    assert len(steps) == 10
    assert steps == sorted(set(steps))
    assert steps[-1] == 20 * 8  # the last epoch; one has 8 updates


def test_graph_shows_backbone_and_head(run: Run) -> None:
    nodes = {node.name for node in run.events.Graph().node}
    assert any("backbone" in name for name in nodes)
    assert any("head" in name for name in nodes)
    assert any(name.startswith("input") for name in nodes)
    assert not any(name.startswith(("FeedForward/", "Recurrent/")) for name in nodes)


def test_weights_and_gradients_are_histograms(run: Run) -> None:
    learned = {tag for tag in run.tags("histograms") if tag.startswith("weights/")}
    assert {tag.replace("weights", "gradients", 1) for tag in learned} < run.tags("histograms")
    for tag in learned:
        shown = run.events.Histograms(tag)[-1].histogram_value
        assert sum(shown.bucket) == shown.num > 0
        assert shown.min <= shown.max


def test_dead_relus_are_scalars(runs: dict[str, Run]) -> None:
    for layer in ("backbone.3", "backbone.6"):
        assert 0 <= runs["classifier"].values(f"dead_relu/{layer}")[-1] <= 1


def test_pr_curve_of_every_class(runs: dict[str, Run]) -> None:
    garments = {tag for tag in runs["classifier"].tags("tensors") if tag.startswith("pr/")}
    assert len(garments) == 10
    assert {"pr/Sneaker", "pr/Ankle boot"} < garments
    (event,) = runs["classifier"].events.Tensors("pr/Sneaker")
    true_positives, false_positives = make_ndarray(event.tensor_proto)[:2]
    card = json.loads((runs["classifier"].folder / "card.json").read_text())
    # At threshold 0 everything is called a sneaker.
    assert true_positives[0] + false_positives[0] == card["split_sizes"]["test"]


def test_binary_has_the_pr_curve_of_its_second_class(runs: dict[str, Run]) -> None:
    assert {t for t in runs["binary"].tags("tensors") if t.startswith("pr/")} == {"pr/1"}


def test_texts_tell_what_the_run_is(run: Run) -> None:
    card = json.loads((run.folder / "card.json").read_text())
    assert card["sha256"] in run.text("run/card")
    recipe = run.text("run/recipe").removeprefix("```yaml\n").removesuffix("```")
    assert yaml.safe_load(recipe) == yaml.safe_load((run.folder / "config.yaml").read_text())
    assert "python" in run.text("run/command")
    assert f"| torch | {card['torch_version'].partition('+')[0]}" in run.text("run/versions")


def test_hparams_are_settings_without_a_placeholder(runs: dict[str, Run]) -> None:
    content = runs["classifier"].events.summary_metadata
    assert "hp_metric" not in runs["classifier"].tags("scalars")
    assert metadata.EXPERIMENT_TAG not in content  # TensorBoard joins the columns of all runs
    start = _hparams(content, metadata.SESSION_START_INFO_TAG).session_start_info.hparams
    assert start["optimizer"].string_value == "SGD"
    assert start["optimizer.lr"].number_value == 0.1
    assert start["model.hidden_dim"].number_value == 512
    assert start["data.batch_size"].number_value == 64
    assert start["data.origin"].string_value == "synthetic"
    assert start["seed"].number_value == 0
    assert not any("preprocessing" in name or "class_names" in name for name in start)
    end = _hparams(content, metadata.SESSION_END_INFO_TAG).session_end_info
    assert end.status == 1  # success


def _hparams(content: dict, tag: str) -> plugin_data_pb2.HParamsPluginData:
    return plugin_data_pb2.HParamsPluginData.FromString(content[tag].plugin_data.content)


@pytest.mark.parametrize("kind", KINDS)
def test_projector_has_features_and_labels(runs: dict[str, Run], kind: str) -> None:
    folder = runs[kind].folder
    features = np.loadtxt(folder / projected(folder).tensor_path, ndmin=2)
    header, *labels = (folder / projected(folder).metadata_path).read_text().splitlines()
    assert len(features) == len(labels) == {"binary": 4}.get(kind, 1000)
    assert header.split("\t")[:2] == ["true", "predicted"]


@pytest.mark.parametrize("kind", ["classifier", "recurrent"])
def test_projector_has_a_thumbnail_for_each_image(runs: dict[str, Run], kind: str) -> None:
    folder = runs[kind].folder
    sprite = projected(folder).sprite
    assert Image.open(folder / sprite.image_path).size == (32 * 28, 32 * 28)
    assert list(sprite.single_image_dim) == [28, 28]


def projected(folder: Path) -> EmbeddingInfo:
    text = (folder / "projector_config.pbtxt").read_text()
    (info,) = text_format.Parse(text, ProjectorConfig()).embeddings
    return info


def test_full_run_is_small(runs: dict[str, Run]) -> None:
    folder = runs["classifier"].folder
    written = [*folder.glob("events*")]
    written += (folder / projected(folder).tensor_path).parent.iterdir()
    # The documented ten epochs have 13.4 MB of checkpoints and weights besides, below 15 together.
    assert sum(path.stat().st_size for path in written) < 1.5e6


def test_basic_writes_what_costs_little(make_run: Callable[..., Run]) -> None:
    run = make_run("mnist_net", *DRAWN, *SMALL, inspect="basic")
    assert run.tags("images") == {
        "confusion/counts",
        "confusion/share_of_true_class",
        "gallery/most_confidently_wrong",
    }
    assert run.tags("histograms") == set()
    assert run.events.Tags()["graph"]
    assert not (run.folder / "projector_config.pbtxt").exists()


def test_an_inspection_can_be_left_out(make_run: Callable[..., Run]) -> None:
    run = make_run("mnist_net", *DRAWN, *SMALL, inspect="basic,-gallery,-graph")
    assert "gallery/most_confidently_wrong" not in run.tags("images")
    assert not run.events.Tags()["graph"]


def test_inspection_does_not_change_what_is_learned(make_run: Callable[..., Run]) -> None:
    """Dropout draws random numbers; an inspection that drew some too would change the weights."""
    options = ("fashion_ffnn", *DRAWN, *SMALL, "--trainer.val_check_interval", "4")
    digests = set()
    for level in ("none", "full"):
        folder = make_run(*options, inspect=level).folder
        digests.add(json.loads((folder / "card.json").read_text())["sha256"])
    assert len(digests) == 1


def test_none_writes_the_metrics_alone(make_run: Callable[..., Run]) -> None:
    run = make_run("mnist_net", *DRAWN, *SMALL, inspect="none")
    assert run.tags("images") == set()
    assert not run.events.Tags()["graph"]
    assert {tag.partition("/")[0] for tag in run.tags("scalars")} == {
        "epoch",
        "loss",
        "accuracy",
        "auroc",
        "f1",
    }


@pytest.mark.slow
def test_two_processes_show_the_whole_test_split(run_process: Callable, tmp_path: Path) -> None:
    """Each process tests its own half; the pictures are of both."""
    script = Path(__file__).parents[3] / "scripts" / "fit.py"
    spread = ("--trainer.strategy", "ddp", "--trainer.devices", "2", "--trainer.accelerator", "cpu")
    options = ("--model", "fashion_ffnn", *DRAWN, *SMALL, *spread, "--inspect", "full")
    done = run_process(script, *options, timeout=300)
    assert done.status == 0, done.err
    (folder,) = tmp_path.glob("runs/*/version_0")
    run = Run(folder)
    (event,) = run.events.Tensors("pr/Sneaker")
    true_positives, false_positives = make_ndarray(event.tensor_proto)[:2]
    card = json.loads((folder / "card.json").read_text())
    assert true_positives[0] + false_positives[0] == card["split_sizes"]["test"]
