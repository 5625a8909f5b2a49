"""Which panels there are, and which of them `--inspect none|basic|full` chooses.

Importing this module imports no torch: the front end reads the names in it before anything heavy.
"""

from typing import NamedTuple

from zoo.errors import unknown

LEVELS = ("none", "basic", "full")


class Panel(NamedTuple):
    """When a function writes something into TensorBoard.

    Attributes:
        name: What leaves it out: `--inspect full,-NAME`. Panels that belong together share one.
        level: The least level that has it.
        moment: When it is called, and with what data: at the `start` and at the `train_end` with
            the trainer, with the `first_batch`, at the `first_update` of an epoch and at every
            logged `update` with the optimizer, at the end of an `epoch` with an `Epoch`, after the
            `test` with its `TestPredictions`, at the `end` with the trainer, and with the `card`.
        function: File in this package, and function in it.
        task: `classification` or `regression` if it is for one of them only.
        times: How often in a run, of what is due in every epoch: TensorBoard draws about 1,000
            points of a curve and keeps ten images of a tag.
    """

    name: str
    level: str
    moment: str
    function: str
    task: str | None = None
    times: int | None = None


PANELS = (
    Panel("scalars", "basic", "start", "scalars.write_layout"),
    Panel("scalars", "basic", "update", "scalars.write_optimization"),
    Panel("scalars", "basic", "epoch", "scalars.write_speed", times=200),
    Panel("hparams", "basic", "start", "settings.write_hparams"),
    Panel("hparams", "basic", "end", "settings.write_success"),
    Panel("text", "basic", "start", "settings.write_texts"),
    Panel("text", "basic", "card", "settings.write_card"),
    Panel("importance", "basic", "card", "columns.draw_importance"),
    Panel("graph", "basic", "start", "graph.write_graph"),
    Panel("confusion", "basic", "test", "classification.draw_confusion", "classification"),
    Panel("gallery", "basic", "test", "images.draw_wrong_gallery", "classification"),
    Panel("prediction", "basic", "test", "regression.draw_predictions", "regression"),
    Panel("weights", "full", "start", "layers.draw_first_layer"),
    Panel("weights", "full", "train_end", "layers.draw_first_layer"),
    Panel("batch", "full", "first_batch", "images.draw_training_batch"),
    Panel("decision", "full", "epoch", "decision.draw_surface", times=10),
    Panel("curves", "full", "test", "classification.write_pr_curves", "classification"),
    Panel("curves", "full", "test", "classification.draw_roc", "classification"),
    Panel("calibration", "full", "test", "classification.draw_calibration", "classification"),
    Panel("histograms", "full", "first_update", "layers.write_gradients", times=20),
    Panel("histograms", "full", "epoch", "layers.write_weights", times=20),
    Panel("histograms", "full", "epoch", "layers.write_dead_relus", times=20),
    Panel("projector", "full", "test", "projector.write_features"),
    Panel("explanation", "full", "test", "explanation.draw_reasons", "classification"),
)


def chosen_panels(spec: str) -> list[Panel]:
    """Return the panels that `--inspect SPEC` asks for.

    Args:
        spec: A level, and after commas what to leave out of it: `full,-projector,-graph`.

    Raises:
        UserError: If the level or a name is unknown.
    """
    level, *left_out = spec.split(",")
    if level not in LEVELS:
        raise unknown("level of --inspect called", level, LEVELS)
    without = [name.removeprefix("-") for name in left_out]
    names = dict.fromkeys(panel.name for panel in PANELS)
    for name in without:
        if name not in names:
            raise unknown("inspection to leave out called", name, names)
    return [
        panel
        for panel in PANELS
        if LEVELS.index(level) >= LEVELS.index(panel.level) and panel.name not in without
    ]
