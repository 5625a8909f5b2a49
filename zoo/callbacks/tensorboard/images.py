"""What the network gets to see and what it gets wrong."""

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from zoo.callbacks.tensorboard.data import TestPredictions, image_shape, on_cpu
from zoo.callbacks.tensorboard.figures import captioned_figure, shortened
from zoo.module import ZooModule

GALLERY = 16
BATCH = 25


def draw_wrong_gallery(
    writer: SummaryWriter, model: ZooModule, tested: TestPredictions, step: int
) -> None:
    """Draw the test images that the network got most confidently wrong, with both class names."""
    shape = image_shape(model)
    wrong = (tested.predicted != tested.target).nonzero().flatten()
    if tested.x is None or shape is None or not len(wrong):
        return
    shown = wrong[tested.scores[wrong].amax(dim=1).argsort(descending=True)[:GALLERY]]
    names = [shortened(name, 12) for name in model.class_names]
    captions = [
        f"said {names[int(tested.predicted[i])]} ({float(tested.scores[i].max()):.0%})\n"
        f"is {names[int(tested.target[i])]}"
        for i in shown
    ]
    title = f"Most confidently wrong test images: {len(shown)} of {len(wrong):,}"
    figure = captioned_figure(tested.x[shown].reshape(-1, *shape), captions, title)
    writer.add_figure("gallery/most_confidently_wrong", figure, step, close=False)


def draw_training_batch(
    writer: SummaryWriter, model: ZooModule, batch: tuple[Tensor, Tensor], step: int
) -> None:
    """Draw a batch as the network sees it: augmented, and scaled by its own module."""
    shape = image_shape(model)
    if shape is None:
        return
    x, target = batch[0][:BATCH], batch[1][:BATCH]
    images = on_cpu(model.preprocess(x)).reshape(-1, *shape)
    if model.spec.task == "regression":
        captions = [f"{float(values.flatten()[0]):.4g}" for values in target]
    else:
        captions = [shortened(model.class_names[int(index)], 13) for index in target]
    values = f"values from {float(images.min()):.2g} to {float(images.max()):.2g}"
    figure = captioned_figure(images, captions, f"Training batch as the network sees it: {values}")
    writer.add_figure("batch/train", figure, step, close=False)
