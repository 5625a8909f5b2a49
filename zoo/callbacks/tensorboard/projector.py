"""What the network makes of test examples before its head decides, as points to turn around."""

import torch
from matplotlib import colormaps
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.tensorboard import SummaryWriter

from datamodules.batches import take
from zoo.callbacks.tensorboard.data import TestPredictions, chunks, image_shape
from zoo.callbacks.tensorboard.figures import class_colors
from zoo.module import ZooModule

EXAMPLES = 1000
# The page starts with a PCA to three axes anyhow; all 512 features as text would be 4 MB.
COMPONENTS = 50
SHADES = 8  # enough for a thumbnail; with all of them its file would be three times as long


def write_features(
    writer: SummaryWriter, model: ZooModule, tested: TestPredictions, step: int
) -> None:
    """Write the features of 1,000 test examples for TensorBoard's PROJECTOR page.

    Their first 50 principal components, with true and predicted class as labels and a thumbnail in
    the color of its class: the page itself opens with "No color map", and cannot be told another.
    """
    if tested.x is None:
        return
    count = min(len(tested.target), EXAMPLES)
    x, parts = take(tested.x, torch.arange(count)), chunks(model, tested.x, count, 256)
    features = torch.cat([model.forward_features(part).flatten(1) for part in parts])
    features = principal_components(features.float().cpu(), COMPONENTS).double()
    # Three decimals of the overall spread; in full length the file would be three times as long.
    features = (features / features.std().clamp(min=1e-12)).round(decimals=3)
    header, labels = label_table(model, tested)
    writer.add_embedding(
        features,
        metadata=labels,
        metadata_header=header,
        label_img=thumbnails(model, x, tested.target[:EXAMPLES]),
        global_step=step,
        tag="test_features",
    )


def principal_components(features: Tensor, count: int) -> Tensor:
    """Return the coordinates of rows (N, D) along at most `count` widest axes."""
    u, s, _ = torch.pca_lowrank(features, min(count, *features.shape))
    return u * s


def label_table(model: ZooModule, tested: TestPredictions) -> tuple[list[str], list[list[str]]]:
    """Return a header and the rows of labels of the first 1,000 test examples."""
    target = tested.target[:EXAMPLES]
    if model.spec.task == "regression":
        pairs = zip(target[:, 0].tolist(), tested.scores[:EXAMPLES, 0].tolist(), strict=True)
        return ["true", "predicted"], [[f"{value:.6g}" for value in pair] for pair in pairs]
    names = [" ".join(name.split()) for name in model.class_names]  # a tab would end the cell
    pairs = zip(target.long().tolist(), tested.predicted[:EXAMPLES].tolist(), strict=True)
    rows = [[names[a], names[b], "right" if a == b else "wrong"] for a, b in pairs]
    return ["true", "predicted", "verdict"], rows


def thumbnails(model: ZooModule, x: Tensor, target: Tensor) -> Tensor:
    """Return images (N, 3, S, S) from 0 to 1, in the color of their class or value.

    Examples that are no images are squares of their color.
    """
    if model.spec.task == "regression":
        values = target[:, 0]
        ranks = (values - values.amin()) / (values.amax() - values.amin()).clamp(min=1e-12)
        colors = torch.tensor(colormaps["viridis"](ranks.numpy()))[:, :3].float()
    else:
        colors = torch.tensor(class_colors(len(model.class_names)))[target.long()]
    shape = image_shape(model)
    if shape is None:
        return colors[:, :, None, None].expand(-1, 3, 8, 8)
    images = x.reshape(-1, *shape).float()
    images = images / (255 if images.max() > 1 else 1)
    height, width = shape[1:]
    side = max(height, width)
    images = pad(images, (0, side - width, 0, side - height))
    # From the color, where the image is black, to white.
    images = 1 - (1 - images) * (1 - colors[:, :, None, None])
    return (images * (SHADES - 1)).round() / (SHADES - 1)
